"""`python -m tests.bench [--quick] [--service NAME]`: measure, and print tables. Misses are no failure."""

import argparse
import os
import sys

from tests.bench.measure import BRIEF, SCENARIOS, Bench, Figures
from tests.bench.processes import ProcessError
from tests.bench.sites import SITES
from tests.bench.table import comparison, rows

FIRST = "glm"
"""The service that the others are compared with."""

ROUNDS = 3
STARTS = 3
QUICK_ROUNDS = 1
QUICK_STARTS = 2
BRIEF_ROUNDS = 2


def main() -> None:
    """Measure one service, by default the first one, and then compare the others with it, unless told otherwise.

    The exit code tells only whether all could be measured.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one service only, one short round instead of three")
    parser.add_argument("--service", choices=list(SITES), help="this one only")
    arguments = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("The figures are read from /proc: this needs Linux.")
    name = arguments.service or FIRST
    try:
        figures = {name: _whole(name, quick=arguments.quick)}
        if arguments.service is None and not arguments.quick:
            figures |= {other: _brief(other) for other in SITES if other != name}
    except ProcessError as error:
        sys.exit(f"Not measured: {error}")
    if len(figures) > 1:
        print("\n".join(["", *comparison(figures)]))


def _whole(service: str, *, quick: bool) -> tuple[Figures, Figures]:
    """Measure all there is of one service and its relay, and print it."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    scenarios = {name: scenario.shorter() for name, scenario in SCENARIOS.items()} if quick else SCENARIOS
    with Bench.open(service) as bench:
        bench.measure_starts(QUICK_STARTS if quick else STARTS)
        bench.measure_loads(rounds, scenarios, _say)
    relay, own = bench.relay.figures, bench.service.figures
    print(f"services.{service} beside a bare relay; CPU time of the process; medians of {rounds} round(s)")
    print("\n".join(row.write() for row in rows(relay, own)))
    return relay, own


def _brief(service: str) -> tuple[Figures, Figures]:
    """Measure of one service and its relay what is compared."""
    with Bench.open(service) as bench:
        bench.measure_loads(BRIEF_ROUNDS, BRIEF, _say)
    return bench.relay.figures, bench.service.figures


def _say(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    main()
