"""`POST /v1/chat/completions`, streamed and whole."""

import time

from aiohttp import web
from attrs import define

from shared.accounts import Caller
from shared.attachments import Attached
from shared.context import note_account, request_id
from shared.downstream import Downstream
from shared.errors import RequestRefused, SiteError
from shared.faults import told
from shared.openai.chunks import Chunks, Completion, Face, Rendering
from shared.openai.errors import frame
from shared.openai.parse import read_chat
from shared.openai.requests import ChatRequest
from shared.outputs import Stream
from shared.reply import Reply
from shared.routes.body import parse_body
from shared.service import SERVICE, Service
from shared.terms import Conversation
from shared.tries import Tries


@define
class Asked:
    """A chat request that has been found in order, and who sent it."""

    chat: ChatRequest
    caller: Caller
    tries: Tries


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer a chat request."""
    service = request.app[SERVICE]
    async with service.running():
        asked = await _read(service, request)
        if not asked.chat.stream:
            return await _whole(service, request, asked)
    return await Streamed(service, request, asked).answer()


async def _read(service: Service, request: web.Request) -> Asked:
    """Refuse what is not in order before an account is asked for."""
    caller = service.caller(request)
    ask = await parse_body(request, read_chat)
    service.log_text(text for message in ask.messages for text in message.texts)
    provider = service.provider
    ask.model = ask.model or provider.default_model
    ask.conversation, ask.keep, owner = await service.continued(ask.conversation_id, caller)
    if not provider.attachments and any(message.files for message in ask.messages):
        raise RequestRefused("This site reads no files and no images.")
    provider.check_chat(ask)
    files = ask.messages[-1].files
    if files:
        ask.attached = Attached(service.fetcher, files)
        await ask.attached.fetch()
    return Asked(ask, caller, service.tries(caller, ask.conversation, owner))


async def _whole(service: Service, request: web.Request, asked: Asked) -> web.Response:
    ask = asked.chat
    opened = 0

    async def use(output: Stream[Reply]) -> tuple[Rendering, Completion]:
        nonlocal opened
        opened = int(time.time())
        rendering = Rendering(service.style, service.metrics.unknown)
        completion = Completion(rendering)
        async for deltas in output.value:
            completion.feed(deltas)
        rendering.reason()
        return rendering, completion

    output, (rendering, completion) = await asked.tries.run(
        lambda lease: Stream(lease, service.provider.chat(ask, lease)), use
    )
    note_account(output.lease.account)
    await _end(service, asked, output)
    conversation_id = _conversation_id(service, output)
    face = Face(conversation_id or request_id(request), ask.model, opened)
    body = completion.finish(face, rendering.reason(), conversation_id)
    return web.Response(body=body, content_type="application/json")


class Streamed:
    """One streamed answer. It is committed when its first text is about to be written."""

    def __init__(self, service: Service, request: web.Request, asked: Asked) -> None:
        self._service = service
        self._request = request
        self._asked = asked
        self._began = time.monotonic()
        self._down = Downstream(request, service.settings.head_wait)

    async def answer(self) -> web.StreamResponse:
        """Write the answer; raise what went wrong while a status can still be given, else write its frame."""
        self._service.metrics.stream_opened()
        try:
            async with self._service.cuttable():
                await self._write()
        except ConnectionError:
            raise
        except Exception as error:
            if not self._down.begun:
                raise
            await self._down.end(frame(told(error, request_id(self._request))))
        finally:
            self._down.close()
            self._service.metrics.stream_closed()
        return self._down.response

    async def _write(self) -> None:
        output, (reply, rendering, chunks, data) = await self._asked.tries.run(
            lambda lease: Stream(lease, self._service.provider.chat(self._asked.chat, lease)), self._commit
        )
        note_account(output.lease.account)
        kept = ended = False
        try:
            kept = await _keep(self._service, self._asked, output)
            data = await self._relay(reply, rendering, chunks, data)
            reason = rendering.reason()
            ended = True
        except SiteError as error:
            self._service.accounts.failed(output.lease.account, error)
            raise
        finally:
            if not ended:
                # A new one that nobody is known to own is deleted: anybody could go on with it.
                continued = self._asked.chat.conversation is not None and not output.lease.own
                self._service.cleanup.abandon(output, keep=kept or continued)
        await _end(self._service, self._asked, output)
        await self._down.end(data + chunks.finish(reason, _conversation_id(self._service, output)))

    async def _commit(self, output: Stream[Reply]) -> tuple[Reply, Rendering, Chunks, bytes]:
        """Read up to the first text and write it; raise why there is none.

        What came with the end of the answer is given back, to go out with its end.
        """
        reply = output.value
        opened = int(time.time())
        self._down.accepted()
        rendering = Rendering(self._service.style, self._service.metrics.unknown)
        async for deltas in reply:
            if pieces := rendering.pieces(deltas):
                self._service.metrics.first_delta(time.monotonic() - self._began)
                ask = self._asked.chat
                answer_id = _conversation_id(self._service, output) or request_id(self._request)
                face = Face(answer_id, ask.model, opened)
                chunks = Chunks(rendering, face, include_usage=ask.include_usage)
                data = chunks.write(pieces)
                if not rendering.over:
                    await self._down.write(data)
                    data = b""
                return reply, rendering, chunks, data
        rendering.reason()
        raise AssertionError("a reply without text has a reason to be refused")

    async def _relay(self, reply: Reply, rendering: Rendering, chunks: Chunks, data: bytes) -> bytes:
        """Write once for each read; give what the last read made of a whole answer, to go out with its end."""
        if not rendering.over:
            # The head is out: each frame goes straight to the response.
            write, pieces, render = self._down.response.write, rendering.pieces, chunks.write
            async for deltas in reply:
                data = render(pieces(deltas))
                if rendering.over:
                    break
                if data:
                    await write(data)
                    data = b""
        if rendering.failed is not None and data:
            await self._down.write(data)
        return data


async def _end(service: Service, asked: Asked, output: Stream[Reply]) -> None:
    """The site has said all: hand over to clean-up, or remember whose conversation it is."""
    service.cleanup.finish(output, keep=asked.chat.keep)
    await _keep(service, asked, output)


async def _keep(service: Service, asked: Asked, output: Stream[Reply]) -> bool:
    """Remember whose conversation it is, if it is kept and has a name; tell whether that was done."""
    lease = output.lease
    if not asked.chat.keep or lease.conversation is None:
        return False
    await service.keep(asked.caller, lease.account, lease.conversation)
    return True


def _conversation_id(service: Service, output: Stream[Reply]) -> str | None:
    conversation: Conversation | None = output.lease.conversation
    return None if conversation is None else service.provider.write_id(conversation)
