"""`advrun`, and `python -m advrun`."""

from advrun import process


def main() -> None:
    """The command line. A signal during its imports is answered too."""
    process.start()
    from advrun.cli import main as command

    command(prog_name="advrun")


if __name__ == "__main__":
    main()
