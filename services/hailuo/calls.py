"""The site's calls: the query and headers each carries, and how its replies are read."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from attrs import frozen

from services.hailuo import refusals, sign
from services.hailuo.session import HailuoSession, device_of
from services.hailuo.site import HailuoSite
from shared.errors import SiteError, UpstreamChanged, UpstreamUnavailable
from shared.logs import shape
from shared.terms import Credential
from shared.upstream.client import Answer, Call, Upstream
from shared.upstream.json import JSON, dumps
from shared.upstream.multipart import Field, File, encode
from shared.upstream.sse import EVENT_STREAM
from shared.uuids import Uuids


@frozen
class Target:
    """Where a call goes: the path and query that are signed, what follows them unsigned, and the time in them."""

    signed: str
    unix: str
    unsigned: str = ""


class Calls:
    """Calls to hailuoai.com."""

    def __init__(self, site: HailuoSite, upstream: Upstream) -> None:
        self.site = site
        self.upstream = upstream
        self._uuids = Uuids()

    def fresh_uuid(self) -> str:
        """Give a new UUID."""
        return self._uuids.dashed()

    async def register(self, credential: Credential) -> HailuoSession:
        """Register a device for an account."""
        name = self.fresh_uuid()
        target = self._target(self.site.register_path, name)
        # An accident of the client this was learnt from: that the site takes less is believed, not seen.
        target = Target(target.signed, target.unix, f"&{self.site.constant_query()}")
        answer = await self._call("POST", target, credential.token, {"uuid": name}, kind="register")
        registered = refusals.registered(answer)
        device = device_of(credential, registered)
        if not device:
            raise UpstreamChanged("The site gave no id to a device.", shape=shape(registered))
        return HailuoSession(time.time() + self.site.device_lifetime, credential.token, name, device)

    async def user(self, session: HailuoSession) -> Answer:
        """Ask whose account this is; give the reply as it is."""
        target = self._target(self.site.user_path, session.uuid, session.device_id)
        return await self._call("GET", target, session.token, {}, kind="check")

    async def get(
        self,
        session: HailuoSession,
        path: str,
        *,
        kind: str,
        default: type[SiteError] = UpstreamUnavailable,
    ) -> Mapping[str, Any]:
        """Get; give the reply's `data`. A refusal whose words tell nothing is of the `default` class."""
        target = self._target(path, session.uuid, session.device_id)
        return refusals.data(await self._call("GET", target, session.token, {}, kind=kind), default)

    async def post(
        self,
        session: HailuoSession,
        path: str,
        body: Mapping[str, Any],
        *,
        kind: str,
        default: type[SiteError] = UpstreamUnavailable,
    ) -> Mapping[str, Any]:
        """Post; give the reply's `data`. A refusal whose words tell nothing is of the `default` class."""
        target = self._target(path, session.uuid, session.device_id)
        return refusals.data(await self._call("POST", target, session.token, body, kind=kind), default)

    async def forget(self, session: HailuoSession, chat: str) -> None:
        """Delete a conversation."""
        target = self._target(f"{self.site.delete_path}/{chat}", session.uuid, session.device_id)
        refusals.data(await self._call("DELETE", target, session.token, {}, kind="delete"), named=True)

    def chat(
        self, session: HailuoSession, text: str, *, chat: str, search_mode: str = "0", form: str = ""
    ) -> AbstractAsyncContextManager[Call]:
        """Ask in a conversation (empty: a new one); the reply is a stream."""
        number = chat or "0"
        fields = {
            "characterID": self.site.character_id,
            "msgContent": text,
            "chatID": number,
            "searchMode": search_mode,
            "form": form,
        }
        parts = [Field(name, value) for name, value in fields.items() if value]
        content = sign.chat_content(self.site.character_id, text, number, form)
        referer = f"{self.site.base}/?chat={chat}" if chat else f"{self.site.base}/"
        return self._stream(session, self.site.chat_path, parts, content, kind="chat", referer=referer)

    def hear(self, session: HailuoSession, sound: bytes) -> AbstractAsyncContextManager[Call]:
        """Speak to the site; the reply is a stream."""
        parts: list[Field | File] = [
            Field("chatID", "0"),
            File("voiceBytes", "audio.mp3", "audio/mp3", sound),
            Field("characterID", self.site.character_id),
            Field("playSpeedLevel", "1"),
        ]
        content = sign.sound_content(self.site.character_id, "0", sound)
        return self._stream(session, self.site.hear_path, parts, content, kind="hear", referer=f"{self.site.base}/")

    def _stream(
        self,
        session: HailuoSession,
        path: str,
        parts: Sequence[Field | File],
        content: str,
        *,
        kind: str,
        referer: str,
    ) -> AbstractAsyncContextManager[Call]:
        target = self._target(path, session.uuid, session.device_id)
        content_type, body = encode(parts)
        headers = {
            **self._headers(session.token, target, content, content_type),
            "Accept": EVENT_STREAM,
            "Referer": referer,
        }
        return self.upstream.stream("POST", self.site.base + target.signed, kind=kind, headers=headers, body=body)

    async def _call(self, method: str, target: Target, token: str, body: Mapping[str, Any], *, kind: str) -> Answer:
        # GET and DELETE carry a body too, and the signature covers it.
        content = dumps(body)
        return await self.upstream.call(
            method,
            self.site.base + target.signed + target.unsigned,
            kind=kind,
            headers=self._headers(token, target, content.decode(), JSON),
            body=content,
        )

    def _target(self, path: str, name: str, device: str = "") -> Target:
        unix = f"{int(time.time())}000"
        joint = "&" if "?" in path else "?"
        return Target(f"{path}{joint}{self.site.full_query(name, device, unix)}", unix)

    def _headers(self, token: str, target: Target, content: str, content_type: str) -> dict[str, str]:
        trace = self.fresh_uuid().replace("-", "")
        return {
            **self.site.headers(),
            "Content-Type": content_type,
            "Token": token,
            "Baggage": (
                f"sentry-environment=production,sentry-release={self.site.sentry_release},"
                f"sentry-public_key={self.site.sentry_public_key},sentry-trace_id={trace},"
                "sentry-sample_rate=1,sentry-sampled=true"
            ),
            "Sentry-Trace": f"{trace}-{trace[-16:]}-1",
            "Yy": sign.signature(target.signed, content, target.unix, self.site.sign_secret),
        }
