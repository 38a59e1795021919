"""`python -m efface`."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]):
    del sys.path[0]  # where Python puts the working folder, whose modules would stand for anybody's

from efface.cli import main

main()
