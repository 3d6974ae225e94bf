"""A fake hailuoai.com with its stores: it checks what the site checks, refuses like it, and keeps what it keeps."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar

import orjson

from tests.simulators import hailuo_checks as checks
from tests.simulators import hailuo_sounds as sounds
from tests.simulators.answers import SSE_TYPE, Answer, Do, Send, Step, Wait
from tests.simulators.base import Call, RefusedError, Route, Simulator
from tests.simulators.faults import Reply
from tests.simulators.hailuo_scenes import DEFAULT_HEARD, OK, Event, Events, Says, Turn, answer, hearing, play, written
from tests.simulators.hailuo_state import Account, Chat, Speech, token

SITE = checks.SITE
STORE = "demo-bucket.oss-cn-wulanchabu.aliyuncs.com"
SOUNDS = "cdn.hailuoai.com"

EXPIRED = {"statusInfo": {"code": 1200001, "message": "登录已过期，请重新登录"}, "data": None}
BUSY = {"statusInfo": {"code": 1200012, "message": "正在生成回复，请稍候"}, "data": None}
CHAT_UNKNOWN = {"statusInfo": {"code": 1200020, "message": "会话不存在"}, "data": None}
BAD_REQUEST = {"statusInfo": {"code": 1000001, "message": "参数错误"}, "data": None}
VOICE_UNKNOWN = {"statusInfo": {"code": 1200030, "message": "音色不存在"}, "data": None}

POLICY = {
    "accessKeyId": "STS.DemoKey",
    "accessKeySecret": "DemoSecret",
    "bucketName": "demo-bucket",
    "dir": "prod/2025-01-25-11/user/multi_chat_file",
    "endpoint": "oss-cn-wulanchabu.aliyuncs.com",
    "securityToken": "CAISdemo+/=",
}
CALLBACK_FIELDS = ["fileName", "originFileName", "dir", "endpoint", "bucketName", "size", "mimeType"]
STREAMS = ("chat", "hear")


class HailuoSite(Simulator):
    """hailuoai.com, the store its files go to, and the one its sounds come from.

    `voices` are those it takes beside clones; `slow` is how many looks at a speech show nothing yet.
    """

    name = "hailuo"
    hosts: ClassVar[set[str]] = {SITE, STORE, SOUNDS}
    routes = (
        Route("register", "POST", SITE, r"/v1/api/user/device/register"),
        Route("user", "GET", SITE, r"/v1/api/user/info"),
        Route("chat", "POST", SITE, r"/v4/api/chat/msg"),
        Route("delete", "DELETE", SITE, r"/v1/api/chat/history/(?P<id>[^/]+)"),
        Route("policy", "GET", SITE, r"/v1/api/files/request_policy"),
        Route("callback", "POST", SITE, r"/v1/api/files/policy_callback"),
        Route("voice", "POST", SITE, r"/v1/api/chat/update_robot_custom_config"),
        Route("tts", "GET", SITE, r"/v1/api/chat/msg_tts"),
        Route("hear", "POST", SITE, r"/v1/api/chat/phone_msg"),
        Route("store", "PUT", STORE, r"/.+"),
        Route("part", "GET", SOUNDS, r"/prod/tts/(?P<id>\d+)-(?P<number>\d+)\.mp3"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.voices = checks.VOICES
        self.slow = 1
        self.accounts: dict[str, Account] = {}
        self.chats: dict[str, Chat] = {}
        self.speeches: dict[str, Speech] = {}
        self.stored: dict[str, bytes] = {}
        self.files: dict[str, tuple[Account, str, str | None]] = {}
        self.running: dict[Account, Call] = {}
        self._ids = count(290011223344556677, 11)

    def demo_tokens(self) -> list[str]:
        """Give the tokens of two accounts."""
        return [self.account("demo-1"), self.account("demo-2")]

    def account(self, name: str) -> str:
        """Give the token of an account, which is opened when it does not exist."""
        return self.accounts.setdefault(name, Account(name, token(name))).token

    def expire(self, name: str) -> None:
        """Make an account's token expired."""
        self.accounts[name].expired = True

    def live_conversations(self) -> list[Chat]:
        """Give the conversations that were not deleted."""
        return [chat for chat in self.chats.values() if not chat.deleted]

    # --- accounts --------------------------------------------------------------------------------------------

    def on_register(self, call: Call) -> Answer:
        """Register a device."""
        account = self._owner(call)
        found = re.search(r"uuid=([^&]*)", call.query)
        uuid = found[1] if found else ""
        self._require(call, checks.query_problems(call.query, None, time.time()))
        self._require(call, ["the body names another uuid"] * (call.body != orjson.dumps({"uuid": uuid})))
        self._check(call, account, call.body.decode())
        self.interrupt(call)
        account.device = (uuid, str(next(self._ids)))
        # As a number, an id of this size has lost its last digits by the time JavaScript has read it.
        return ok({"deviceIDStr": account.device[1], "deviceID": int(account.device[1]) // 100 * 100})

    def on_user(self, call: Call) -> Answer:
        """Tell whose account this is."""
        account = self._entitled(call)
        self.interrupt(call)
        return ok({"userInfo": {"id": "242935160332279815", "name": account.name}})

    # --- chat ------------------------------------------------------------------------------------------------

    def on_chat(self, call: Call) -> Answer:
        """Answer a question with a stream of events, one at a time for an account."""
        parts = self._form(call)
        fields = {part.name: part.data.decode() for part in parts}
        account = self._streaming(call, checks.chat_content(fields), fields.get("chatID", "0"))
        self._require(call, self._chat_problems(parts, fields))
        chat = self._chat(call, account, fields["chatID"])
        files = self._attached(call, account, fields)
        if account in self.running:
            raise RefusedError(Answer.json(BUSY), "busy")
        self.interrupt(call)
        self.running[account] = call
        turn = Turn(fields.get("msgContent", ""), chat.id, self._new_id(), files, fields["searchMode"] == "0")
        begin = Do(partial(self._begin, chat, turn, account, call))
        free = partial(self._free, account, call)
        steps = self._steps(self._events(call, turn), turn, begin, Do(free))
        return Answer(200, SSE_TYPE, steps=tuple(steps), chunked=True, ended=free)

    def on_delete(self, call: Call) -> Answer:
        """Delete a conversation, which can be done once."""
        account = self._entitled(call)
        self.interrupt(call)
        chat = self.chats.get(call.params["id"])
        if chat is None:
            raise RefusedError(Answer.json(CHAT_UNKNOWN), "conversation unknown")
        self._require(call, ["of another account"] * (chat.owner is not account) + ["deleted twice"] * chat.deleted)
        chat.deleted = True
        if account.speaking is not None and self.speeches[account.speaking].chat is chat:
            account.speaking = None
        return ok(None)

    # --- files -----------------------------------------------------------------------------------------------

    def on_policy(self, call: Call) -> Answer:
        """Say where a file may be put."""
        self._entitled(call)
        self.interrupt(call)
        return ok(POLICY)

    def on_store(self, call: Call) -> Answer:
        """Take a file."""
        problems = checks.store_problems(call.path, call.headers, call.body, POLICY, time.time())
        problems += ["not in the directory"] * (not call.path.startswith(f"/{POLICY['dir']}/"))
        self._require(call, problems, Answer(403, "application/xml", steps=(Send(b"<Error/>"),)))
        self.interrupt(call)
        self.stored[call.path] = call.body
        return Answer(200, "application/octet-stream")

    def on_callback(self, call: Call) -> Answer:
        """Learn of a file that was put into the store."""
        account = self._entitled(call)
        body = self._json(call)
        name = str(body.get("fileName"))
        data = self.stored.get(f"/{POLICY['dir']}/{name}", b"")
        places = {key: POLICY[key] for key in ("dir", "endpoint", "bucketName")}
        wanted = {"fileName": name, "originFileName": name, **places, "size": str(len(data))}
        told = {key: value for key, value in body.items() if key != "mimeType"}
        self._require(call, ["the fields are others"] * (list(body) != CALLBACK_FIELDS or told != wanted))
        self.interrupt(call)
        file = self._new_id()
        self.files[file] = (account, name, body["mimeType"])
        return ok({"fileID": file})

    # --- sounds ----------------------------------------------------------------------------------------------

    def on_voice(self, call: Call) -> Answer:
        """Set the account's voice, which no speech may still need."""
        account = self._entitled(call)
        body = self._json(call)
        voice = str(body.get("config", {}).get("robotVoiceID"))
        self._require(call, ["another body"] * (body != {"robotID": "1", "config": {"robotVoiceID": voice}}))
        self._require(call, ["the voice of a running speech was changed"] * (account.speaking is not None))
        self.interrupt(call)
        if voice not in self.voices and not voice.startswith("puv_"):
            raise RefusedError(Answer.json(VOICE_UNKNOWN), "voice unknown")
        account.voice = voice
        return ok({})

    def on_tts(self, call: Call) -> Answer:
        """Read a message out: more of its parts with each look."""
        found = re.match(r"msgID=([^&]*)&timbre=([^&]*)&", call.query)
        message, voice = found.groups() if found else ("", "")
        account = self._entitled(call, before=f"msgID={re.escape(message)}&timbre={re.escape(voice)}&")
        speech = self.speeches.get(message)
        self._require(call, ["no such message"] * (speech is None or speech.owner is not account))
        self._require(call, ["another voice is set"] * (voice != account.voice))
        self.interrupt(call)
        assert speech is not None
        total = len(sounds.parts(speech.text))
        shown = min(max(0, speech.looks - self.slow + 1), total)
        speech.looks += 1
        urls = [f"https://{SOUNDS}/prod/tts/{message}-{number}.mp3" for number in range(shown)]
        account.speaking = message if shown < total else None
        return ok({"requestStatus": 2 if shown == total else 1, "result": urls})

    def on_part(self, call: Call) -> Answer:
        """Serve a part of a speech."""
        self._require(call, checks.foreign_headers(call.headers))
        self.interrupt(call)
        part = sounds.parts(self.speeches[call.params["id"]].text)[int(call.params["number"])]
        return Answer(200, "audio/mpeg", steps=(Send(sounds.sound(part)),))

    def on_hear(self, call: Call) -> Answer:
        """Listen, and tell what was heard."""
        parts = self._form(call)
        sound = next((part.data for part in parts if part.name == "voiceBytes"), b"")
        content = checks.md5("1") + checks.md5("0") + checks.md5(sound[:1024])
        self._streaming(call, content, "0")
        shapes = [(part.name, part.filename, part.content_type) for part in parts]
        values = [part.data for part in parts if part.name != "voiceBytes"]
        wanted = [
            ("chatID", None, None),
            ("voiceBytes", "audio.mp3", "audio/mp3"),
            ("characterID", None, None),
            ("playSpeedLevel", None, None),
        ]
        self._require(call, ["another form"] * (shapes != wanted or values != [b"0", b"1", b"1"] or not sound))
        self.interrupt(call)
        said = call.fault.find(Says)
        text = said.text if said else sounds.heard(sound) or DEFAULT_HEARD
        scripted = call.fault.find(Events)
        events = scripted.events if scripted else hearing(text)
        return Answer(200, SSE_TYPE, steps=tuple(Send(written(event)) for event in events), chunked=True)

    # --- what they share -------------------------------------------------------------------------------------

    def _owner(self, call: Call) -> Account:
        """Give the account of a call's token, or refuse as the site does."""
        sent = call.headers.get("Token", "")
        account = next((one for one in self.accounts.values() if one.token == sent), None)
        if account is None or account.expired:
            raise RefusedError(Answer.json(EXPIRED), "expired")
        return account

    def _entitled(self, call: Call, *, before: str = "") -> Account:
        """Check a JSON call of a registered device, and give its account."""
        account = self._owner(call)
        self._require(call, ["no device is registered"] * (account.device is None))
        self._require(call, checks.query_problems(call.query, account.device, time.time(), before=before))
        self._require(call, ["a body"] * (call.method != "POST" and call.body != b"{}"))
        self._check(call, account, call.body.decode())
        return account

    def _streaming(self, call: Call, content: str, chat: str) -> Account:
        account = self._owner(call)
        self._require(call, ["no device is registered"] * (account.device is None))
        self._require(call, checks.query_problems(call.query, account.device, time.time()))
        self._check(call, account, content, f"?chat={chat}" if chat != "0" else "")
        return account

    def _check(self, call: Call, account: Account, content: str, page: str = "") -> None:
        """Check headers and signature."""
        stream = call.kind in STREAMS
        accept = "text/event-stream" if stream else "*/*"
        referer = f"https://{SITE}/{page}"
        problems = checks.header_problems(call.headers, accept=accept, referer=referer, multipart=stream)
        wanted = checks.signature(*_signed(call, content))
        problems += ["Yy is wrong"] * (call.headers.get("Yy") != wanted)
        self._require(call, problems)

    def _require(self, call: Call, problems: Iterable[str], refusal: Answer | None = None) -> None:
        """Record problems as violations and refuse the call when there are any."""
        found = [f"{call.kind}: {problem}" for problem in problems]
        self.violations.extend(found)
        if found:
            raise RefusedError(refusal or Answer.json(BAD_REQUEST), "violation")

    def _json(self, call: Call) -> dict[str, Any]:
        body: dict[str, Any] = orjson.loads(call.body)
        compact = orjson.dumps(body) == call.body
        self._require(call, ["the body is not compact"] * (not compact))
        return body

    def _form(self, call: Call) -> list[checks.Part]:
        try:
            return checks.form_of(call.headers.get("Content-Type", ""), call.body)
        except ValueError as error:
            self._require(call, [str(error)])
            raise

    def _chat_problems(self, parts: Sequence[checks.Part], fields: Mapping[str, str]) -> list[str]:
        names = [name for name in ("characterID", "msgContent", "chatID", "searchMode", "form") if fields.get(name)]
        return [
            *(["the fields are others"] * ([part.name for part in parts] != names)),
            *(["a field is a file"] * any(part.filename for part in parts)),
            *(["another character"] * (fields.get("characterID") != "1")),
            *(["another searchMode"] * (fields.get("searchMode") not in ("0", "1"))),
        ]

    def _chat(self, call: Call, account: Account, number: str) -> Chat:
        """Give the conversation that is continued, or a new one."""
        if number == "0":
            return Chat(self._new_id(), account)
        chat = self.chats.get(number)
        if chat is None or chat.deleted:
            raise RefusedError(Answer.json(CHAT_UNKNOWN), "conversation unknown")
        self._require(call, ["a conversation of another account"] * (chat.owner is not account))
        return chat

    def _attached(self, call: Call, account: Account, fields: Mapping[str, str]) -> list[str]:
        """Check the field that names files; give their names."""
        if "form" not in fields:
            return []
        *named, text = orjson.loads(fields["form"])
        wanted = [{"name": "", "formType": 1, "content": fields.get("msgContent", "")}]
        for one in named:
            owner, name, type_ = self.files.get(one["fileID"], (None, "", None))
            self._require(call, ["a file of another account"] * (owner is not account))
            form = 2 if type_ in checks.IMAGES else 6
            wanted.insert(-1, {"name": "", "formType": form, "content": name, "fileID": one["fileID"]})
        exact = orjson.dumps(wanted).decode() == fields["form"]
        self._require(call, ["the form is another"] * (not exact or not named or text != wanted[-1]))
        return [one["content"] for one in named]

    def _events(self, call: Call, turn: Turn) -> Sequence[Event]:
        scripted, said = call.fault.find(Events), call.fault.find(Says)
        return scripted.events if scripted else play(turn, said.text if said else answer(turn))

    def _steps(self, events: Sequence[Event], turn: Turn, begin: Do, free: Do) -> list[Step]:
        """Give the steps that send the events; the account is free just before the end sign.

        A conversation that no event has named is none that could be deleted.
        """
        named = False
        ends = [_is_end(event) for event in events]
        last = ends.index(True) if True in ends else len(events) - 1
        steps: list[Step] = []
        for position, event in enumerate(events):
            steps += [Wait(self.pace)] * (position > 0 and self.pace > 0)
            # A caller that has read the end sign may ask again at once.
            steps += [free] * (position == last)
            data = written(event, turn)
            steps.append(Send(data))
            steps += [begin] * (not named and turn.chat.encode() in data)
            named = named or turn.chat.encode() in data
        return steps

    def _begin(self, chat: Chat, turn: Turn, account: Account, call: Call) -> None:
        self.chats[chat.id] = chat
        chat.turns.append(turn.prompt)
        said = call.fault.find(Says)
        self.speeches[turn.message] = Speech(account, chat, said.text if said else answer(turn))

    def _free(self, account: Account, call: Call) -> None:
        if self.running.get(account) is call:
            del self.running[account]

    def _new_id(self) -> str:
        return str(next(self._ids))


def ok(data: object) -> Answer:
    """Give the answer of a call that went well."""
    return Answer.json({"statusInfo": OK, "data": data})


def refused(code: int, message: str) -> Reply:
    """Give a refusal, as a scripted answer."""
    return Reply({"statusInfo": {"code": code, "message": message}, "data": None})


def _signed(call: Call, content: str) -> tuple[str, str, str]:
    target, unix = checks.signed_target(call.path, call.query)
    return target, content, unix


def _is_end(event: Event) -> bool:
    name, value = event
    if not isinstance(value, dict):
        return False
    return name == "close_chunk" or value.get("data", {}).get("messageResult", {}).get("isEnd") == 0
