"""The part of the fake chatglm.cn that every call goes through: accounts, tokens, headers, refusals."""

import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any

import orjson

from tests.simulators import chatglm_checks as checks
from tests.simulators.answers import Answer
from tests.simulators.base import Call, RefusedError, Simulator
from tests.simulators.chatglm_state import (
    AccessToken,
    Account,
    Conversation,
    Upload,
    VideoJob,
    object_id,
    token,
)
from tests.simulators.forms import FormError, FormFile, only_file

SITE = "chatglm.cn"
FILES = "sfile.chatglm.cn"
ACCESS_LIFETIME = 3600.0
VIDEO_STATUSES = ("init", "processing", "finished")

BAD_REQUEST = {"message": "bad request", "result": None, "status": 400}
ACCESS_REFUSED = {"message": "请登录后继续使用", "result": None, "status": 401}
REFRESH_EXPIRED = {"message": "请求失败, code: 40102, refresh token expired", "result": None, "status": 401}


class GlmCore(Simulator):
    """The site's state and the checks that its endpoints share.

    `rotate`: a refresh issues a new refresh token; with `retire_old` the older ones are refused from then on.
    `access_lifetime`: seconds an access token lasts. `video_statuses`, `video_failure`: what polls of the jobs
    ordered from now on tell. `running`: the stream each account has open.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rotate = False
        self.retire_old = False
        self.access_lifetime = ACCESS_LIFETIME
        self.video_statuses: tuple[str, ...] = VIDEO_STATUSES
        self.video_failure: str | None = None
        self.accounts: dict[str, Account] = {}
        self.access_tokens: dict[str, AccessToken] = {}
        self.conversations: dict[str, Conversation] = {}
        self.uploads: dict[str, Upload] = {}
        self.video_jobs: dict[str, VideoJob] = {}
        self.running: dict[Account, Call] = {}
        self._nonces: set[str] = set()
        self._serials = count(1)

    def account(self, name: str) -> str:
        """Give the newest refresh token of an account, which is opened when it does not exist."""
        opened = Account(name, [token("refresh", name, 0)])
        return self.accounts.setdefault(name, opened).newest

    def expire_access(self, name: str) -> None:
        """Make every access token of an account invalid from now on."""
        for access in self.access_tokens.values():
            if access.account.name == name:
                access.expires_at = 0.0

    def expire_refresh(self, name: str) -> None:
        """Make every refresh token of an account expired (40102)."""
        self.accounts[name].expired = True

    def respond(self, call: Call) -> Answer:
        """Answer a call; the site sets a cookie on every answer, which must never come back."""
        cookie = ("Set-Cookie", f"acw_tc={object_id()}; path=/; HttpOnly")
        answer = super().respond(call)
        return replace(answer, headers=(*answer.headers, cookie))

    def on_refresh(self, call: Call) -> Answer:
        """Exchange a refresh token for an access token."""
        # The liveness check of a token sends the same call without a body.
        rule = "refresh" if call.body else "refresh check"
        self._check_headers(call, checks.HEADER_RULES[rule], checks.HEADER_RULES[rule].referer or "")
        self._require(call, ["body is not {}"] if call.body not in (b"", b"{}") else [])
        account = self._refreshing(call)
        self.interrupt(call)
        access = token("access", account.name, next(self._serials))
        self.access_tokens[access] = AccessToken(account, time.time() + self.access_lifetime)
        if self.rotate:
            kept = [] if self.retire_old else account.refresh_tokens
            account.refresh_tokens = [*kept, token("refresh", account.name, next(self._serials))]
        return ok({"access_token": access, "refresh_token": account.newest})

    def _refreshing(self, call: Call) -> Account:
        """Give the account of a refresh token, or refuse as the site does."""
        bearer = _bearer(call)
        for account in self.accounts.values():
            if bearer in account.refresh_tokens and not account.expired:
                return account
            if bearer in account.refresh_tokens:
                raise RefusedError(Answer.json(REFRESH_EXPIRED, 401), "expired")
        raise RefusedError(Answer.json(BAD_REQUEST, 400), "malformed")

    def _authorized(self, call: Call) -> Account:
        """Give the account of an access token, or refuse as the site does."""
        access = self.access_tokens.get(_bearer(call))
        if access is None or access.expires_at <= time.time():
            raise RefusedError(Answer.json(ACCESS_REFUSED, 401), "unauthorized")
        return access.account

    def _entitled(self, call: Call) -> Account:
        """Check the headers of a call whose Referer is fixed, and give its account."""
        rule = checks.HEADER_RULES[call.kind]
        self._check_headers(call, rule, rule.referer or "")
        return self._authorized(call)

    def _check_headers(self, call: Call, rule: checks.HeaderRule, referer: str) -> None:
        problems = checks.header_problems(call.headers, rule, referer)
        problems += [f"a query: {call.query}"] * bool(call.query)
        problems += ["a body"] * (rule.content_type is None and call.body != b"")
        if rule.signed:
            nonce = call.headers.get("X-Nonce", "")
            problems += checks.sign_problems(call.headers, time.time())
            problems += [f"nonce {nonce} was used before"] * (nonce in self._nonces)
            self._nonces.add(nonce)
        self._require(call, problems)

    def _require(self, call: Call, problems: Iterable[str], answer: Answer | None = None) -> None:
        """Record problems as violations and refuse the call when there are any."""
        found = [f"{call.kind}: {problem}" for problem in problems]
        self.violations.extend(found)
        if found:
            raise RefusedError(answer or Answer.json(BAD_REQUEST, 400), "violation")

    def _json(self, call: Call) -> dict[str, Any]:
        """Give the JSON object of a body."""
        try:
            body = orjson.loads(call.body)
        except ValueError:
            body = None
        self._require(call, ["the body is no JSON object"] * (not isinstance(body, dict)))
        return dict(body)

    def _uploaded(self, call: Call) -> tuple[Account, FormFile]:
        """Check an upload and give whose it is, and the file."""
        account = self._entitled(call)
        try:
            return account, only_file(call.headers["Content-Type"], call.body)
        except FormError as error:
            self._require(call, [str(error)])
            raise


def ok(result: object) -> Answer:
    """Give the answer of a call that went well."""
    return Answer.json({"message": "success", "result": result, "status": 0})


def ownership_problems(found: Conversation | Upload | VideoJob | None, account: Account, what: str) -> list[str]:
    """Tell when a thing does not exist or belongs to another account."""
    if found is None:
        return [f"unknown {what}"]
    mixed = f"{what} of {found.owner.name} used by {account.name}"
    return [mixed] * (found.owner is not account)


def _bearer(call: Call) -> str:
    return call.headers.get("Authorization", "").removeprefix("Bearer ")
