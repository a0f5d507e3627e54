"""Refusing private addresses of services (protection against SSRF).

A name is resolved, all its addresses are checked, and the connection uses a checked address: a name
that resolves differently a moment later has no effect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from specialists.online.failure import SERVICE_FAILED, Failure

_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 networks that map IPv4 addresses (RFC 6052, RFC 8215)."""


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
        if any(plain in network for network in _TRANSLATED):
            inner = ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF)
        if inner is not None:
            plain = inner
        elif int(plain) >> 32 == 0:  # `::1`, and IPv4-compatible addresses (deprecated)
            return False
    return plain.is_global and not plain.is_multicast
