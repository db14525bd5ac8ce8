"""The command line: `costogo solve | train | evaluate | reproduce | render | bench | demo`."""

import sys

from costogo.core.errors import CostogoError


def main() -> None:
    """Entry point: runs a verb; misuse ends with one line and exit code 2, Ctrl-C says how to go on."""
    try:
        import tyro
    except ImportError:
        sys.exit("the command line needs tyro: pip install 'costogo[cli]'")
    from costogo.cli.runtime import configure
    from costogo.cli.verbs import VERBS

    configure()
    try:
        tyro.extras.subcommand_cli_from_dict(VERBS, prog="costogo", description=__doc__)
    except CostogoError as error:
        sys.stderr.write(f"costogo: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("\ncostogo: stopped. Finished epochs are saved; the same command with --resume goes on.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
