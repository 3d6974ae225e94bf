import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.openai.messages import FilePart, Message, TextPart
from shared.prompts import ATTENTION, with_attention, without_pictures


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a ![b](c) d", "a  d"),
        ("![]()", "![]()"),
        ("![a]()", "![a]()"),
        ("![](a)", "![](a)"),
        ("![](](a)", ""),
        ("x ![a](b) y (z) w", "x  w"),
        ("![a](b)\n![c](d)", "\n"),
        ("![a]\n(b)", "![a]\n(b)"),
        ("![a\u2028](b)", "![a\u2028](b)"),
        ("![a](b)\r![c](d) ", "\r "),
    ],
)
def test_pictures_are_deleted_from_the_first_to_the_last_bracket_of_a_line(text: str, wanted: str) -> None:
    assert without_pictures(text) == wanted


AS_WRITTEN = re.compile("!\\[[^\n\r\u2028\u2029]+\\]\\([^\n\r\u2028\u2029]+\\)")


@given(st.text(alphabet="![]()a\n\r\u2028", max_size=30))
def test_pictures_are_deleted_as_the_pattern_would(text: str) -> None:
    assert without_pictures(text) == AS_WRITTEN.sub("", text)


@pytest.mark.parametrize("hostile", ["![a](" * 200_000, "![" * 400_000 + "](", "![" * 200_000 + "](" * 200_000])
def test_hostile_lines_are_done_before_the_test_times_out(hostile: str) -> None:
    assert without_pictures(hostile) == hostile


def test_only_files_of_the_last_message_call_for_attention() -> None:
    plain, carrying = Message("user", (TextPart("a"),)), Message("user", (FilePart("file", "https://x/y"),))
    assert with_attention([carrying, plain]) == [carrying, plain]
    assert with_attention([plain, carrying]) == [plain, ATTENTION, carrying]
