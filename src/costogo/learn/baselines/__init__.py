"""Baselines that learn from the same demonstrations."""

from costogo.learn.baselines.lstm import LSTMImitation
from costogo.learn.baselines.sysid import SystemIdentification, next_state_errors

__all__ = ["LSTMImitation", "SystemIdentification", "next_state_errors"]
