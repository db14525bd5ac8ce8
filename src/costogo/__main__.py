"""`python -m costogo`, the same as `costogo`."""

import sys

from costogo.cli import main

if __name__ == "__main__":
    sys.exit(main())
