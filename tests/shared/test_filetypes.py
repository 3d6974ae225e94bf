import io
import re
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.filetypes import MAX_NAME, disposition_name, media_type, safe_name, type_by_name, type_of

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def packed(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return target.getvalue()


@pytest.mark.parametrize(
    ("data", "header", "name", "type_"),
    [
        # the bytes speak
        (PNG, "image/jpeg", "a.jpg", "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "", "", "image/jpeg"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00,\x00", "", "", "image/gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 \x00\x00\x00", "", "", "image/webp"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00", "", "", "audio/wav"),
        (b"%PDF-1.4 nothing but text", "text/plain", "a.txt", "application/pdf"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\x00", "", "", "application/pdf"),
        (b"\x00junk\n%PDF-1.7\n\x00", "text/html", "", "application/pdf"),
        (b"{\\rtf1\\ansi Hello}", "", "", "application/rtf"),
        (packed("[Content_Types].xml", "_rels/.rels", "word/document.xml"), "application/zip", "a.zip", DOCX),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text/plain", "", "image/svg+xml"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <p> -->\n<!DOCTYPE svg>\n<svg>", "text/xml", "", "image/svg+xml"),
        (b"<!-- made by hand --><SVG >", "", "", "image/svg+xml"),
        (b"\n<!DOCTYPE html><svg></svg>", "image/png", "a.png", "text/html"),
        (b"<html><body>", "", "", "text/html"),
        # what is said, where the bytes allow it
        (b"a,b\n1,2\n", "text/csv; charset=utf-8", "", "text/csv"),
        (b"a,b\n1,2\n", "text/plain", "a.csv", "text/csv"),
        (b"# Title", "application/octet-stream", "README.md", "text/markdown"),
        (b'{"a":1}', "application/json", "a.txt", "application/json"),
        (b"<?xml version='1.0'?><feed/>", "application/atom+xml", "", "application/atom+xml"),
        ("价格\n".encode("gbk"), "", "a.csv", "text/csv"),
        ("价格\n".encode("utf-16"), "", "a.txt", "text/plain"),
        (OLE, "application/octet-stream", "a.ppt", "application/vnd.ms-powerpoint"),
        (OLE, "application/msword", "", "application/msword"),
        (packed("a.txt"), "application/octet-stream", "a.docx", DOCX),
        (packed("a.txt"), "application/pdf", "a.bin", "application/zip"),
        (packed("META-INF/a", "b"), "application/java-archive", "", "application/java-archive"),
        (b"\x00\x01\x02", "image/jpg", "", "image/jpeg"),
        (b"\x00\x01\x02", "", "a.heic", "image/heic"),
        # what is said against the bytes
        (b"BMW makes cars.", "", "", "text/plain"),
        (b"GIFs are fun", "image/gif", "a.gif", "text/plain"),
        (b"MZ is no program here", "", "notes", "text/plain"),
        (b'{"error":"not found"}', "image/png", "a.png", "text/plain"),
        (b"\x00\x01\x02", "text/html", "a.txt", "application/octet-stream"),
        (b"\xff\xfe\x00\xd8\x00\x00", "text/plain", "", "application/octet-stream"),
        # nothing is said
        ("你好".encode(), "", "", "text/plain"),
        (b"\x00\x01\x02", "no type", "a.unknown", "application/octet-stream"),
        (b"\x00\x01\x02", "binary/octet-stream", "", "application/octet-stream"),
    ],
)
def test_type(data: bytes, header: str, name: str, type_: str) -> None:
    assert type_of(data, header, name) == type_


@pytest.mark.parametrize(
    ("header", "type_"),
    [
        ("Image/PNG ; q=1", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("audio/x-wav", "audio/wav"),
        ("", ""),
        ("png", ""),
        ("a/b\r\nX: y", ""),
        ("a/" + "b" * 200, ""),
    ],
)
def test_media_type(header: str, type_: str) -> None:
    assert media_type(header) == type_


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("a.JPG", "image/jpeg"),
        ("a.docx", DOCX),
        ("a.tar.gz", "application/gzip"),
        ("a.js", "text/javascript"),
        ("a", ""),
        ("a.", ""),
        ("a.jpg/b", ""),
    ],
)
def test_type_by_name(name: str, type_: str) -> None:
    assert type_by_name(name) == type_


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="a b.pdf"', "a b.pdf"),
        ("attachment; filename=a.pdf; size=3", "a.pdf"),
        ('inline; FILENAME = "a\\"b.pdf"', 'a"b.pdf'),
        ("attachment; filename=\"x.pdf\"; filename*=UTF-8''%E4%BD%A0.pdf", "你.pdf"),
        ("attachment; filename*=utf-8'zh'%E4%BD%A0%3B.pdf; filename=x.pdf", "你;.pdf"),
        ("attachment; filename*=GBK''%C4%E3.pdf", "你.pdf"),
        ("attachment; filename*=nonsense''%E4%BD%A0.pdf", "你.pdf"),
        ("attachment; filename*=idna''%41%ff.png", "A\ufffd.png"),
        ("attachment; filename*=undefined''a.png", "a.png"),
        ("attachment; filename*=punycode''%ff.png", "\ufffd.png"),
        ('attachment; filename="%E4%BD%A0.pdf"', "你.pdf"),
        ('attachment; filename="你.pdf"', "你.pdf"),
        ('attachment; filename=""', ""),
        ("attachment", ""),
        ("", ""),
    ],
)
def test_disposition_name(header: str, name: str) -> None:
    assert disposition_name(header) == name


@pytest.mark.parametrize(
    ("name", "type_", "safe"),
    [
        ("report.pdf", "application/pdf", "report.pdf"),
        ("报告 1.pdf", "application/pdf", "报告 1.pdf"),
        ("../../etc/passwd", "text/plain", "passwd.txt"),
        ("C:\\Users\\me\\a.png", "image/png", "a.png"),
        ('a"b\r\nX-Evil: 1.png', "image/png", "a_bX-Evil_ 1.png"),
        ("a\x00\u202egnp.exe\ud800.png", "image/png", "agnp.exe.png"),
        (" .hidden ", "text/plain", "hidden.txt"),
        ("report", "application/pdf", "report.pdf"),
        ("report.v2", "application/pdf", "report.v2.pdf"),
        ("picture.php", "image/png", "picture.php.png"),
        ("server.log", "text/plain", "server.log"),
        ("photo.jpeg", "image/jpeg", "photo.jpeg"),
        ("thing", "application/octet-stream", "thing"),
        ("nul:*?.txt", "text/plain", "nul___.txt"),
        ("a" * 300 + ".pdf", "application/pdf", "a" * (MAX_NAME - 4) + ".pdf"),
        ("é" * 300, "application/pdf", "é" * 98 + ".pdf"),
    ],
)
def test_safe_name(name: str, type_: str, safe: str) -> None:
    assert safe_name(name, type_) == safe


@pytest.mark.parametrize("name", ["", "..", "/", "a/", "\r\n", " . "])
@pytest.mark.parametrize(("type_", "end"), [("image/png", r"\.png"), ("application/octet-stream", "")])
def test_without_a_name_one_is_made(name: str, type_: str, end: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}" + end, safe_name(name, type_))


@given(st.text(), st.sampled_from(["image/png", "text/plain", "application/octet-stream", "x/unknown"]))
def test_no_name_is_dangerous(name: str, type_: str) -> None:
    safe = safe_name(name, type_)
    assert 0 < len(safe.encode()) <= MAX_NAME
    assert not re.search(r'[\x00-\x1f\x7f"/\\:;]', safe)
    assert not safe.startswith(".")
    assert safe_name(safe, type_) == safe
