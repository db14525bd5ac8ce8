"""The command line: `costogo solve | train | evaluate | reproduce | render | bench | demo`."""

from costogo.cli.main import main

__all__ = ["main"]
