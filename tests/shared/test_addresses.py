import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.addresses import AddressRefused, checked_addresses, is_public, read_host, resolve_name

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2400:3200::1",
    "2606:4700:4700::1111",
    "3ffe::1",
]
REFUSED = [
    # this machine, private networks, link-local, shared
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::",
    "::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    # metadata services
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "fd00:ec2::254",
    # no host at all
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "100::1",
    "2001:db8::1",
    "2001:2::1",
    "3fff::1",
    "5f00::1",
    "ff02::1",
    # IPv4 inside IPv6, private or not
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "::8.8.8.8",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:10.0.0.1",
    "2606:4700::1%eth0",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_called(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", REFUSED)
def test_other_addresses_may_not_be_called(text: str) -> None:
    assert not is_public(ip_address(text))


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_knows_to_be_none(address: IPv4Address | IPv6Address) -> None:
    kinds = ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_reserved", "is_unspecified")
    if is_public(address):
        assert not any(getattr(address, kind) for kind in kinds)


@pytest.mark.parametrize(
    ("host", "read"),
    [
        ("example.com", "example.com"),
        ("example.com.", "example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b-c.example", "a_b-c.example"),
        ("3com.example", "3com.example"),
        ("localhost", "localhost"),
        ("127.0.0.1", IPv4Address("127.0.0.1")),
        ("127.0.0.1.", IPv4Address("127.0.0.1")),
        ("::1", IPv6Address("::1")),
        ("::ffff:7f00:1", IPv6Address("::ffff:127.0.0.1")),
    ],
)
def test_hosts_are_names_or_addresses(host: str, read: object) -> None:
    assert read_host(host) == read


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1..", "0x", "1.2.3.4.5", "example.1"),
        *("", ".", "a..b", ".a", "a b", "a/b", "a%2eb", "%31%32%37.0.0.1", "a" * 64, "a." * 127 + "bc"),
        *("fe80::1%25eth0", "::1%lo", "127。0。0。1", "localhost\n", "[::1]", "a\x00b", "é.example", "a\\b", "a:80"),
    ],
)
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(AddressRefused, match="neither a name nor a plain IP address"):
        read_host(host)


class Names:
    """A name server that gives one answer after the other, and remembers what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        answer = self.answers.pop(0)
        if not answer:
            raise OSError("not known")
        return answer


async def test_every_address_of_a_name_is_checked_and_given_ipv4_first() -> None:
    names = Names(["2606:4700::1", "1.1.1.1", "2606:4700::1", "1.0.0.1"])
    found = await checked_addresses("a.example", 81, resolve=names)
    assert list(map(str, found)) == ["1.1.1.1", "1.0.0.1", "2606:4700::1"]
    assert names.asked == [("a.example", 81)]


@pytest.mark.parametrize("mixed", [["1.1.1.1", "10.0.0.1"], ["::1", "1.1.1.1"], ["fe80::1%eth0"], ["127.0.0.1"]])
async def test_one_private_address_spoils_the_name(mixed: list[str]) -> None:
    with pytest.raises(AddressRefused, match="not on the public internet") as refusal:
        await checked_addresses("a.example", 80, resolve=Names(mixed))
    assert not any(address in str(refusal.value) for address in mixed)
    assert await checked_addresses("a.example", 80, resolve=Names(mixed), allow_private=True)


async def test_an_address_is_checked_without_asking() -> None:
    assert await checked_addresses(IPv4Address("1.1.1.1"), 80, resolve=Names()) == [IPv4Address("1.1.1.1")]
    with pytest.raises(AddressRefused, match="not on the public internet"):
        await checked_addresses(IPv6Address("::ffff:7f00:1"), 80, resolve=Names())


async def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AddressRefused, match="not known"):
        await checked_addresses("a.example", 80, resolve=Names([]))


async def test_the_system_is_asked_for_addresses_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("1.1.1.1", port)), (10, 1, 6, "", ("fe80::1%eth0", port, 0, 2))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert await resolve_name("a.example", 80) == ["1.1.1.1", "fe80::1%eth0"]
