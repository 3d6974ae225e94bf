"""The error envelope, and what the openai client makes of it."""

import json
from collections.abc import AsyncIterator

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared import errors as site
from shared.openai import errors
from shared.openai.errors import ApiError

SITE_ERRORS = [
    (site.SessionRefused, 401, "authentication_error", "invalid_api_key"),
    (site.AccountExpired, 401, "authentication_error", "invalid_api_key"),
    (site.AccountBusy, 429, "rate_limit_error", "rate_limit_exceeded"),
    (site.AccountLimited, 429, "rate_limit_error", "rate_limit_exceeded"),
    (site.AccountBarred, 403, "permission_error", "account_barred"),
    (site.AddressLimited, 429, "rate_limit_error", "rate_limit_exceeded"),
    (site.ContentBlocked, 400, "invalid_request_error", "content_filter"),
    (site.RequestRefused, 400, "invalid_request_error", "request_refused"),
    (site.AttachmentRefused, 400, "invalid_request_error", "invalid_attachment"),
    (site.AttachmentTooLarge, 413, "invalid_request_error", "attachment_too_large"),
    (site.ConversationUnknown, 404, "invalid_request_error", "conversation_not_found"),
    (site.UpstreamUnavailable, 502, "upstream_error", "upstream_unavailable"),
    (site.UpstreamTimeout, 504, "upstream_error", "upstream_timeout"),
    (site.UpstreamChanged, 502, "upstream_error", "upstream_changed"),
]

OWN_ERRORS = [
    (errors.BadRequest("m", "messages[0].role"), 400, "invalid_request_error", "invalid_request", {}),
    (errors.NoToken(), 401, "authentication_error", "invalid_api_key", {"WWW-Authenticate": "Bearer"}),
    (errors.NotFound(), 404, "invalid_request_error", "not_found", {}),
    (errors.ModelNotFound(), 404, "invalid_request_error", "model_not_found", {}),
    (
        errors.MethodNotAllowed({"POST", "OPTIONS"}),
        405,
        "invalid_request_error",
        "method_not_allowed",
        {"Allow": "OPTIONS, POST"},
    ),
    (errors.TooLarge(140 * 2**20), 413, "invalid_request_error", "request_too_large", {}),
    (errors.Internal("req-1"), 500, "server_error", "internal_error", {}),
    (errors.Draining(), 503, "server_error", "shutting_down", {"Connection": "close"}),
]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "headers"), OWN_ERRORS, ids=lambda value: type(value).__name__
)
def test_every_error_of_this_service(
    error: ApiError, status: int, kind: str, code: str, headers: dict[str, str]
) -> None:
    assert (error.status, error.type, error.code, error.headers) == (status, kind, code, headers)
    assert json.loads(errors.body(error)) == {
        "error": {"message": str(error), "type": kind, "param": error.param, "code": code}
    }


def test_each_message_says_what_is_wrong() -> None:
    assert "Bearer" in errors.NoToken().message
    assert errors.NoToken("Not a key of this server.").message == "Not a key of this server."
    assert "140 MiB" in errors.TooLarge(140 * 2**20).message
    assert "req-1" in errors.Internal("req-1").message
    assert errors.ModelNotFound().param == "model"


@pytest.mark.parametrize(("refusal", "status", "kind", "code"), SITE_ERRORS)
def test_a_sites_refusal_keeps_what_its_class_says(
    refusal: type[site.SiteError], status: int, kind: str, code: str
) -> None:
    told = errors.from_site(refusal("the site's words"))
    assert (told.status, told.type, told.code, told.param) == (status, kind, code, None)
    assert told.message == "the site's words"
    assert told.headers == ({"Retry-After": "10"} if status == 429 else {})


def test_no_class_of_refusal_is_forgotten() -> None:
    def below(kind: type[site.SiteError]) -> set[type[site.SiteError]]:
        children = {child for child in kind.__subclasses__() if child.__module__ == site.__name__}
        return children.union(*map(below, children))

    assert below(site.SiteError) == {row[0] for row in SITE_ERRORS}


@pytest.mark.parametrize("refusal", [site.AccountLimited, site.AccountBarred])
@pytest.mark.parametrize(
    ("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (1.01, "2"), (3600, "3600"), (-5, "1")]
)
def test_retry_after_is_in_whole_seconds(refusal: type[site.SiteError], seconds: float, header: str) -> None:
    assert errors.from_site(refusal(retry_after=seconds)).headers == {"Retry-After": header}


@pytest.mark.parametrize("message", ["plain", "余额不足", 'a "quote"\nand a line', "half \ud83d of one", ""])
def test_a_frame_is_one_event_whatever_the_message(message: str) -> None:
    frame = errors.frame(ApiError(message))
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    assert frame.count(b"\n") == 2
    assert json.loads(frame[6:])["error"]["message"] == message


CLIENT_ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    405: openai.APIStatusError,
    413: openai.APIStatusError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    502: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}

ANSWERS = [row[0] for row in OWN_ERRORS] + [errors.from_site(row[0]("words")) for row in SITE_ERRORS]


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    """The openai client before a server that answers with `ANSWERS[model]`: as a body, or in a stream."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        error = ANSWERS[int(asked["model"])]
        if not asked.get("stream"):
            return web.Response(
                status=error.status,
                body=errors.body(error),
                headers=error.headers,
                content_type="application/json",
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunk["choices"] = [{"index": 0, "delta": {"content": "你"}, "finish_reason": None}]
        await response.write(b"data: %b\n\n" % json.dumps(chunk).encode())
        await response.write(errors.frame(error))
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with (
        TestServer(app) as server,
        openai.AsyncOpenAI(api_key="obviously-fake", base_url=str(server.make_url("/v1")), max_retries=0) as client,
    ):
        yield client


async def test_the_openai_client_raises_its_typed_errors(client: openai.AsyncOpenAI) -> None:
    for index, error in enumerate(ANSWERS):
        with pytest.raises(CLIENT_ERRORS[error.status]) as caught:
            await client.chat.completions.create(model=str(index), messages=[{"role": "user", "content": "hi"}])
        raised = caught.value
        assert isinstance(raised, openai.APIStatusError)
        assert (raised.status_code, raised.code, raised.param) == (error.status, error.code, error.param)
        assert (raised.type, error.message in raised.message) == (error.type, True)
        assert {name: raised.response.headers[name] for name in error.headers} == error.headers


async def test_the_openai_client_raises_from_an_error_frame(client: openai.AsyncOpenAI) -> None:
    for index, error in enumerate(ANSWERS):
        stream = await client.chat.completions.create(
            model=str(index), messages=[{"role": "user", "content": "hi"}], stream=True
        )
        first = await anext(stream)
        assert first.choices[0].delta.content == "你"
        with pytest.raises(openai.APIError) as caught:
            await anext(stream)
        assert (caught.value.message, caught.value.code, caught.value.type) == (
            error.message,
            error.code,
            error.type,
        )
