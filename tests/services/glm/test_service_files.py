"""Files and pictures in messages: fetched, uploaded, referred to."""

import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from shared import slots
from tests.answers import data_url
from tests.services.glm.test_prompt import WORKED
from tests.services.glm.world import World, headers_of, png, question
from tests.shared.origins import Origin, serve_origin
from tests.simulators import html, server_error
from tests.simulators.chatglm import access_refused, busy
from tests.simulators.chatglm_checks import CONSTANT_HEADERS

PDF = b"%PDF-1.4\n%fake\n"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with serve_origin() as started:
        started.gives("/docs/report.pdf", PDF, "application/pdf")
        started.gives("/cat.png", png(3, 2), "image/png")
        yield started


def file(url: str) -> dict[str, Any]:
    return {"type": "file", "file_url": {"url": url}}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


async def test_the_transcript_of_an_upload(world: World, origin: Origin) -> None:
    told = await world.chat([file(origin.url("/docs/report.pdf?sig=a%2Fb")), said("文档里说了什么？")])
    assert "我看到了 1 个文件：report.pdf。" in told.content
    await world.deleted()
    refresh, upload, *_ = world.site.calls
    assert (refresh.kind, upload.method, upload.path) == (
        "refresh",
        "POST",
        "/chatglm/backend-api/assistant/file_upload",
    )
    boundary = re.fullmatch(r"multipart/form-data; boundary=(-{26}[0-9a-f]{24})", upload.headers["Content-Type"])
    assert boundary is not None
    (access,) = world.site.access_tokens
    assert headers_of(upload) == {
        **{name.lower(): value for name, value in CONSTANT_HEADERS.items()},
        "accept-encoding": "gzip, deflate, br",
        "authorization": f"Bearer {access}",
        "referer": "https://chatglm.cn/",
        "content-type": boundary[0],
    }
    assert not {"X-Device-Id", "X-Request-Id", "X-Sign", "X-Timestamp", "X-Nonce"} & set(upload.headers)
    line = b"--" + boundary[1].encode()
    assert upload.body == (
        line + b'\r\nContent-Disposition: form-data; name="file"; filename="report.pdf"\r\n'
        b"Content-Type: application/pdf\r\n\r\n" + PDF + b"\r\n" + line + b"--\r\n"
    )
    (kept,) = world.site.uploads.values()
    assert world.asked()[0]["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "文档里说了什么？\n"}, {"type": "file", "file": [kept.result]}],
        }
    ]


async def test_files_come_before_pictures_and_only_those_of_the_last_message(world: World, origin: Origin) -> None:
    messages = [
        {"role": "system", "content": "sys"},
        {"role": "user", "content": [image(origin.url("/never")), said("hi")]},
        {"role": "assistant", "content": "hello"},
        {
            "role": "user",
            "content": [
                image(data_url(png(5, 4))),
                file(origin.url("/docs/report.pdf")),
                image(origin.url("/cat.png")),
                said("比较"),
            ],
        },
    ]
    # The pictures without a name get a new one for each request, which this site repeats.
    assert (await world.chat(messages)).finish == (await world.whole(messages)).finish == "stop"
    assert world.prompts() == [WORKED["6 files after a history"][2].replace("⏎", "\n")] * 2
    _, files, images = world.asked()[0]["messages"][0]["content"]
    assert [one["file_name"] for one in files["file"]] == ["report.pdf"]
    assert [(one["width"], one["height"]) for one in images["image"]] == [(5, 4), (3, 2)]
    assert all(one["image_url"] == one["file_url"] for one in images["image"])
    assert "/never" not in [request.path for request in origin.asked]


@pytest.mark.parametrize(
    ("part", "name", "kind", "data"),
    [
        (file(data_url(PDF, "application/pdf")), r"[^/]+\.pdf", "application/pdf", PDF),
        (image(data_url(png(1, 1))), r"[^/]+\.png", "image/png", png(1, 1)),
        ({"type": "input_image", "image_url": data_url(png(1, 1))}, r"[^/]+\.png", "image/png", png(1, 1)),
        (
            {"type": "file", "file": {"filename": "报告.pdf", "file_data": data_url(PDF, "application/pdf")}},
            "报告.pdf",
            "application/pdf",
            PDF,
        ),
        ({"type": "file", "file_url": data_url(b"a,b\n1,2\n", "text/csv")}, r"[^/]+\.csv", "text/csv", b"a,b\n1,2\n"),
    ],
)
async def test_names_and_types(world: World, part: Any, name: str, kind: str, data: bytes) -> None:
    assert (await world.chat([part, said("看")])).finish == "stop"
    (kept,) = world.site.uploads.values()
    assert re.fullmatch(name, kept.result["file_name"])
    assert (kept.content_type, kept.data) == (kind, data)


async def test_uploaded_once_for_each_account_that_tries(
    world: World, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "BUSY_PAUSE", 0.02)
    # The first account is busy, the second breaks off twice: uploads are made anew only for another account.
    world.site.script("stream", busy(), server_error(), html())
    told = await world.chat(
        [image(origin.url("/cat.png")), file(origin.url("/docs/report.pdf")), said("看")], "ann", "bob"
    )
    assert told.finish == "stop"
    assert len(world.site.calls_of("stream")) == 4
    owners = [upload.owner.name for upload in world.site.uploads.values()]
    assert sorted(owners) == ["ann", "ann", "bob", "bob"]
    assert sorted(request.path for request in origin.asked) == ["/cat.png", "/docs/report.pdf"]


async def test_an_upload_that_fails_is_tried_again(world: World) -> None:
    world.site.script("upload", server_error(), access_refused())
    assert (await world.chat([image(data_url(png(1, 1))), said("看")])).finish == "stop"
    assert world.site.outcomes("upload") == {"scripted": 2, "ok": 1}
    assert world.site.outcomes("refresh") == {"ok": 2}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/gone.pdf", 400, "invalid_attachment"), ("/large.bin", 413, "attachment_too_large")],
)
async def test_what_cannot_be_had_never_reaches_the_site(
    origin: Origin, path: str, status: int, code: str, stream: bool
) -> None:
    origin.gives("/large.bin", b"x" * (2**20 + 1), "application/octet-stream")
    async with World.start(MAX_ATTACHMENT_MB="1") as world:
        told = await (world.chat if stream else world.whole)([file(origin.url(path)), said("看")])
        assert (told.status, told.error["code"]) == (status, code)
        assert world.site.calls == []


async def test_private_addresses_are_refused_unless_allowed(origin: Origin) -> None:
    async with World.start(ALLOW_PRIVATE_URLS="0") as world:
        told = await world.chat([image(origin.url("/cat.png")), said("看")])
        assert (told.status, told.error["code"]) == (400, "invalid_attachment")
        assert (world.site.calls, origin.asked) == ([], [])


async def test_a_large_file_goes_up_whole(world: World) -> None:
    data = bytes(range(256)) * 20_000
    body = orjson.dumps(question([file(data_url(data, "application/zip")), said("看")]))
    assert (await world.send("/v1/chat/completions", body)).finish == "stop"
    (kept,) = world.site.uploads.values()
    assert kept.data == data
