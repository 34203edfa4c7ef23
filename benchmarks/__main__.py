"""python -m benchmarks: run workloads, write latest.json and latest.md beside this file."""

import argparse
import os
import sys

from benchmarks.workloads import WORKLOADS, Workload


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="pfl, FedLab and Flower on Ray, too (make bench-peers)")
    parser.add_argument("--profile", action="store_true", help="say where fedpriv's time goes instead")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for fedpriv, e.g. training.engine=opacus")
    arguments = parser.parse_args()
    workloads = [workload for workload in chosen(os.environ.get("WORKLOADS", "")) if is_there(workload)]
    if not workloads:
        return
    if arguments.profile:
        from benchmarks import profiling

        profiling.main(workloads, arguments.overrides)
        return

    from benchmarks import table
    from benchmarks.contenders import contenders
    from benchmarks.pairs import compare, measure

    asked = contenders(peers=arguments.peers, overrides=arguments.overrides)
    rows = []
    for workload in workloads:
        rows += compare(workload, asked, pairs=pairs(), measure=measure, machine=table.machine())
        table.write(rows)
    print(table.markdown(rows))


def chosen(names: str) -> list[Workload]:
    """The workloads of these names, comma-separated; all where there is none."""
    asked = [name.strip() for name in names.split(",") if name.strip()] or list(WORKLOADS)
    if unknown := [name for name in asked if name not in WORKLOADS]:
        sys.exit(f"WORKLOADS: there is no {', '.join(unknown)}; use {', '.join(WORKLOADS)}.")
    return [WORKLOADS[name] for name in asked]


def pairs() -> int:
    """Pairs of each contender with the bare loop."""
    given = os.environ.get("PAIRS") or "5"
    if not given.isdecimal() or int(given) < 1:
        sys.exit(f"PAIRS={given} must be a whole number, at least 1.")
    return int(given)


def is_there(workload: Workload) -> bool:
    """Whether it can be run; says so where not."""
    if workload.missing is not None:
        print(f"{workload.name} is left out: there is no {workload.missing}. DATA=DIR names another folder.")
    return workload.missing is None


if __name__ == "__main__":
    main()
