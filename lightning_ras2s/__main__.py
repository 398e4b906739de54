"""``python -m lightning_ras2s`` is the command ``ras2s``."""

import sys

from lightning_ras2s.cli import main

if __name__ == "__main__":
    sys.exit(main())
