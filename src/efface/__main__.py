"""`python -m efface`."""

from efface.cli import main

main()
