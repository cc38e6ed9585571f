"""The entry point of `hseie` and `python -m hseie`.

Spawned processes import this module again, so it does and imports nothing until `main` is called.
"""

import sys


def main() -> None:
    """Run the command line; does not return."""
    from hseie import cli

    sys.exit(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    main()
