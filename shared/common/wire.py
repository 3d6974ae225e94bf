"""What replicas tell each other, as bytes: cool-downs and news. Pure."""

from typing import Any

import orjson

from shared.common.contract import Changed, Cooldown, Freed, News
from shared.errors import AccountBarred, AccountBusy, AccountExpired, AccountLimited, AddressLimited, SiteError

_REFUSALS: dict[str, type[SiteError]] = {
    refusal.__name__: refusal
    for refusal in (AccountBarred, AccountBusy, AccountExpired, AccountLimited, AddressLimited)
}


def write_cooldown(cooldown: Cooldown) -> bytes:
    """Write what `read_cooldown` reads."""
    return orjson.dumps(_told(cooldown))


def read_cooldown(value: bytes | None, left: float | None = None) -> Cooldown | None:
    """Read a cool-down of which `left` seconds remain (None: all); None when there is none, or another version's."""
    try:
        return None if value is None else _cooldown(orjson.loads(value), left)
    except (TypeError, KeyError, ValueError):
        return None


def write_news(replica: str, news: News) -> bytes:
    """Write what `read_news` reads: `replica` says it."""
    told: dict[str, Any] = {"from": replica, "account": news.account}
    if isinstance(news, Changed):
        told["cooldown"] = news.cooldown and _told(news.cooldown)
    return orjson.dumps(told)


def read_news(text: bytes) -> tuple[str, News] | None:
    """Read (who says it, what); None when another version says something unknown."""
    try:
        told = orjson.loads(text)
        if "cooldown" not in told:
            return str(told["from"]), Freed(told["account"])
        cooldown = told["cooldown"] and _cooldown(told["cooldown"], None)
        return str(told["from"]), Changed(told["account"], cooldown)
    except (TypeError, KeyError, ValueError):
        return None


def _told(cooldown: Cooldown) -> dict[str, Any]:
    refusal = cooldown.refusal
    return {
        "refusal": type(refusal).__name__,
        "message": refusal.message,
        "retry_after": refusal.retry_after,
        "seconds": cooldown.seconds,
    }


def _cooldown(told: dict[str, Any], left: float | None) -> Cooldown:
    refusal = _REFUSALS[told["refusal"]](told["message"], retry_after=told["retry_after"])
    seconds = float(told["seconds"])
    return Cooldown(refusal, seconds, seconds if left is None else left)
