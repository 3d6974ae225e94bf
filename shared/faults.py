"""What went wrong while a request was served, to what its client is told; the log is told the rest."""

import structlog

from shared.errors import SiteError, UpstreamChanged
from shared.openai.errors import ApiError, Internal, from_site

log = structlog.get_logger(__name__)


def told(error: Exception, request_id: str) -> ApiError:
    """Give the client's error. The log gets what only its reader can act on: a changed site, a fault of our own."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UpstreamChanged):
        log.error("upstream_changed", reason=error.message, shape=error.shape)
    elif isinstance(error, SiteError):
        log.info("refused", code=error.code, reason=error.message)
    else:
        log.error("internal_error", exc_info=error)
        return Internal(request_id)
    return from_site(error)
