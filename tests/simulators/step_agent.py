"""The part of the fake site that is stepfun.com, the newer of its two protocols."""

from dataclasses import replace
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from tests.simulators import step_checks as checks
from tests.simulators.answers import Answer
from tests.simulators.base import Call, RefusedError
from tests.simulators.forms import FormError, fields_of
from tests.simulators.step_core import INVALID, NEW, STEPFUN, StepCore
from tests.simulators.step_scenes import Question, newer, play
from tests.simulators.step_state import Account, Chat, File, device_of, new_number

BASE = f"https://{STEPFUN}"
SCENES = {"image": "image", "document": "file"}


class StepAgent(StepCore):
    """The agent's sessions, and its resources."""

    def on_refresh(self, call: Call) -> Answer:
        """Exchange a pair of tokens."""
        self._json(call)
        account, pair = self._owner(call, exchanging=True)
        self._check_agent_headers(call, NEW)
        self.interrupt(call)
        if self.moves:
            account.device = device_of(account.device)
        told = self._exchange(account, pair)
        cookies = {"Oasis-Token": account.pairs[-1], "Oasis-Webid": account.device}
        headers = [("Set-Cookie", f"{name}={value}; Path=/; HttpOnly") for name, value in cookies.items()]
        return replace(Answer.json({}), headers=tuple(headers)) if self.moves else Answer.json(told)

    def on_create_session(self, call: Call) -> Answer:
        """Create a session."""
        self._json(call)
        account, _ = self._owner(call)
        self._check_agent_headers(call, NEW)
        self.interrupt(call)
        chat = Chat(f"s{self.new_chat()}", account)
        self.chats[chat.id] = chat
        return Answer.json({"chatSession": {"chatSessionId": chat.id, "chatId": new_number()}})

    def on_chat_stream(self, call: Call) -> Answer:
        """Answer a question with a stream."""
        body = self._message(call)
        account, _ = self._owner(call)
        self._require(call, checks.stream_problems(body))
        chat = self._chat(call, account, body["message"]["chatSessionId"])
        self._check_agent_headers(call, f"/chats/{chat.id}", checks.CONNECT)
        question = body["message"]["content"]["userMessage"]["qa"]
        names = [self._resource_name(call, account, one["resource"]) for one in question.get("attachments", ())]
        config = body["config"]
        asked = Question(
            checks.question_of(question["content"]),
            tuple(names),
            thinks="r1" in config["model"],
            searches=config.get("enableSearch", True),
        )
        return self._answered(call, chat, question["content"], [newer(one) for one in play(asked)])

    def on_delete_session(self, call: Call) -> Answer:
        """Delete a session; its name in the form of another version is refused."""
        body = self._json(call, "chatSessionIds" if b"chatSessionIds" in call.body else "chatSessionId")
        ((form, named),) = body.items()
        names = named if isinstance(named, list) else [named]
        account, _ = self._owner(call)
        self._check_agent_headers(call, f"/chats/{names[0]}")
        if form != self.session_name:
            raise RefusedError(Answer.json(INVALID), "another form")
        return self._deleted(call, account, names)

    def on_resource(self, call: Call) -> Answer:
        """Keep a file."""
        account, _ = self._owner(call)
        content_type = call.headers.get("Content-Type", "")
        self._check_agent_headers(call, NEW, content_type)
        try:
            form = fields_of(content_type, call.body)
        except FormError as error:
            raise RefusedError(Answer.json({"code": "invalid_argument", "message": str(error)}, 400), "form") from None
        self._require(call, checks.fields_problems("form", form, ("file", "scene_id", "mime_type")))
        kind, file = call.params["kind"], form["file"]
        wanted = (SCENES[kind].encode(), file.content_type.encode())
        self._require(call, ["scene or type"] * ((form["scene_id"].data, form["mime_type"].data) != wanted))
        self._require(call, ["of another kind"] * ((kind == "image") != file.content_type.startswith("image/")))
        self.interrupt(call)
        kept = File(new_number(), account, file.name, file.content_type, file.data)
        self.files[kept.id] = kept
        return Answer.json({"rid": kept.id, "url": f"{BASE}/resource/{kept.id}", **self.sizes})

    def _resource_name(self, call: Call, account: Account, resource: dict[str, object]) -> str:
        """Check what a message says of a file; give the file's name."""
        file = self.files.get(str(resource.get("rid")))
        if file is None or file.owner is not account:
            self._require(call, ["a file of nobody, or of another account"])
            return ""
        picture = file.type.startswith("image/")
        named = {
            "rid": file.id,
            "meta": {"filename": file.name, "mimeType": file.type},
            "url": f"{BASE}/resource/{file.id}",
            **(self.sizes or _size(file.data) if picture else {}),
        }
        wanted = {"image" if picture else "doc": named, "rid": file.id}
        self._require(call, [f"resource {resource}"] * (resource != wanted))
        return file.name

    def _check_agent_headers(self, call: Call, page: str, content_type: str = checks.JSON) -> None:
        own = {
            "Content-Type": content_type,
            "Cookie": call.headers.get("Cookie", ""),
            "Oasis-Webid": call.headers.get("Oasis-Webid", ""),
            "Referer": f"{BASE}{page}",
            "Oasis-Language": "zh",
            "Canary": "false",
        }
        self._require(call, checks.header_problems(call.headers, BASE, own))


def _size(data: bytes) -> dict[str, int]:
    """Give the width and height of a picture; nothing for what is none."""
    try:
        with Image.open(BytesIO(data)) as picture:
            return dict(zip(("width", "height"), picture.size, strict=True))
    except UnidentifiedImageError:
        return {}
