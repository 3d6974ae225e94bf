from hypothesis import given
from hypothesis import strategies as st

from shared.surrogates import Halves, whole, without_open_half

TEXTS = st.text(st.sampled_from("aé好\ud83d\ude00\U0001f600"), max_size=12)


@given(TEXTS, st.lists(st.integers(0, 12), max_size=4))
def test_a_text_is_the_same_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    halves = Halves()
    ends = sorted({*cuts, len(text)})
    given_ = "".join(halves.feed(text[start:end]) for start, end in zip([0, *ends], ends, strict=False))
    assert given_ + halves.flush() == whole(text)
    assert halves.flush() == ""


@given(TEXTS)
def test_none_leaves(text: str) -> None:
    whole(text).encode()
    assert whole(whole(text)) == whole(text)


def test_only_a_high_half_at_the_end_waits() -> None:
    assert without_open_half("a\ud83d") == "a"
    assert without_open_half("\ud83da") == "\ud83da"
    assert without_open_half("a\ude00") == "a\ude00"
    halves = Halves()
    assert [halves.feed(piece) for piece in ("a\ud83d", "\ude00b", "\ud83d")] == ["a", "😀b", ""]
    assert halves.flush() == "\ufffd"
