from typing import Any

import pytest

from shared.errors import UpstreamChanged
from shared.upstream.shapes import as_address, as_list, as_object, as_text, id_of, inner, text_of

ODD: list[Any] = [None, True, 7, 1.5, "text", [], ["a"], {}, {"a": 1}]


@pytest.mark.parametrize(
    ("value", "names", "wanted"),
    [
        ({"a": {"b": [1]}}, ("a", "b"), [1]),
        ({"a": {"b": [1]}}, ("a",), {"b": [1]}),
        ({"a": {"b": [1]}}, (), {"a": {"b": [1]}}),
        ({"a": {"b": [1]}}, ("a", "c"), None),
        ({"a": {"b": [1]}}, ("a", "b", "c"), None),
        ({"a": None}, ("a", "b"), None),
        ([{"a": 1}], ("a",), None),
        ("a", ("a",), None),
    ],
)
def test_a_way_through_objects(value: Any, names: tuple[str, ...], wanted: Any) -> None:
    assert inner(value, *names) == wanted


@pytest.mark.parametrize("value", ODD)
def test_what_is_of_another_shape_is_empty(value: Any) -> None:
    assert as_object(value) == (value if type(value) is dict else {})
    assert as_list(value) == (value if type(value) is list else [])
    assert as_text(value) == (value if type(value) is str else "")
    assert as_address(value) == ""


def test_texts_are_made_whole() -> None:
    assert as_text("a\ud83d") == "a\ufffd"
    assert as_address("https://x/\ude00") == "https://x/\ufffd"


@pytest.mark.parametrize("url", ["http://x", "https://x/y?z"])
def test_addresses(url: str) -> None:
    assert as_address(url) == url
    for other in (f" {url}", url.upper(), f"java{url}", url.partition("//")[2]):
        assert as_address(other) == ""


def test_a_text_that_must_be_there() -> None:
    assert text_of({"rid": "", "id": "7"}, "rid", "id") == "7"
    assert text_of({"id": 7}, "rid", "id") == "7"
    for value in ({}, {"rid": None, "id": ""}, {"id": True}, {"id": "a\r\nb"}, {"rid": "a\ud83d"}):
        with pytest.raises(UpstreamChanged, match="`rid`") as caught:
            text_of(value, "rid", "id")
        assert caught.value.shape.startswith("{")


def test_an_id_that_must_be_there() -> None:
    assert id_of({"id": 7}, "id") == 7
    assert id_of({"id": "7"}, "id") == "7"
    for value in ({}, {"id": None}, {"id": True}, {"id": ""}):
        with pytest.raises(UpstreamChanged, match="`id`"):
            id_of(value, "id")
