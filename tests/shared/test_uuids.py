from shared.uuids import Uuids


def test_no_two_are_alike_and_all_have_the_same_second_half() -> None:
    uuids = Uuids()
    made = [uuids.fresh() for _ in range(1000)]
    assert len({one.time for one in made}) == 1000
    assert {one.version for one in made} == {1}
    assert len({(one.clock_seq, one.node) for one in made}) == 1


def test_the_node_is_random_and_says_so() -> None:
    nodes = {Uuids().fresh().node for _ in range(100)}
    assert len(nodes) == 100
    assert all(node >> 40 & 1 for node in nodes)
