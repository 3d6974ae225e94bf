"""The site's calls: which headers each carries, and how its replies are read."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from services.glm import refusals
from services.glm.sign import signature
from services.glm.site import GlmSite
from shared.attachments import Attachment
from shared.errors import RequestRefused, UpstreamChanged, UpstreamUnavailable
from shared.terms import Conversation, Credential, TokenSession
from shared.upstream.client import Answer, Upstream
from shared.upstream.json import JSON, dumps
from shared.upstream.multipart import File, encode
from shared.upstream.refusals import check_size
from shared.upstream.shapes import as_text, text_of
from shared.uuids import Uuids

MAIN_PAGE = "/main/alltoolsdetail"

VIDEO = "video"
DRAWN = "drawn"
"""Under these names the `about` of what a video leaves holds its record, and the conversation it was drawn in."""

MAKE_TIMEOUT = 30.0
UPLOAD_TIMEOUT = 60.0
"""Seconds for a whole call of the video endpoints, and for an upload."""


class NoSession(UpstreamUnavailable):
    """The site itself gave no access token, and did not say that the account token has ended."""


class Calls:
    """Calls to chatglm.cn."""

    def __init__(self, site: GlmSite, upstream: Upstream) -> None:
        self.site = site
        self.upstream = upstream
        self._headers = site.headers()
        self._uuids = Uuids()

    def headers(
        self, token: str, *, referer: str = "", content_type: str = "", identified: bool = True, signed: bool = True
    ) -> dict[str, str]:
        """Give the headers of one call. `token` is the access token, or the account token when that is exchanged."""
        headers = {**self._headers, "Authorization": f"Bearer {token}"}
        if content_type:
            headers["Content-Type"] = content_type
        if referer:
            headers["Referer"] = f"{self.site.base}{referer}"
        if identified:
            headers["X-Device-Id"] = self._uuids.fresh()
            headers["X-Request-Id"] = self._uuids.fresh()
        if signed:
            headers |= signature(time.time_ns() // 1_000_000, self._uuids.fresh(), self.site.sign_secret)
        return headers

    def page(self, assistant: str) -> str:
        """Give the path of the page from which an assistant is talked to."""
        main = assistant == self.site.main_assistant
        return MAIN_PAGE if main else f"/main/gdetail/{assistant}"

    async def refresh(self, credential: Credential) -> tuple[TokenSession, Credential]:
        """Exchange an account token; the site gives a new one with the access token."""
        answer = await self._exchange(self.headers(credential.token, content_type=JSON), b"{}")
        try:
            return self._exchanged(answer, credential)
        except RequestRefused as error:
            # Nothing in this call is the client's.
            raise UpstreamUnavailable(error.message) from error

    async def check(self, credential: Credential) -> tuple[TokenSession, Credential]:
        """Exchange an account token as a check of it does: from the main page, without a body.

        Raise `NoSession` when the site answers and gives none, for whatever reason but that the token has ended.
        """
        headers = self.headers(credential.token, referer=MAIN_PAGE, content_type="application/x-www-form-urlencoded")
        answer = await self._exchange(headers, b"")
        try:
            return self._exchanged(answer, credential)
        except (RequestRefused, UpstreamChanged) as error:
            if refusals.is_own(answer):
                raise NoSession(error.message) from error
            if isinstance(error, UpstreamChanged):
                raise
            raise UpstreamUnavailable(error.message) from error

    async def _exchange(self, headers: Mapping[str, str], body: bytes) -> Answer:
        url = self.site.base + self.site.refresh_path
        return await self.upstream.call("POST", url, kind="refresh", headers=headers, body=body)

    def _exchanged(self, answer: Answer, credential: Credential) -> tuple[TokenSession, Credential]:
        tokens = refusals.result(answer, refreshing=True)
        session = TokenSession(time.time() + self.site.session_lifetime, text_of(tokens, "access_token"))
        newest = as_text(tokens.get("refresh_token"))
        return session, Credential(newest) if newest and newest.isprintable() else credential

    async def upload(self, session: TokenSession, file: Attachment, *, path: str, referer: str) -> Mapping[str, Any]:
        """Upload a file to `path`; give what the site says of it."""
        content_type, body = encode([File("file", file.name, file.type, file.data)])
        headers = self.headers(
            session.token, referer=referer, content_type=content_type, identified=False, signed=False
        )
        answer = await self.upstream.call(
            "POST", self.site.base + path, kind="upload", headers=headers, body=body, timeout=UPLOAD_TIMEOUT
        )
        check_size(answer)
        return refusals.result(answer)

    async def video(
        self, session: TokenSession, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Call a video endpoint; give its result."""
        headers = self.headers(session.token, referer="/video", content_type=JSON if body else "")
        answer = await self.upstream.call(
            method,
            f"{self.site.base}{self.site.video_path}{path}",
            kind="video",
            headers=headers,
            body=dumps(body) if body else None,
            timeout=MAKE_TIMEOUT,
        )
        return refusals.result(answer)

    async def picture(self, url: str) -> bytes:
        """Fetch a drawn picture."""
        headers = {"User-Agent": self.site.user_agent, "Accept": "image/*,*/*;q=0.8"}
        answer = await self.upstream.fetch(url, kind="picture", headers=headers)
        if answer.status != HTTPStatus.OK or not answer.body:
            raise UpstreamUnavailable(f"The site did not give the picture it drew (HTTP {answer.status}).")
        return answer.body

    async def forget(self, session: TokenSession, conversation: Conversation) -> None:
        """Delete a conversation, or what a video leaves."""
        about = conversation.about
        assistant = about.get("assistant_id") or self.site.main_assistant
        if VIDEO not in about:
            await self._delete_chat(session, conversation.id, assistant)
            return
        try:
            await self._delete_video(session, about[VIDEO])
        finally:
            if DRAWN in about:
                await self._delete_chat(session, about[DRAWN], assistant)

    async def _delete_chat(self, session: TokenSession, conversation: str, assistant: str) -> None:
        answer = await self.upstream.call(
            "POST",
            self.site.base + self.site.delete_path,
            kind="delete",
            headers=self.headers(session.token, referer=MAIN_PAGE, content_type=JSON),
            body=dumps({"assistant_id": assistant, "conversation_id": conversation}),
        )
        refusals.accepted(answer)

    async def _delete_video(self, session: TokenSession, video: str) -> None:
        answer = await self.upstream.call(
            "DELETE",
            f"{self.site.base}{self.site.video_path}/chat/{video}",
            kind="delete",
            headers=self.headers(session.token, referer="/video", signed=False),
        )
        refusals.accepted(answer)
