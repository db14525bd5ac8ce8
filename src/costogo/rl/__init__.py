"""Off-policy reinforcement learning: agents, replay buffers, and what is asked of an environment."""

from costogo.rl.agent import Agent, TargetRange
from costogo.rl.ddpg import DDPG, DDPGState
from costogo.rl.environment import Environment
from costogo.rl.replay import Replay, Transitions, mixed
from costogo.rl.sac import SAC, SACState

__all__ = [
    "DDPG",
    "SAC",
    "Agent",
    "DDPGState",
    "Environment",
    "Replay",
    "SACState",
    "TargetRange",
    "Transitions",
    "mixed",
]
