"""The part of the fake site that every call goes through: accounts, tokens, refusals, and answering a question."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from tests.simulators import step_checks as checks
from tests.simulators.answers import Answer, Send, Step, Wait
from tests.simulators.base import Call, RefusedError, Simulator
from tests.simulators.step_scenes import Event, Scene, framed
from tests.simulators.step_state import Account, Chat, File, device_of, new_number

YUEWEN = "yuewen.cn"
STEPFUN = "www.stepfun.com"
NEW = "/chats/new"

MISSING = {"code": "unauthenticated", "message": "token is missing"}
EMBEZZLED = {"code": "unauthenticated", "message": "oasis-token is embezzled"}
ILLEGAL = {"code": "unauthenticated", "message": "oasis-token is illegal"}
INVALID = {"code": "invalid_argument", "message": "bad request"}
NOT_FOUND = {"code": "not_found", "message": "chat session not found"}

_COOKIE = re.compile(r"Oasis-Token=([^;\s]+)(?:; Oasis-Webid=([^;\s]+))?")


class StepCore(Simulator):
    """The site's state and the checks that its endpoints share.

    `retire_old`: once a pair has been exchanged it cannot be exchanged again. `downgrade`: an exchange gives a
    guest's pair. `moves`: an exchange at stepfun.com gives a pair for another device, both in cookies.
    `file_statuses`: what the looks at a file tell, one after the other. `prompt_limit`: letters of a message the site
    takes. `new_chat` makes the names of chats; `session_name` is the field that names one of stepfun.com for its
    deletion. `sizes`: the width and height stepfun.com says a picture has, which is nothing by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.retire_old = False
        self.downgrade = False
        self.moves = False
        self.file_statuses: tuple[tuple[int, bool], ...] = ((1, True), (1, True), (2, False))
        self.prompt_limit = 100_000
        self.sizes: dict[str, int] = {}
        self.session_name = "chatSessionIds"
        self.new_chat: Callable[[], str] = new_number
        self.accounts: dict[str, Account] = {}
        self.chats: dict[str, Chat] = {}
        self.files: dict[str, File] = {}
        self.running = 0
        self._retired: set[str] = set()
        self._spent: set[str] = set()

    def account(self, name: str) -> str:
        """Give the token of an account as its user would copy it, which is opened when it does not exist."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account(name, device_of(name))
            account.token = f"{account.device}@{account.issue()}"
        return account.token

    def expire_access(self, name: str) -> None:
        """Make every pair of an account fit for an exchange only."""
        self._spent.update(self.accounts[name].pairs)

    def expire(self, name: str) -> None:
        """Make every pair of an account invalid."""
        self.accounts[name].expired = True

    def live_conversations(self, name: str | None = None) -> list[Chat]:
        """Give the chats that were not deleted, of all accounts or of one."""
        return [chat for chat in self.chats.values() if not chat.deleted and name in (None, chat.owner.name)]

    def _exchange(self, account: Account, pair: str) -> Mapping[str, Any]:
        """Give the reply of an exchange."""
        if self.retire_old:
            self._retired.add(pair)
        access, _, refresh = account.issue(guest=self.downgrade).partition("...")
        return {
            "accessToken": {"raw": access, "duration": 1800},
            "refreshToken": {"raw": refresh, "duration": 2592000},
            "device": {"deviceID": account.device},
        }

    def _owner(self, call: Call, *, exchanging: bool = False) -> tuple[Account, str]:
        """Give the account of a call and its pair, or refuse as the site does."""
        found = _COOKIE.fullmatch(call.headers.get("Cookie", ""))
        pair = found[1] if found else ""
        account = next((one for one in self.accounts.values() if pair in one.pairs), None)
        spent = self._retired if exchanging else self._spent
        if "..." not in pair:
            raise RefusedError(Answer.json(ILLEGAL, 401), "illegal")
        if account is None or account.expired or pair in spent:
            raise RefusedError(Answer.json(MISSING, 401), "unauthenticated")
        if call.headers.get("Oasis-Webid") != account.device:
            raise RefusedError(Answer.json(EMBEZZLED, 401), "embezzled")
        return account, pair

    def _require(self, call: Call, problems: Iterable[str], answer: Answer | None = None) -> None:
        """Record problems as violations and refuse the call when there are any."""
        found = [f"{call.kind}: {problem}" for problem in problems]
        self.violations.extend(found)
        if found:
            raise RefusedError(answer or Answer.json(INVALID, 400), "violation")

    def _json(self, call: Call, *names: str) -> dict[str, Any]:
        """Give the JSON object of a body, which has exactly these fields."""
        problems = [f"a query: {call.query}"] * bool(call.query)
        try:
            body = orjson.loads(call.body)
            problems += checks.compact_problems(call.body)
        except ValueError:
            body = None
        self._require(call, problems + checks.fields_problems("body", body, names))
        return dict(body)

    def _message(self, call: Call) -> dict[str, Any]:
        """Give the JSON object of the only frame of a body."""
        payload = checks.only_frame(call.body)
        self._require(call, ["the body is not one frame"] * (payload is None))
        body = orjson.loads(payload or b"")
        self._require(call, checks.compact_problems(payload or b""))
        return dict(body)

    def _chat(self, call: Call, account: Account, identity: object) -> Chat:
        """Give a chat of the account that was not deleted."""
        chat = self.chats.get(str(identity))
        if chat is None or chat.deleted:
            raise RefusedError(Answer.json(NOT_FOUND), "chat unknown")
        mixed = f"chat of {chat.owner.name} used by {account.name}"
        self._require(call, [mixed] * (chat.owner is not account), Answer.json(NOT_FOUND))
        return chat

    def _deleted(self, call: Call, account: Account, identities: object) -> Answer:
        """Delete chats, each of which can be deleted once."""
        given = identities if isinstance(identities, list) else []
        self._require(call, ["not one chat is named"] * (len(given) != 1))
        known = self.chats.get(str(given[0]))
        self._require(call, ["deleted for the second time"] * (known is not None and known.deleted))
        chat = self._chat(call, account, given[0])
        self.interrupt(call)
        chat.deleted = True
        return Answer.json({})

    def _answered(self, call: Call, chat: Chat, text: str, frames: Sequence[Event | bytes]) -> Answer:
        """Answer a question with a stream of frames."""
        if len(text) > self.prompt_limit:
            words = f"prompt exceed max len {self.prompt_limit}"
            raise RefusedError(Answer.json({"code": "invalid_argument", "message": words}, 400), "too long")
        self.interrupt(call)
        chat.turns.append(text)
        scene = call.fault.find(Scene) or Scene()
        self.running += 1
        steps: list[Step] = []
        for position, one in enumerate(scene.edit(list(frames))):
            steps += [Wait(self.pace)] * (position > 0 and self.pace > 0)
            steps.append(Send(one if isinstance(one, bytes) else framed(orjson.dumps(one))))
        return Answer(200, checks.CONNECT, steps=tuple(steps), chunked=True, ended=self._ended)

    def _ended(self) -> None:
        self.running -= 1
