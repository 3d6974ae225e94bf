import base64
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import dataurls
from shared.dataurls import read_data_url
from shared.errors import AttachmentRefused, AttachmentTooLarge

MB = 1024 * 1024
PADDED = base64.b64encode(b"\xfb\xef\xbe\xff?").decode()  # "++++/z8="


@pytest.mark.parametrize(
    ("url", "type_", "data"),
    [
        ("data:text/plain;base64,SGVsbG8=", "text/plain", b"Hello"),
        ("DATA:text/plain;BASE64,SGVsbG8=", "text/plain", b"Hello"),
        ("data:;base64,SGVsbG8", "", b"Hello"),
        ("data:image/png;charset=utf-8; base64 ,SGVs\r\nbG8 =\n", "image/png", b"Hello"),
        ("data:a/b;base64,SGVsbG8%3D", "a/b", b"Hello"),
        ("data:a/b;base64,SGVsbG8%3D%0D%0A", "a/b", b"Hello"),
        (f"data:a/b;base64,{PADDED}", "a/b", b"\xfb\xef\xbe\xff?"),
        ("data:a/b;base64,----_z8=", "a/b", b"\xfb\xef\xbe\xff?"),
        ("data:a/b;base64,%2B%2b%2B%2B%2Fz8", "a/b", b"\xfb\xef\xbe\xff?"),
        ("data:a/b;base64,SGVsbG8====", "a/b", b"Hello"),
        ("data:a/b;base64,", "a/b", b""),
        ("data:,Hello%2C%20World", "", b"Hello, World"),
        ("data:text/plain;charset=utf-8,%E4%BD%A0好", "text/plain", "你好".encode()),
        ("data:text/html,<p>50%</p>", "text/html", b"<p>50%</p>"),
        ("data:image/svg+xml;utf8,<svg a='%23'/>", "image/svg+xml", b"<svg a='#'/>"),
    ],
)
def test_both_forms_are_decoded(url: str, type_: str, data: bytes) -> None:
    loaded = read_data_url(url, MB)
    assert (loaded.type, loaded.data) == (type_, data)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("data:application/pdf;name=a%20b.pdf;base64,SGVsbG8=", "a b.pdf"),
        ('data:application/pdf;name="a.pdf";base64,SGVsbG8=', "a.pdf"),
        ("data:application/pdf;base64,SGVsbG8=", ""),
    ],
)
def test_a_name_among_the_parameters_is_read(url: str, name: str) -> None:
    assert read_data_url(url, MB).name == name


@pytest.mark.parametrize(
    "data",
    ["SGVsbG8*", "SGVsb", "SGVsbG8=SGVsbG8=", "SG=sbG8=", "你好你好", "SGVs\x00bG8", "SGVsbG8%zz", "a", "\ud800aaa"],
)
@pytest.mark.parametrize("size", [3, 4, 5, 256 * 1024])
def test_broken_base64_is_refused_wherever_it_is_cut(data: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataurls, "SLICE", size)
    with pytest.raises(AttachmentRefused, match="cannot be decoded"):
        read_data_url(f"data:a/b;base64,{data}", MB)


@pytest.mark.parametrize("url", ["data:text/plain;base64", "data:", "data:" + ";" * 5000 + ",x"])
def test_without_a_comma_there_is_no_data(url: str) -> None:
    with pytest.raises(AttachmentRefused, match="no comma"):
        read_data_url(url, MB)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(AttachmentRefused, match="cannot be decoded"):
        read_data_url("data:,a\ud800b", MB)


@pytest.mark.parametrize("form", ["base64", "percent"])
@pytest.mark.parametrize(("size", "fits"), [(MB - 1, True), (MB, True), (MB + 1, False), (3 * MB, False)])
def test_the_limit_is_that_of_the_decoded_bytes(form: str, size: int, fits: bool) -> None:
    data = bytes(size)
    text = "data:;base64," + base64.b64encode(data).decode() if form == "base64" else "data:," + "%00" * size
    if fits:
        assert read_data_url(text, MB).data == data
    else:
        with pytest.raises(AttachmentTooLarge, match="more than 1 MB"):
            read_data_url(text, MB)


def test_what_is_too_large_is_not_decoded_to_its_end() -> None:
    # The broken end is never reached.
    with pytest.raises(AttachmentTooLarge):
        read_data_url("data:;base64," + "A" * (2 * MB) + "*", MB)


@given(
    data=st.binary(max_size=60),
    size=st.integers(3, 9),
    style=st.sampled_from(["base64", "url", "bare", "blank", "escaped", "percent"]),
)
def test_every_cut_gives_the_same_bytes(data: bytes, size: int, style: str) -> None:
    text = base64.b64encode(data).decode()
    url = (
        "data:;base64,"
        + {
            "base64": text,
            "url": base64.urlsafe_b64encode(data).decode(),
            "bare": text.rstrip("="),
            "blank": "\n ".join(text),
            "escaped": urllib.parse.quote(text, safe=""),
            "percent": "",
        }[style]
    )
    if style == "percent":
        url = "data:," + urllib.parse.quote(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataurls, "SLICE", size)
        assert read_data_url(url, MB).data == data
