"""`python -m advrun`."""

from advrun.cli import main

main(prog_name="advrun")
