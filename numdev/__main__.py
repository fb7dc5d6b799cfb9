"""`python -m numdev` is the command `numdev`."""

from numdev.cli import main

main()
