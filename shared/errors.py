"""What can go wrong at a site, as types.

A provider turns a site's refusal into one of these in its `refusals.py`; what each means for the account, for a
retry and for the client is said here, as data, and acted on in `shared` alone.
"""

from collections.abc import Sequence
from typing import ClassVar


class SiteError(Exception):
    """A refusal or fault of a site. The message reaches the client: never put a token or message text into it."""

    status: ClassVar[int] = 502
    """HTTP status for the client if nothing else works."""
    type: ClassVar[str] = "upstream_error"
    """The `type` of the OpenAI error object."""
    code: ClassVar[str] = "upstream_error"
    """The `code` of the OpenAI error object."""
    next_account: ClassVar[bool] = False
    """Whether this request goes on with the user's next account."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.retry_after = retry_after
        super().__init__(self.message)


class SessionRefused(SiteError):
    """The site no longer takes this session."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    next_account = True


class AccountExpired(SiteError):
    """The account token is malformed or no longer valid: log in at the site again and copy a new one."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    next_account = True


class AccountBusy(SiteError):
    """The account is already writing another answer."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    next_account = True


class AccountLimited(SiteError):
    """The account has used up what the site allows it. `retry_after` (seconds) is None for one mode's quota."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    next_account = True


class AccountBarred(SiteError):
    """The site has muted or banned this account. `retry_after` (seconds) is how long, if the site says so."""

    status = 403
    type = "permission_error"
    code = "account_barred"
    next_account = True


class AddressLimited(SiteError):
    """The site limits the network address this service calls from."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class ContentBlocked(SiteError):
    """The site's content filter refused this."""

    status = 400
    type = "invalid_request_error"
    code = "content_filter"


class RequestRefused(SiteError):
    """The site refused this request."""

    status = 400
    type = "invalid_request_error"
    code = "request_refused"


class AttachmentRefused(SiteError):
    """This attachment cannot be read or is not taken."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_attachment"


class AttachmentTooLarge(SiteError):
    """This attachment is larger than allowed."""

    status = 413
    type = "invalid_request_error"
    code = "attachment_too_large"


class ConversationUnknown(SiteError):
    """There is no such conversation at this account."""

    status = 404
    type = "invalid_request_error"
    code = "conversation_not_found"


class UpstreamUnavailable(SiteError):
    """The site could not be reached, broke off, or answered with a server error."""

    status = 502
    code = "upstream_unavailable"


class UpstreamTimeout(UpstreamUnavailable):
    """The site did not answer in time."""

    status = 504
    code = "upstream_timeout"


class UpstreamChanged(SiteError):
    """The site answered in a shape this service does not know. `shape` is a redacted sketch of it, for the log."""

    status = 502
    code = "upstream_changed"

    def __init__(self, message: str = "", *, shape: str = "") -> None:
        super().__init__(message)
        self.shape = shape


_RANK = (429, 502, 504, 403, 401)
"""Which status the client hears when its accounts failed differently: the first of these."""


def worst(failures: Sequence[SiteError]) -> SiteError:
    """Choose which of several refusals the client hears: by `_RANK`, then the first."""
    return min(failures, key=lambda failure: _RANK.index(failure.status) if failure.status in _RANK else len(_RANK))
