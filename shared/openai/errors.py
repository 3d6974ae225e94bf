"""Errors as OpenAI writes them: `{"error": {"message", "type", "param", "code"}}` with a true status."""

import math
from collections.abc import Iterable, Mapping

from shared.errors import SiteError
from shared.upstream.json import dumps

RETRY_AFTER = 10.0
"""Seconds a 429 names when the site named none: accounts that refused are not asked again any sooner."""

ADVICE = "No account token: send `Authorization: Bearer <token>`, several tokens separated by commas."
NO_KEY = "No API key: send one of this service's own as `Authorization: Bearer <key>`."
"""What `NoToken` says when the header holds nothing; with API keys, account tokens are not for this service."""


class ApiError(Exception):
    """An error for the client, who reads the message: never put a token or message text into it.

    `headers` go with the status; they mean nothing in a frame.
    """

    status: int = 500
    type: str = "server_error"
    code: str = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


class Internal(ApiError):
    """A fault of this service: the client gets the id under which the log tells more, and nothing else."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"Something went wrong in this service. Request id: {request_id}")


class BadRequest(ApiError):
    """The request cannot be read. `param` is the path of the field at fault, None for the body as a whole."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message, param=param)


class NoToken(ApiError):
    """The Authorization header holds no account token, or not one of the server's keys."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def __init__(self, message: str = ADVICE) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class NotFound(ApiError):
    """There is no such route."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is no such address here.")


class ModelNotFound(ApiError):
    """`GET /v1/models/{name}` knows no such model."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such model here: see GET /v1/models.", param="model")


class MethodNotAllowed(ApiError):
    """The route does not take this method; `allowed` are the names of those it takes."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, allowed: Iterable[str]) -> None:
        methods = ", ".join(sorted(allowed))
        super().__init__(f"This address takes {methods} only.", headers={"Allow": methods})


class TooLarge(ApiError):
    """The body is larger than `limit` bytes."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than {limit / 2**20:g} MiB.")


class ExpectationFailed(ApiError):
    """The `Expect` header asks for something else than 100-continue."""

    status = 417
    type = "invalid_request_error"
    code = "expectation_failed"

    def __init__(self) -> None:
        super().__init__("This service knows `Expect: 100-continue` only.")


class Draining(ApiError):
    """The service is shutting down."""

    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("This service is shutting down: send the request again.", headers={"Connection": "close"})


def from_site(error: SiteError) -> ApiError:
    """Turn a site's refusal into the client's error: status, type and code are those of its class."""
    seconds = error.retry_after
    if seconds is None and error.status == 429:
        seconds = RETRY_AFTER
    headers = {} if seconds is None else {"Retry-After": whole_seconds(seconds)}
    told = ApiError(error.message, headers=headers)
    told.status, told.type, told.code = error.status, error.type, error.code
    return told


def whole_seconds(seconds: float) -> str:
    """Write a time for `Retry-After`: whole seconds, rounded up, at least 1."""
    return str(max(1, math.ceil(seconds)))


def body(error: ApiError) -> bytes:
    """Write the envelope, as JSON."""
    told = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return dumps({"error": told})


def frame(error: ApiError) -> bytes:
    """Write the envelope as one SSE event: how an answer ends that failed after its head went out."""
    return b"data: %b\n\n" % body(error)
