"""The entry point of `hseie` and `python -m hseie`.

Spawned processes import this module again, so it does and imports nothing until `main` is called.
"""

import sys

_INTERRUPTED = 130  # as shells report an end by Ctrl-C


def main() -> None:
    """Run the command line; does not return."""
    try:
        from hseie import cli

        code = cli.main(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported; later ones are answered by the command
        code = _INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
