"""Report on runs, for those who launch from scripts: ``python scripts/report.py PATH... -o report.html``.

The same as ``fedpriv report PATH... -o report.html``.
"""

import sys

from fedpriv.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
