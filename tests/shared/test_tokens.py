import base64

import orjson
import pytest

from shared.errors import AccountExpired
from shared.tokens import claims, take_whole


def jwt(payload: bytes) -> str:
    return f"head.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.sign"


def test_a_token_is_taken_as_it_is() -> None:
    assert take_whole(" a.b+/=\n", "no").token == "a.b+/="


@pytest.mark.parametrize("token", ["", " ", "two words", "a\tb", "密", "\x7f"])
def test_what_fits_into_no_header_is_refused_with_these_words(token: str) -> None:
    with pytest.raises(AccountExpired, match="copy it again"):
        take_whole(token, "copy it again")


@pytest.mark.parametrize("said", [{}, {"a": 1}, {"ab": "é"}, {"user": {"id": "1"}}])
def test_what_a_jwt_says(said: dict[str, object]) -> None:
    assert claims(jwt(orjson.dumps(said))) == said


@pytest.mark.parametrize("text", ["", "A0", "a.b.c", "..", "a.é.c", "a.b", jwt(b"[]"), jwt(b"null"), jwt(b"{}") + ".x"])
def test_what_says_nothing(text: str) -> None:
    assert claims(text) == {}
