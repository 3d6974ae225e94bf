import time
import uuid

import pytest

from shared.uuids import Uuids


def test_no_two_are_alike_and_all_have_the_same_second_half() -> None:
    uuids = Uuids()
    made = [uuid.UUID(uuids.fresh()) for _ in range(1000)]
    assert len({one.time for one in made}) == 1000
    assert {one.version for one in made} == {1}
    assert {one.variant for one in made} == {uuid.RFC_4122}
    assert len({(one.clock_seq, one.node) for one in made}) == 1


def test_the_time_is_now_as_the_standard_library_counts_it() -> None:
    before = uuid.uuid1().time
    made = uuid.UUID(Uuids().fresh()).time
    assert before <= made <= uuid.uuid1().time + 1


def test_a_clock_that_stands_still_or_goes_back_gives_no_number_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    uuids = Uuids()
    now = time.time_ns()
    clock = iter((now, now, now - 10**9))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    made = [uuid.UUID(uuids.fresh()).time for _ in range(3)]
    assert made == sorted(set(made))


def test_the_node_is_random_and_says_so() -> None:
    nodes = {uuid.UUID(Uuids().fresh()).node for _ in range(100)}
    assert len(nodes) == 100
    assert all(node >> 40 & 1 for node in nodes)


def test_dashes_stand_where_they_usually_do() -> None:
    made = Uuids().dashed()
    assert made == str(uuid.UUID(made))
