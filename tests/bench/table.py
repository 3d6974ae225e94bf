"""The figures as a table, beside what is to be reached."""

from collections.abc import Callable, Iterable, Mapping
from statistics import median

from attrs import frozen

from tests.bench.measure import BRIEF, SCENARIOS, Figures

TARGETS = {"call": 3.0, "paced 32": 1.4, "paced 128": 1.4, "paced 256": 1.4, "burst": 3.0}
"""Processor time of the service, in multiples of the relay's."""
ADDED_P99 = 3e-3
"""Seconds, 99th percentile, at 128 streams."""
QUOTIENT = 1.5
"""What a service may cost in multiples of what the first one costs, both in multiples of their relays."""
IDLE_MEGABYTES = 60.0
START_SECONDS = 0.8

MISS = "MISS"
VOID = "void: frames piled up"

_FIRSTS = "paced 128"
_COSTS = {
    "call": "CPU per non-stream call, {frames} frames",
    "paced 32": "CPU per frame, {slots} streams, a frame each {every} ms",
    "paced 128": "CPU per frame, {slots} streams",
    "paced 256": "CPU per frame, {slots} streams",
    "frames alone": "  the same, {slots} streams, without their calls",
    "burst": "CPU per frame, {frames} in one burst",
    "at 500": "CPU per frame at character {start:,}",
    "at 50,000": "CPU per frame at character {start:,}",
}


@frozen
class Row:
    """One line: what, the relay's figure, the service's, how they compare, the target, and whether it is reached."""

    what: str
    relay: str
    service: str
    compared: str = ""
    target: str = ""
    verdict: str = ""

    def write(self) -> str:
        """Write the line."""
        line = f"{self.what:48}{self.relay:>12}{self.service:>12}{self.compared:>11}{self.target:>13}  {self.verdict}"
        return line.rstrip()


def rows(relay: Figures, service: Figures) -> list[Row]:
    """Give the table's lines."""
    costs = [_cost(name, relay, service) for name in SCENARIOS]
    return [
        Row("", "relay", "service", "compared", "target"),
        *costs,
        _first("p50", 0.5, relay, service),
        _first("p99", 0.99, relay, service, ADDED_P99),
        _plain("memory, idle", "{:.1f} MB", relay.idle, service.idle, IDLE_MEGABYTES),
        _plain("memory, peak of the run", "{:.1f} MB", relay.peak, service.peak),
        _plain("waiting for the core (others use this machine)", "{:.0%}", relay.waited(), service.waited()),
        _plain("start to first /healthz", "{:.2f} s", median(relay.starts), median(service.starts), START_SECONDS),
    ]


def comparison(figures: Mapping[str, tuple[Figures, Figures]]) -> list[str]:
    """Give the lines that compare services, (relay's figures, its own) of each by name, with the first of them."""
    first = next(iter(figures))
    return [
        f"All services: CPU time in multiples of a relay's, and that in multiples of {first}'s (<= {QUOTIENT:g})",
        _line("", (*BRIEF, "waiting for the core")),
        *(
            _line(service, [_quotient(name, own, figures[first]) for name in BRIEF] + [f"{own[1].waited():.0%}"])
            for service, own in figures.items()
        ),
    ]


def _line(head: str, cells: Iterable[str]) -> str:
    return f"{head:10}{''.join(f'{cell:36}' for cell in cells)}".rstrip()


def _quotient(name: str, own: tuple[Figures, Figures], reference: tuple[Figures, Figures]) -> str:
    ratio = _ratio(name, *own)
    if own is reference:
        return f"{ratio:.2f}x"
    quotient = ratio / _ratio(name, *reference)
    piled_up = any(figures.piled_up(name) for figures in own + reference)
    return f"{ratio:.2f}x {quotient:5.2f} {VOID if piled_up else _verdict(quotient, QUOTIENT)}"


def _cost(name: str, relay: Figures, service: Figures) -> Row:
    """Compare processor time: the median of each, and of the ratios of what ran side by side."""
    scenario = SCENARIOS[name]
    what = _COSTS[name].format(
        frames=scenario.script.frames, every=scenario.script.every, start=scenario.script.start, slots=scenario.slots
    )
    ratio = _ratio(name, relay, service)
    limit = TARGETS.get(name)
    target = "" if limit is None else f"<= {limit:g}x"
    verdict = _verdict(ratio, limit)
    if limit is not None and (relay.piled_up(name) or (service.piled_up(name) and verdict != MISS)):
        # The service costs at least what it seems to, so that its miss remains one; a relay's figure is of no use.
        verdict = VOID
    theirs, ours = (_microseconds(median(figures.costs(name))) for figures in (relay, service))
    return Row(what, theirs, ours, f"{ratio:.2f}x", target, verdict)


def _ratio(name: str, relay: Figures, service: Figures) -> float:
    ours, theirs = service.costs(name), relay.costs(name)
    return median(our / their for our, their in zip(ours, theirs, strict=True))


def _verdict(figure: float, limit: float | None) -> str:
    if limit is None:
        return ""
    return "pass" if figure <= limit else MISS


def _first(label: str, share: float, relay: Figures, service: Figures, limit: float | None = None) -> Row:
    """Compare the time from a request to its first byte of text: the same percentile of each, and the difference."""
    ours, theirs = service.firsts(_FIRSTS, share), relay.firsts(_FIRSTS, share)
    added = median(our - their for our, their in zip(ours, theirs, strict=True))
    target = "" if limit is None else f"<= {limit * 1e3:g} ms"
    verdict = _verdict(added, limit)
    if limit is not None and (relay.piled_up(_FIRSTS) or service.piled_up(_FIRSTS)):
        verdict = VOID
    what = f"request to first text, {SCENARIOS[_FIRSTS].slots} streams, {label}"
    cells = (_milliseconds(median(theirs)), _milliseconds(median(ours)), f"{added * 1e3:+.2f} ms")
    return Row(what, *cells, target, verdict)


def _plain(what: str, form: str, theirs: float, ours: float, limit: float | None = None) -> Row:
    target = "" if limit is None else "<= " + form.format(limit)
    return Row(what, form.format(theirs), form.format(ours), "", target, _verdict(ours, limit))


def _scaled(factor: float, unit: str, digits: int) -> Callable[[float], str]:
    return lambda seconds: f"{seconds * factor:.{digits}f} {unit}"


_microseconds = _scaled(1e6, "µs", 1)
_milliseconds = _scaled(1e3, "ms", 2)
