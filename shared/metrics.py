"""What `/metrics` shows: counted per application, cheap enough for every event."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.errors import SiteError

# A time stamp for each series doubles the output and says nothing that is asked here.
disable_created_metrics()  # type: ignore[no-untyped-call]

UNKNOWN_KINDS = 50
"""Kinds of unknown frames that get a series of their own; the rest is `other`."""

_KIND_LENGTH = 40
_UNCLEAN = re.compile(r"[^A-Za-z0-9_.-]")
_FIRST_DELTA_BUCKETS = (0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120)
"""Seconds: sites answer within a few, reasoning and searching ones within a minute or two."""


class _Series(Collector):
    """What is counted under one name, by label values. One more is an addition in a dictionary, without a lock."""

    def __init__(self, metrics: "Metrics", name: str, help_text: str, *labels: str) -> None:
        self.counts: defaultdict[tuple[str | int, ...], int] = defaultdict(int)
        self._family = (f"chat_service_{name}", help_text)
        self._labels = ("provider", *labels)
        self._provider = metrics.provider
        metrics.registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(*self._family, labels=self._labels)
        for values, count in self.counts.items():
            family.add_metric((self._provider, *map(str, values)), count)
        yield family


class _Accounts(Collector):
    """Accounts by state, asked for when `/metrics` is."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self.states: Callable[[], Mapping[str, int]] = dict

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("chat_service_accounts", "Accounts by state.", labels=("provider", "state"))
        for state, count in self.states().items():
            family.add_metric((self._provider, state), count)
        yield family


class Metrics:
    """The metrics of one application. Names begin with `chat_service_`; each carries the label `provider`.

    What the operating system knows of the process is there too, under the customary `process_` names.
    """

    content_type: ClassVar[str] = "text/plain; version=0.0.4; charset=utf-8"
    """Of what `render` gives: Prometheus's text format."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.registry = CollectorRegistry()
        self._accounts = _Accounts(provider)
        self.registry.register(self._accounts)
        ProcessCollector(registry=self.registry)
        self._requests = _Series(self, "requests", "Requests by route and status.", "route", "status")
        self._upstream = _Series(self, "upstream_calls", "Calls to the site by kind and outcome.", "kind", "outcome")
        self._cleanups = _Series(self, "cleanups", "Stopped and deleted conversations by outcome.", "outcome")
        self._unknown = _Series(self, "unknown", "Skipped parts of replies by kind: the site has changed.", "kind")
        self._failures = _Series(self, "account_failures", "Refusals an account met, by reason.", "reason")
        self._retries = _Series(self, "retries", "Tries repeated because the site could not be reached.")
        self._retries.counts[()] = 0
        self._redis_up: Gauge | None = None
        self._open_streams = Gauge(
            "chat_service_open_streams", "Streams being answered.", ("provider",), registry=self.registry
        ).labels(provider)
        self._first_delta = Histogram(
            "chat_service_first_delta_seconds",
            "Seconds from a request to the first piece of its answer.",
            ("provider",),
            buckets=_FIRST_DELTA_BUCKETS,
            registry=self.registry,
        ).labels(provider)

    def request(self, route: str, status: int) -> None:
        """Count an answered request. `route` is the route's pattern, not the client's path: series stay."""
        self._requests.counts[route, status] += 1

    def first_delta(self, seconds: float) -> None:
        """Note how long a client waited for the first piece of its answer."""
        self._first_delta.observe(seconds)

    def stream_opened(self) -> None:
        """Note that a stream is being answered, whether its head is out or not."""
        self._open_streams.inc()

    def stream_closed(self) -> None:
        """Note that such a stream has ended, however it did."""
        self._open_streams.dec()

    def upstream(self, kind: str, outcome: str) -> None:
        """Count a call to the site: which of its calls, and what came of it."""
        self._upstream.counts[kind, outcome] += 1

    def cleanup(self, outcome: str) -> None:
        """Count a clean-up at the site."""
        self._cleanups.counts[outcome,] += 1

    def unknown(self, kind: str) -> None:
        """Count what a decoder skipped. `kind` is the site's word: it is cut, cleaned, and one of so many."""
        self._unknown.counts[self._unknown_label(kind[:_KIND_LENGTH]),] += 1

    def account_failed(self, error: SiteError) -> None:
        """Count why an account could not serve a request: the error's class, as in `account_expired`."""
        reason = re.sub(r"(?<=.)(?=[A-Z])", "_", type(error).__name__).lower()
        self._failures.counts[reason,] += 1

    def retried(self) -> None:
        """Count a try repeated because the site could not be reached."""
        self._retries.counts[()] += 1

    def redis_up(self, up: bool) -> None:
        """Note whether Redis answers; a service without one has no such series."""
        if self._redis_up is None:
            gauge = Gauge("chat_service_redis_up", "Whether Redis answers.", ("provider",), registry=self.registry)
            self._redis_up = gauge.labels(self.provider)
        self._redis_up.set(up)

    def watch_accounts(self, states: Callable[[], Mapping[str, int]]) -> None:
        """Show what `states` gives, the number of accounts by state, whenever the metrics are asked for."""
        self._accounts.states = states

    def render(self) -> bytes:
        """Write all of it, as `content_type` says."""
        return generate_latest(self.registry)

    def _unknown_label(self, kind: str) -> str:
        label = _UNCLEAN.sub("_", kind) or "empty"
        known = self._unknown.counts
        return label if (label,) in known or len(known) < UNKNOWN_KINDS else "other"
