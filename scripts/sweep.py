"""Sweep over experiments, for those who launch from scripts: ``python scripts/sweep.py [hydra overrides]``.

The same as ``fedpriv sweep [hydra overrides]``.
"""

import sys

from fedpriv.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
