import re
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.errors import AccountExpired, AccountLimited, UpstreamUnavailable
from shared.metrics import UNKNOWN_KINDS, Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample as `name{label=value,...}`, without the provider's label, which each has."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name.startswith("process_"):
                continue
            assert sample.name.startswith("chat_service_")
            assert sample.labels.pop("provider") == "glm"
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[sample.name.removeprefix("chat_service_") + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


@pytest.mark.parametrize(
    ("record", "sample"),
    [
        (lambda m: m.request("/v1/chat/completions", 200), "requests_total{route=/v1/chat/completions,status=200}"),
        (lambda m: m.stream_opened(), "open_streams"),
        (lambda m: m.upstream("chat", "answered"), "upstream_calls_total{kind=chat,outcome=answered}"),
        (lambda m: m.cleanup("deleted"), "cleanups_total{outcome=deleted}"),
        (lambda m: m.unknown("tool_result"), "unknown_total{kind=tool_result}"),
        (lambda m: m.account_failed(AccountExpired()), "account_failures_total{reason=account_expired}"),
        (lambda m: m.retried(), "retries_total"),
        (lambda m: m.first_delta(0.7), "first_delta_seconds_count"),
        (lambda m: m.first_delta(0.7), "first_delta_seconds_bucket{le=1.0}"),
    ],
)
def test_what_happened_is_counted(record: Callable[[Metrics], None], sample: str) -> None:
    metrics = Metrics("glm")
    before = samples(metrics).get(sample, 0)
    record(metrics)
    record(metrics)
    assert samples(metrics)[sample] == before + 2


def test_values_without_labels_are_there_from_the_start() -> None:
    found = samples(Metrics("glm"))
    assert found["retries_total"] == found["open_streams"] == found["first_delta_seconds_count"] == 0


def test_open_streams_come_down_again() -> None:
    metrics = Metrics("glm")
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    assert samples(metrics)["open_streams"] == 1


def test_each_reason_of_a_failed_account_has_its_series() -> None:
    metrics = Metrics("glm")
    for error in (AccountExpired(), AccountLimited(), AccountExpired(), UpstreamUnavailable()):
        metrics.account_failed(error)
    found = {name: value for name, value in samples(metrics).items() if name.startswith("account_failures")}
    assert found == {
        "account_failures_total{reason=account_expired}": 2,
        "account_failures_total{reason=account_limited}": 1,
        "account_failures_total{reason=upstream_unavailable}": 1,
    }


def test_accounts_are_counted_when_asked_for() -> None:
    metrics = Metrics("glm")
    assert not [name for name in samples(metrics) if name.startswith("accounts")]
    states = {"free": 2, "expired": 1}
    metrics.watch_accounts(lambda: states)
    assert samples(metrics)["accounts{state=free}"] == 2
    states["free"] = 1
    assert samples(metrics)["accounts{state=free}"] == 1


def unknown(metrics: Metrics) -> dict[str, float]:
    pattern = re.compile(r"unknown_total\{kind=(.*)\}")
    return {match[1]: value for name, value in samples(metrics).items() if (match := pattern.fullmatch(name))}


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("tool.call-2_x", "tool.call-2_x"),
        ('a"b\n{c}', "a_b__c_"),
        ("新的", "__"),
        ("", "empty"),
        ("\ud83d", "_"),
        ("x" * 100_000, "x" * 40),
    ],
)
def test_unknown_kinds_are_cleaned(kind: str, label: str) -> None:
    metrics = Metrics("glm")
    metrics.unknown(kind)
    assert unknown(metrics) == {label: 1}


def test_unknown_kinds_are_bounded() -> None:
    metrics = Metrics("glm")
    for number in range(3 * UNKNOWN_KINDS):
        metrics.unknown(f"kind{number}")
        metrics.unknown("kind0")
    found = unknown(metrics)
    assert len(found) == UNKNOWN_KINDS + 1
    assert found["other"] == 2 * UNKNOWN_KINDS
    assert found["kind0"] == 3 * UNKNOWN_KINDS + 1


def test_applications_share_nothing() -> None:
    one, other = Metrics("glm"), Metrics("glm")
    one.retried()
    assert samples(other)["retries_total"] == 0


def test_the_text_is_plain_and_without_time_stamps_of_series() -> None:
    metrics = Metrics("glm")
    metrics.retried()
    assert metrics.content_type.startswith("text/plain; version=0.0.4")
    assert b"_created" not in metrics.render()
    assert b"process_resident_memory_bytes" in metrics.render()
