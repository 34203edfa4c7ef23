"""Run one experiment, for those who launch from scripts: ``python scripts/simulate.py [hydra overrides]``.

The same as ``fedpriv run [hydra overrides]``.
"""

import sys

from fedpriv.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
