"""Audit an experiment by many runs with and without one canary: ``python scripts/audit_repeatedly.py OVERRIDE ...``.

The overrides are those of ``fedpriv run`` and choose an audit, such as ``audit=gradient_canaries``. Stopped and started
again, it goes on; with more ``--runs`` it adds those that are missing. Exit code 1: the bound contradicts the claim.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

from fedpriv.config import compose
from fedpriv.errors import FedprivError
from fedpriv.experiment.auditing import RepeatedAudit, check_repeated
from fedpriv.records.atomic import write_json_atomic


def main() -> int:
    """Run what is missing, write the result beside the trials, and print it."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as of fedpriv run")
    parser.add_argument("--runs", type=int, default=400, help="in all; a quarter of them finds the threshold (400)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/repeated"), help="folder of the trials")
    asked = parser.parse_intermixed_args()
    try:
        audit = RepeatedAudit(config=compose(asked.overrides, config_dir=None), folder=asked.output)
        found = audit.conduct(asked.runs, workers=asked.workers, tell=lambda line: print(line, file=sys.stderr))
        write_json_atomic(audit.trials_file.with_suffix(".json"), found)
        print(json.dumps(found, indent=2))
        check_repeated(found)
    except FedprivError as error:
        print(f"audit_repeatedly: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
