"""What went wrong while a request was served, to what its client is told; the log is told the rest."""

from shared.errors import SiteError, UpstreamChanged
from shared.logs import get_logger
from shared.openai.errors import ApiError, Internal, from_site
from shared.redaction import mask

log = get_logger(__name__)


def told(error: Exception, request_id: str) -> ApiError:
    """Give the client's error. The log gets what only its reader can act on: a changed site, a fault of our own."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UpstreamChanged):
        log.error("upstream_changed", reason=error.message, shape=error.shape)
    elif isinstance(error, SiteError):
        # Not in the site's own words: they may quote the message.
        log.info("refused", code=error.code, reason=type(error).__name__)
    else:
        log.error("internal_error", exc_info=error)
        return Internal(request_id)
    answer = from_site(error)
    # The site may quote the token, which is not the client's where the server's accounts are used.
    answer.message = mask(answer.message)
    return answer
