"""Lets a supervisor start the command line by the Python that runs it: ``python -m toolkit.cli``."""

from toolkit.cli import main

main()
