"""Which network addresses may be called for a URL that a stranger wrote: the guard against forged requests.

What is refused, unless private addresses are allowed:

* this machine, its networks and its cloud: loopback, unspecified, private, link-local, carrier-grade NAT,
  unique-local, the metadata services of the clouds (169.254.169.254, fd00:ec2::254, 100.100.100.200,
  192.0.0.192, 168.63.129.16);
* what is not a host at all: multicast, broadcast, reserved, benchmark and documentation networks;
* an IPv4 address inside an IPv6 one, whatever it is: mapped, compatible, translated (NAT64), 6to4, Teredo,
  ISATAP; and addresses with a zone;
* a name of which even one address is refused; so the answer of a name server that mixes both is no way in.

Whoever calls must connect to the addresses returned here and must not resolve the name again: a name server
may answer differently the second time. Hosts that some resolvers read as numbers (`2130706433`, `0x7f.1`,
`0177.0.0.1`) are refused always.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port to its addresses, as text; raises `OSError` when there are none."""

# The registries of special-purpose addresses (RFC 6890 and its updates), less those that are public.
_REFUSED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux connects to itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's platform service, on a public number
        "169.254.0.0/16",  # link-local
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All public IPv6 addresses are in here; mapped, translated, local and multicast ones are not."""
_REFUSED_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, identifiers that are not routed
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214)."""

_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)", re.IGNORECASE)


class AddressRefused(Exception):
    """A host that may not be called. The message is a clause for the user and holds no address."""


def is_public(address: Address) -> bool:
    """Tell whether this is an address of the public internet, by the list above."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_IPV4)
    return (
        address in _GLOBAL_UNICAST
        and address.scope_id is None
        and not any(address in network for network in _REFUSED_IPV6)
        and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP
    )


def read_host(host: str) -> Address | str:
    """Read a URL's host (ASCII, IPv6 without brackets) as an address or as a name without a dot at its end.

    Raise `AddressRefused` for what is neither, also for the old ways to write an IPv4 address.
    """
    host = host.removesuffix(".")
    if "%" not in host:
        try:
            return ip_address(host)
        except ValueError:
            if _NAME.fullmatch(host) and not _NUMBER.fullmatch(host):
                return host
    raise AddressRefused("its host is neither a name nor a plain IP address")


async def resolve_name(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


async def checked_addresses(
    host: Address | str, port: int, *, resolve: Resolve = resolve_name, allow_private: bool = False
) -> list[Address]:
    """Give the addresses to connect to, IPv4 first (a machine without IPv6 is the more common case).

    Raise `AddressRefused` when the name is unknown or when any of its addresses is not public.
    """
    if isinstance(host, str):
        try:
            texts = await resolve(host, port)
        except OSError:
            texts = []
        found = [ip_address(text) for text in dict.fromkeys(texts)]
    else:
        found = [host]
    if not found:
        raise AddressRefused("its host name is not known")
    if not allow_private and not all(map(is_public, found)):
        raise AddressRefused(
            "its address is not on the public internet (the server's ALLOW_PRIVATE_URLS=1 would allow it)"
        )
    return sorted(found, key=lambda address: address.version)
