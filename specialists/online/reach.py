"""Refusing private addresses of services (protection against SSRF).

A name is resolved, all its addresses are checked, and the connection uses a checked address: a name
that resolves differently a moment later has no effect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from florilegium.specialists.online.failure import SERVICE_FAILED, Failure

_TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "::ffff:0:0:0/96")))
"""IPv6 networks that map IPv4 addresses (RFC 6052, RFC 2765)."""
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The 32 bits before an IPv4 address in the last half of an IPv6 address (RFC 5214)."""
_LOCAL = tuple(
    map(
        ipaddress.ip_network,
        (
            *("64:ff9b:1::/48", "fec0::/10", "3fff::/20", "5f00::/16"),
            *("192.88.99.0/24", "168.63.129.16/32"),
        ),
    )
)
"""Networks that Python calls public, at least in some releases, but that are private, unassigned,
or, as the last one, belong to the machine's own cloud (Azure's platform)."""


async def public_address(host: str, port: int | None) -> str:
    """Return an address of a host whose addresses are all public.

    Numeric hosts are interpreted as the system does: `2130706433` is 127.0.0.1.

    Raises:
        Failure: an address is private, of this machine or the local network; or there is none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failure(
            SERVICE_FAILED, f"{host!r} has no address: {error.strerror}", is_passing=True
        ) from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_public(address):
            raise Failure(
                SERVICE_FAILED,
                f"{host!r} is {address}, an address of this machine or its network, and "
                "allow_private_addresses is false: give another address, or allow it",
                stops_all=True,
                is_free=True,
            )
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an IP address is public, also one that is embedded in an IPv6 address."""
    plain = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(plain, ipaddress.IPv6Address):
        inner = plain.ipv4_mapped or plain.sixtofour or (plain.teredo or (None, None))[1]
        is_isatap = int(plain) >> 32 & 0xFFFFFFFF in _ISATAP
        if is_isatap or any(plain in network for network in _TRANSLATED):
            inner = ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF)
        is_local = any(plain in network for network in _LOCAL)
        if is_local or (inner is None and int(plain) >> 32 == 0):  # `::1`, `::127.0.0.1`
            return False
        plain = inner or plain
    is_local = any(plain in network for network in _LOCAL)
    return plain.is_global and not plain.is_multicast and not is_local
