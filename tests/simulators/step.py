"""A fake yuewen.cn and stepfun.com: it checks what the site checks, refuses like it, and keeps what it keeps."""

from typing import Any, ClassVar
from urllib.parse import quote, unquote

from tests.simulators import step_checks as checks
from tests.simulators.answers import Answer
from tests.simulators.base import Call, RefusedError, Route
from tests.simulators.step_agent import StepAgent
from tests.simulators.step_core import NEW, NOT_FOUND, STEPFUN, YUEWEN
from tests.simulators.step_scenes import Compressed, Frames, Question, end, failure, play
from tests.simulators.step_state import Account, Chat, File, new_number

__all__ = ["Compressed", "Frames", "StepSite", "end", "failure"]

BASE = f"https://{YUEWEN}"
AGENT = r"/api/agent/capy\.agent\.v1\.AgentService"
THINKERS = (4, 6)
"""The numbers of the models that think."""


class StepSite(StepAgent):
    """The site, in both its protocols."""

    name = "step"
    hosts: ClassVar[set[str]] = {YUEWEN, STEPFUN, "chat.stepfun.com"}
    routes = (
        Route("register", "POST", YUEWEN, r"/passport/proto\.api\.passport\.v1\.PassportService/RegisterDevice"),
        Route("create", "POST", YUEWEN, r"/api/proto\.chat\.v1\.ChatService/CreateChat"),
        Route("send", "POST", YUEWEN, r"/api/proto\.chat\.v1\.ChatMessageService/SendMessageStream"),
        Route("delete", "POST", YUEWEN, r"/api/proto\.chat\.v1\.ChatService/DelChat"),
        Route("storage", "PUT", YUEWEN, r"/api/storage"),
        Route("file_status", "POST", YUEWEN, r"/api/proto\.file\.v1\.FileService/GetFileStatus"),
        Route("switch", "POST", YUEWEN, r"/api/proto\.user\.v1\.UserService/(?P<way>Enable|Disable)Search"),
        Route("refresh", "POST", STEPFUN, r"/passport/proto\.api\.passport\.v1\.PassportService/RefreshToken"),
        Route("create_session", "POST", STEPFUN, rf"{AGENT}/CreateChatSession"),
        Route("chat_stream", "POST", STEPFUN, rf"{AGENT}/ChatStream"),
        Route("delete_session", "POST", STEPFUN, rf"{AGENT}/DeleteChatSession"),
        Route("resource", "POST", STEPFUN, r"/api/resource/(?P<kind>image|document)"),
    )

    def demo_tokens(self) -> list[str]:
        """Give the tokens of two accounts."""
        return [self.account("demo-1"), self.account("demo-2")]

    def on_register(self, call: Call) -> Answer:
        """Register a device anew."""
        self._json(call)
        account, pair = self._owner(call, exchanging=True)
        own = {
            "Content-Type": checks.JSON,
            "Cookie": f"Oasis-Token={pair}",
            "Referer": f"{BASE}{NEW}",
        }
        self._require(call, checks.header_problems(call.headers, BASE, own, {"Oasis-Webid": account.device}))
        self.interrupt(call)
        return Answer.json(self._exchange(account, pair))

    def on_create(self, call: Call) -> Answer:
        """Create a chat."""
        body = self._json(call, "chatName")
        account = self._entitled(call, NEW)
        self._require(call, ["another name"] * (body["chatName"] != "新会话"))
        self.interrupt(call)
        chat = Chat(self.new_chat(), account)
        self.chats[chat.id] = chat
        return Answer.json({"chatId": chat.id})

    def on_send(self, call: Call) -> Answer:
        """Answer a question with a stream."""
        body = self._message(call)
        self._require(call, checks.message_problems(body))
        account = self._entitled(call, f"/chats/{body['chatId']}", checks.CONNECT)
        chat = self._chat(call, account, body["chatId"])
        info = body["messageInfo"]
        names = tuple(self._attached(call, account, one) for one in info.get("attachments", ()))
        question = Question(
            checks.question_of(info["text"]),
            names,
            thinks=body.get("modelId") in THINKERS,
            searches=account.search,
        )
        return self._answered(call, chat, info["text"], play(question))

    def on_delete(self, call: Call) -> Answer:
        """Delete a chat."""
        body = self._json(call, "chatIds")
        account = self._entitled(call, f"/chats/{body['chatIds'][0]}")
        return self._deleted(call, account, body["chatIds"])

    def on_storage(self, call: Call) -> Answer:
        """Keep a file."""
        field, _, name = call.query.partition("=")
        self._require(call, [f"the query {call.query}"] * (field != "file_name" or quote(unquote(name), "") != name))
        sizes = {"Width": checks.SIZE, "Height": checks.SIZE, "Size": str(len(call.body))}
        more = {f"Stepchat-Meta-{part}": value for part, value in sizes.items()}
        account = self._entitled(call, NEW, call.headers.get("Content-Type", ""), more)
        self.interrupt(call)
        file = File(new_number(), account, unquote(name), call.headers["Content-Type"], call.body)
        self.files[file.id] = file
        return Answer.json({"id": file.id})

    def on_file_status(self, call: Call) -> Answer:
        """Tell whether a file was read."""
        body = self._json(call, "id")
        account = self._entitled(call, NEW)
        file = self.files.get(str(body["id"]))
        if file is None or file.owner is not account:
            raise RefusedError(Answer.json(NOT_FOUND, 404), "file unknown")
        self.interrupt(call)
        status, again = self.file_statuses[min(file.polls, len(self.file_statuses) - 1)]
        file.polls += 1
        file.read = not again
        return Answer.json({"fileStatus": status, "needFurtherCall": again})

    def on_switch(self, call: Call) -> Answer:
        """Switch the account's web search; the answer to one of the two switches is empty."""
        self._json(call)
        account = self._entitled(call, NEW)
        self.interrupt(call)
        account.search = call.params["way"] == "Enable"
        return Answer.json({"result": "RESULT_CODE_SUCCESS"}) if account.search else Answer()

    def _attached(self, call: Call, account: Account, named: dict[str, Any]) -> str:
        """Check what a message says of a file that was read; give the file's name."""
        file = self.files.get(str(named.get("attachmentId")))
        if file is None or file.owner is not account or not file.read:
            self._require(call, ["a file of nobody, of another account, or not read yet"])
            return ""
        wanted = {
            "attachmentType": file.type,
            "attachmentId": file.id,
            "name": file.name,
            "width": checks.SIZE,
            "height": checks.SIZE,
            "size": str(len(file.data)),
        }
        self._require(call, [f"attachment {named}"] * (list(named.items()) != list(wanted.items())))
        return file.name

    def _entitled(
        self, call: Call, page: str, content_type: str = checks.JSON, more: dict[str, str] | None = None
    ) -> Account:
        """Give the account of a call that carries the working pair, after a look at all its headers."""
        account, pair = self._owner(call)
        own = {
            "Content-Type": content_type,
            "Cookie": f"Oasis-Token={pair}; Oasis-Webid={account.device}",
            "Oasis-Webid": account.device,
            "Referer": f"{BASE}{page}",
            **(more or {}),
        }
        self._require(call, checks.header_problems(call.headers, BASE, own))
        return account
