"""``python -m gnncomm`` is the command ``gnncomm``."""

import sys

from gnncomm.cli import main

if __name__ == "__main__":
    sys.exit(main())
