"""Step, as the contract of `shared.provider` asks for it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from services.step.dialect import Dialect
from services.step.models import choice
from services.step.prompt import prompt
from services.step.refusals import CHAT, NOTHING, refusal
from services.step.reply import StepDecoder
from services.step.session import StepAccount, StepCredential, StepLease, StepSession, read_credential
from services.step.site import StepSite
from services.step.stepfun.calls import Stepfun
from services.step.yuewen.calls import Yuewen
from shared.openai.requests import ChatRequest
from shared.provider import Provider
from shared.reply import FrameStream, Reply
from shared.terms import Conversation
from shared.upstream.client import Upstream
from shared.upstream.connect import ConnectFramer


class Step(Provider[StepCredential, StepSession]):
    """yuewen.cn, or stepfun.com by `STEP_DIALECT`: chat."""

    name = "step"
    site_type = StepSite
    site: StepSite
    default_model = "step"
    models = (
        "step",
        "step-v1",
        "step-v1-vision",
        "step-search",
        "step-nosearch",
        "step-2",
        "step-2-literary",
        "step-r-mini",
        "deepseek-r1",
    )
    slots = 4

    def __init__(self, site: StepSite, upstream: Upstream) -> None:
        super().__init__(site, upstream)
        dialects: Mapping[str, Dialect] = {
            "yuewen": Yuewen(site, upstream, site.base),
            "stepfun": Stepfun(site, upstream, site.stepfun_base),
        }
        self._dialect = dialects[site.dialect]

    def credential(self, token: str) -> StepCredential:
        """Take `deviceId@Oasis-Token` apart."""
        return read_credential(token)

    async def exchange(self, credential: StepCredential) -> tuple[StepSession, StepCredential]:
        """Exchange the token pair for a new one."""
        return await self._dialect.exchange(credential)

    def read_id(self, text: str) -> Conversation | None:
        """Read what the site calls a chat."""
        return Conversation(text) if self._dialect.chat.fullmatch(text) else None

    def has_model(self, name: str) -> bool:
        """Know the listed names, with a switch too, and those of the settings."""
        asked = choice(name).name
        return super().has_model(asked) or asked in {**self.site.model_ids, **self.site.stepfun_models}

    @asynccontextmanager
    async def chat(self, request: ChatRequest, lease: StepLease) -> AsyncIterator[Reply]:
        """Upload the files of the last message, begin a chat, ask."""
        dialect = self._dialect
        session = await lease.account.session()
        files = await request.attached.uploaded(lease.account.key, partial(dialect.upload, session))
        await dialect.read(session, files)
        conversation = request.conversation or await dialect.begin(session)
        lease.made(conversation)
        asked = choice(request.model)
        text = prompt(request.messages, continued=request.conversation is not None)
        message = dialect.message(conversation, text, asked, [file.attachment for file in files])
        ask = dialect.ask(session, conversation, message)
        async with AsyncExitStack() as stack:
            async with self._switched(asked.search, session, lease):
                stream = self.upstream.stream("POST", ask.url, kind="chat", headers=ask.headers, body=ask.body)
                call = await stack.enter_async_context(stream)
            named = CHAT if request.conversation else NOTHING
            frames = await FrameStream.open(call, ConnectFramer(), refuse=partial(refusal, named=named))
            yield Reply(frames, StepDecoder(named), lease.made)

    async def forget(self, conversation: Conversation, account: StepAccount) -> None:
        """Delete a chat."""
        await self._dialect.forget(await account.session(), conversation)

    async def check(self, account: StepAccount) -> bool:
        """Exchange the token anew. The site may have an answer for nobody's token too, and says so in it."""
        session = await account.renew(self.exchange)
        return not session.guest

    @asynccontextmanager
    async def _switched(self, search: bool | None, session: StepSession, lease: StepLease) -> AsyncIterator[None]:
        """Hold the account's web search switched, if the model name says how, until the site has taken a question."""
        if search is None:
            yield
            return
        async with lease.lock("search"):
            await self._dialect.switch(session, search=search)
            yield
