"""`python -m tests.bench [--quick] [--service NAME]`: measure, and print the table. Misses are no failure."""

import argparse
import os
import sys

from tests.bench.measure import Bench
from tests.bench.processes import ProcessError
from tests.bench.sites import SITES
from tests.bench.table import rows

ROUNDS = 3
STARTS = 5


def main() -> None:
    """Run; the exit code tells only whether all could be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round instead of three")
    parser.add_argument("--service", choices=sorted(SITES), default="glm")
    arguments = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("The figures are read from /proc: this needs Linux.")
    try:
        with Bench.open(arguments.service) as bench:
            bench.measure_starts(2 if arguments.quick else STARTS)
            rounds = 1 if arguments.quick else ROUNDS
            bench.measure_loads(rounds, quick=arguments.quick, progress=_say)
    except ProcessError as error:
        sys.exit(f"Not measured: {error}")
    print(f"services.{arguments.service} beside a bare relay; CPU time of the process; medians of {rounds} round(s)")
    for row in rows(bench.relay.figures, bench.service.figures):
        print(row.write())


def _say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    main()
