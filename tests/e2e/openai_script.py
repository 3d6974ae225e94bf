"""What an application does with the official client: run by any interpreter that has one, with nothing else.

    python openai_script.py <base URL> <token> <expired token> <token of a busy account>

The site has to be told to filter the first question, to break off the second answer and to be down for the third.
"""

import base64
import sys
from collections.abc import Callable
from typing import Any

import openai

HI: list[Any] = [{"role": "user", "content": "Hi"}]
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="


def caught(kind: type[openai.APIError], call: Callable[[], Any]) -> Any:
    """Call, and give the error it has to end with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def typed_errors(client: openai.OpenAI, expired: str, busy: str) -> None:
    def ask(who: openai.OpenAI = client, **more: Any) -> Any:
        return who.chat.completions.create(**{"model": "glm-4-plus", "messages": HI, **more})

    blocked = caught(openai.BadRequestError, ask)
    assert (blocked.status_code, blocked.code) == (400, "content_filter"), blocked
    broken = caught(openai.APIError, lambda: list(ask(stream=True)))
    assert not isinstance(broken, openai.APIStatusError), broken
    assert broken.code == "upstream_unavailable", broken
    down = caught(openai.InternalServerError, ask)
    assert (down.status_code, down.code) == (502, "upstream_unavailable"), down
    for token in (expired, "nonsense"):
        dead = caught(openai.AuthenticationError, lambda token=token: ask(client.with_options(api_key=token)))  # type: ignore[misc]
        assert (dead.code, dead.type) == ("invalid_api_key", "authentication_error"), dead
    limited = caught(openai.RateLimitError, lambda: ask(client.with_options(api_key=busy)))
    assert limited.code == "rate_limit_exceeded", limited
    assert int(limited.response.headers["Retry-After"]) > 0
    wrong = caught(openai.BadRequestError, lambda: ask(messages=[]))
    assert wrong.param == "messages", wrong
    lost = caught(openai.NotFoundError, lambda: ask(extra_body={"conversation_id": "f" * 24}))
    assert lost.code == "conversation_not_found", lost
    assert caught(openai.NotFoundError, lambda: client.models.retrieve("nothing")).code == "model_not_found"
    assert caught(openai.NotFoundError, lambda: client.embeddings.create(model="x", input="x")).status_code == 404


def chats(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="glm-4-plus", messages=HI, temperature=0, max_tokens=9)
    text = whole.choices[0].message.content
    assert text is not None
    assert text.startswith("你好"), text
    assert (whole.object, whole.model, whole.choices[0].finish_reason) == ("chat.completion", "glm-4-plus", "stop")
    assert whole.usage is not None
    assert whole.usage.total_tokens == 2

    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(model="glm-4-plus", messages=HI, stream=True, stream_options=options)
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == text, pieces
    assert len([piece for piece in pieces if piece]) > 3, pieces
    assert chunks[-1].usage is not None
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"

    thought = client.chat.completions.create(model="glm-4-zero", messages=HI).choices[0].message
    assert getattr(thought, "reasoning_content", ""), thought
    cited = client.chat.completions.create(model="glm-4", messages=[{"role": "user", "content": "weather"}])
    notes = cited.choices[0].message.annotations
    assert notes is not None
    assert notes[0].url_citation.url == "http://www.nmc.cn/", notes

    first = client.chat.completions.create(model="glm-4", messages=HI, extra_body={"conversation_id": "new"})
    again = client.chat.completions.create(model="glm-4", messages=HI, extra_body={"conversation_id": first.id})
    assert again.id == first.id


def pictures(client: openai.OpenAI) -> None:
    content: list[Any] = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
    ]
    seen = client.chat.completions.create(model="glm-4v", messages=[{"role": "user", "content": content}])
    assert "我看到了 1 个文件" in (seen.choices[0].message.content or ""), seen

    drawn = client.images.generate(model="cogview-3", prompt="a cat").data
    assert drawn is not None
    assert (drawn[0].url or "").startswith("https://"), drawn
    plain = client.images.generate(prompt="a cat", response_format="b64_json").data
    assert plain is not None
    assert base64.b64decode(plain[0].b64_json or "").startswith(b"\x89PNG")


def main(base_url: str, token: str, expired: str, busy: str) -> None:
    with openai.OpenAI(base_url=base_url, api_key=token, max_retries=0, timeout=20) as client:
        typed_errors(client, expired, busy)
        chats(client)
        pictures(client)
        assert "glm-4-plus" in [model.id for model in client.models.list()]
        assert client.models.retrieve("glm-4-zero").id == "glm-4-zero"
    sys.stdout.write(f"all well with openai {openai.__version__}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
