"""`POST /v1/audio/speech` and `POST /v1/audio/transcriptions`."""

from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
from aiohttp import HttpVersion11, web

from shared import audio, mp3
from shared.context import note_account, request_id
from shared.errors import SiteError, UpstreamUnavailable
from shared.faults import told
from shared.openai.errors import BadRequest
from shared.openai.parse import read_speech, read_transcription
from shared.openai.requests import SpeechRequest, TranscriptionRequest
from shared.outputs import Stream, Work
from shared.provider import Speaks, Transcribes
from shared.routes.body import json_response, parse_body, read_form
from shared.service import SERVICE, Service
from shared.tries import Tries
from shared.upstream.sse import EVENT_STREAM

LANGUAGE = "und"
"""What `verbose_json` says where the client named no language: undetermined (ISO 639-2), since the sites tell none."""


async def speech(request: web.Request) -> web.StreamResponse:
    """Read a text out: as mp3 while it is being made, or whole in another format."""
    service = request.app[SERVICE]
    async with service.running():
        caller = service.caller(request)
        ask = await parse_body(request, read_speech)
        service.log_text((ask.input,))
        audio.check_format(ask.response_format)
        speaker = cast("Speaks", service.provider)
        speaker.check_speech(ask)
        tries = service.tries(caller)
        # Before HTTP/1.1 the end of a body cannot be told from a broken connection.
        ask.whole = ask.response_format != "mp3" or request.version < HttpVersion11
        if ask.whole:
            return await _whole(service, tries, ask)
    return await _Spoken(service, request, tries, ask).answer()


async def transcriptions(request: web.Request) -> web.Response:
    """Write down what is said in an upload."""
    service = request.app[SERVICE]
    async with service.running():
        caller = service.caller(request)
        fields, upload = await read_form(request, "file", service.fetcher.limit)
        ask = read_transcription(fields, upload)
        async with service.converting:
            sound = await audio.to_mp3(ask.audio)
        if ask.response_format == "verbose_json" and sound.seconds is None:
            raise BadRequest(
                "`response_format` verbose_json tells how long the sound is, for which this service needs ffmpeg "
                "or an mp3: ask for json or text.",
                "response_format",
            )
        ask.audio = sound.data
        hearer = cast("Transcribes", service.provider)
        output, text = await service.tries(caller).run(
            lambda lease: Work(lease, hearer.transcribe(ask, lease)), Work.given
        )
        service.cleanup.finish(output, keep=service.settings.keep_conversations)
        note_account(output.lease.account)
    return _heard(ask, text, sound)


class _Spoken:
    """One streamed speech. It is committed when its first part is about to be written."""

    def __init__(self, service: Service, request: web.Request, tries: Tries, ask: SpeechRequest) -> None:
        self._service = service
        self._request = request
        self._tries = tries
        self._ask = ask
        self._response = web.StreamResponse(headers={"Content-Type": audio.FORMATS["mp3"].type})
        self._response.enable_chunked_encoding()

    async def answer(self) -> web.StreamResponse:
        """Write the speech; raise what went wrong while a status can still be given, else break the connection."""
        try:
            async with self._service.running():
                await self._write()
        except Exception as error:
            if not self._response.prepared:
                raise
            told(error, request_id(self._request))
            # Ended properly, a body that is too short would pass for the whole speech.
            if self._request.transport is not None:
                self._request.transport.close()
        return self._response

    async def _write(self) -> None:
        speaker = cast("Speaks", self._service.provider)
        output, (parts, first) = await self._tries.run(
            lambda lease: Stream(lease, speaker.speak(self._ask, lease)), _begun
        )
        note_account(output.lease.account)
        keep = self._service.settings.keep_conversations
        ended = False
        try:
            await self._response.prepare(self._request)
            await self._response.write(first)
            async for part in parts:
                await self._response.write(_sound(part))
            ended = True
        except SiteError as error:
            self._service.accounts.failed(output.lease.account, error)
            raise
        finally:
            if not ended:
                self._service.cleanup.abandon(output, keep=keep)
        self._service.cleanup.finish(output, keep=keep)
        await self._response.write_eof()


async def _whole(service: Service, tries: Tries, ask: SpeechRequest) -> web.Response:
    speaker = cast("Speaks", service.provider)

    async def use(output: Stream[AsyncIterator[bytes]]) -> bytes:
        parts, first = await _begun(output)
        return b"".join([first, *[_sound(part) async for part in parts]])

    output, sound = await tries.run(lambda lease: Stream(lease, speaker.speak(ask, lease)), use)
    service.cleanup.finish(output, keep=service.settings.keep_conversations)
    note_account(output.lease.account)
    async with service.converting:
        body = await audio.from_mp3(sound, ask.response_format)
    if not body:
        raise UpstreamUnavailable(f"The speech the site made could not be converted to {ask.response_format}.")
    return web.Response(body=body, content_type=audio.FORMATS[ask.response_format].type)


async def _begun(output: Stream[AsyncIterator[bytes]]) -> tuple[AsyncIterator[bytes], bytes]:
    """Read up to the first part with sound in it; raise why there is none."""
    parts = output.value
    async for part in parts:
        return parts, _sound(part)
    raise SiteError("The site made a speech without any sound.")


def _sound(part: bytes) -> bytes:
    """Give what of a part can be joined to others; raise when nothing of it can."""
    sound = mp3.bare(part)
    if not sound:
        raise SiteError("The site made a part of a speech without any sound.")
    return sound


def _heard(ask: TranscriptionRequest, text: str, sound: audio.Sound) -> web.Response:
    if ask.stream:
        # The site tells all it has heard at once.
        events = ({"type": "transcript.text.delta", "delta": text}, {"type": "transcript.text.done", "text": text})
        data = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)
        return web.Response(body=data, content_type=EVENT_STREAM, charset="utf-8")
    if ask.response_format == "text":
        return web.Response(text=text)
    body: dict[str, Any] = {"text": text}
    if ask.response_format == "verbose_json":
        # The sites tell no times: there are no segments to name.
        body = {
            "task": "transcribe",
            "language": ask.extra.get("language") or LANGUAGE,
            "duration": round(sound.seconds or 0.0, 2),
            "text": text,
            "segments": [],
        }
    return json_response(body)
