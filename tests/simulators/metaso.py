"""A fake metaso.cn: it checks what the site checks, refuses like the site, and keeps what the site keeps."""

import base64
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote_plus

import orjson

from tests.simulators import metaso_checks as checks
from tests.simulators.answers import HTML_TYPE, SSE_TYPE, Answer, Do, Send, Step, Wait
from tests.simulators.base import Call, RefusedError, Route, Simulator
from tests.simulators.faults import Reply
from tests.simulators.metaso_scenes import Asked, Events, Says, limited, play, used_up, written

__all__ = ["Events", "MetasoSite", "Says", "limited", "refused", "used_up"]

SITE = "metaso.cn"
LOG_IN = {"errCode": 401, "errMsg": "请先登录", "data": None}
BAD_REQUEST = {"errCode": 400, "errMsg": "参数错误", "data": None}
ADDRESS_LIMIT = 32 * 1024
"""Bytes of an address above which the web server before the site refuses it."""
FIRST_SESSION = 8_466_827_997_659_213_824


def refused(code: int, message: str, status: int = 200) -> Reply:
    """Give the refusal of a call to the API, as a scripted answer."""
    return Reply({"errCode": code, "errMsg": message, "data": None}, status)


@dataclass(eq=False)
class Account:
    """A login. `tokens` are the meta-tokens of the pages it has opened and that are still good."""

    name: str
    uid: str
    sid: str
    logged_in: bool = True
    tokens: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Session:
    """A session, made for one question; `searches` counts how often it was asked."""

    id: str
    owner: Account
    asked: Asked
    searches: int = 0


class MetasoSite(Simulator):
    """The site: its home page and its API."""

    name = "metaso"
    hosts: ClassVar[set[str]] = {SITE}
    routes = (
        Route("page", "GET", SITE, "/"),
        Route("open", "POST", SITE, "/api/session"),
        Route("chat", "GET", SITE, "/api/searchV2"),
        Route("check", "GET", SITE, "/api/my-info"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, Account] = {}
        self.sessions: dict[str, Session] = {}
        self._pages = itertools.count()

    def demo_tokens(self) -> list[str]:
        """Give the tokens of two accounts."""
        return [self.account("demo-1"), self.account("demo-2")]

    def account(self, name: str) -> str:
        """Give the token of an account, which is opened when it does not exist."""
        digest = hashlib.sha512(name.encode()).hexdigest()
        account = self.accounts.setdefault(digest[:24], Account(name, digest[:24], digest[24:56]))
        return f"{account.uid}-{account.sid}"

    def log_out(self, name: str) -> None:
        """Make the cookies of an account worthless."""
        self._named(name).logged_in = False

    def forget_pages(self, name: str) -> None:
        """Make every meta-token that an account was given worthless."""
        self._named(name).tokens.clear()

    def questions(self) -> list[Asked]:
        """Give what was asked, in order."""
        return [session.asked for session in self.sessions.values()]

    def on_page(self, call: Call) -> Answer:
        """Show the home page; everyone may see it, but only a login's page has a token that is good."""
        account = self._account(call)
        self._require(call, [f"a query: {call.query}"] * bool(call.query))
        self.interrupt(call)
        token = _meta_token(call.headers["Cookie"], next(self._pages))
        account.tokens.add(token)
        head = f'<head><meta id="meta-token" content="{token}"/><title>秘塔AI搜索</title></head>'
        page = f"<!DOCTYPE html><html>{head}<body></body></html>"
        return Answer(200, HTML_TYPE, steps=(Send(page.encode()),))

    def on_open(self, call: Call) -> Answer:
        """Open a session for a question."""
        account = self._account(call)
        try:
            body = orjson.loads(call.body)
        except ValueError:
            body = None
        self._require(call, checks.body_problems(body))
        if not account.logged_in or call.headers["Token"] not in account.tokens:
            raise RefusedError(Answer.json(LOG_IN), "unauthorized")
        self.interrupt(call)
        name = str(FIRST_SESSION + len(self.sessions))
        asked = Asked(body["question"], body["mode"], body["engineType"])
        self.sessions[name] = Session(name, account, asked)
        return Answer.json({"errCode": 0, "errMsg": "success", "data": {"id": name, "question": asked.question}})

    def on_chat(self, call: Call) -> Answer:
        """Answer the question of a session with a stream."""
        if len(call.query) > ADDRESS_LIMIT:
            page = Send(b"<html><head><title>414 Request-URI Too Large</title></head></html>")
            raise RefusedError(Answer(414, HTML_TYPE, steps=(page,)), "too long")
        account = self._account(call)
        self._require(call, checks.query_problems(call.query))
        values = {name: unquote_plus(value) for name, value in checks.fields_of(call.query)}
        session = self.sessions.get(values["sessionId"])
        self._require(call, _session_problems(session, account, values))
        assert session is not None
        if values["token"] not in account.tokens:
            raise RefusedError(Answer.json(LOG_IN), "unauthorized")
        self.interrupt(call)
        says, events = call.fault.find(Says), call.fault.find(Events)
        own = play(session.asked, says.pieces if says else None)
        steps = self._steps(written(events.events if events else own))
        return Answer(200, SSE_TYPE, steps=(Do(lambda: _search(session)), *steps), chunked=True)

    def on_check(self, call: Call) -> Answer:
        """Say who the account is."""
        account = self._account(call)
        self.interrupt(call)
        user = {"id": account.uid, "nickName": account.name} if account.logged_in else None
        return Answer.json({"errCode": 0, "errMsg": "success", "data": {"user": user}})

    def _account(self, call: Call) -> Account:
        """Check what every call has, and give whose it is; strangers are treated as logged out."""
        self._require(call, checks.header_problems(call.kind, call.headers))
        self._require(call, [f"a body: {call.body!r}"] * bool(call.body and call.kind != "open"))
        uid, sid = checks.cookie_of(call.headers) or ("", "")
        stranger = Account("", uid, sid, logged_in=False)
        found = self.accounts.get(uid, stranger)
        return found if found.sid == sid else stranger

    def _named(self, name: str) -> Account:
        return self.accounts[self.account(name).partition("-")[0]]

    def _steps(self, events: Sequence[bytes]) -> list[Step]:
        pause = [Wait(self.pace)] * (self.pace > 0)
        return [step for event in events for step in (Send(event), *pause)]

    def _require(self, call: Call, problems: Sequence[str]) -> None:
        """Record problems as violations and refuse the call when there are any."""
        self.violations += [f"{call.kind}: {one}" for one in problems]
        if problems:
            raise RefusedError(Answer.json(BAD_REQUEST), "violation")


def _search(session: Session) -> None:
    session.searches += 1


def _session_problems(session: Session | None, account: Account, values: dict[str, Any]) -> list[str]:
    """Compare a search with the session it is for."""
    if session is None:
        return ["unknown session"]
    return [
        *([f"the session of {session.owner.name} used by {account.name}"] * (session.owner is not account)),
        *(["searched for the second time"] * (session.searches > 0)),
        *(["another question"] * (values["question"] != session.asked.question)),
        *(["another mode"] * (values["mode"] != session.asked.mode)),
    ]


def _meta_token(cookie: str, page: int) -> str:
    """Give the token of a page; it has every character that a careless caller might not escape."""
    seed = hashlib.sha512(f"{cookie}{page}".encode()).digest()
    return f"Zk3+/{base64.b64encode(seed + seed[:40]).decode().rstrip('=')}=="
