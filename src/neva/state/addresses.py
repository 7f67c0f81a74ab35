"""Where a request comes from: the peer, or what a trusted proxy says of it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

from fastapi import Request

from neva.errors import UsageError

__all__ = ["address_of", "read_networks"]


def read_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Read the networks of trusted proxies.

    Raises
    ------
    UsageError
        One is no network, or everybody's.

    Examples
    --------
    >>> read_networks(["127.0.0.1", "10.1.2.0/24", "::1"])
    ('127.0.0.1/32', '10.1.2.0/24', '::1/128')
    """
    found = []
    for text in texts:
        try:
            network = ip_network(text.strip())
        except ValueError:
            message = (
                "trusted proxy: not a network; found another text; write an address, or a network "
                "such as 10.1.2.0/24"
            )
            raise UsageError(message) from None
        if network.prefixlen == 0:
            message = (
                "trusted proxy: everybody would be trusted; found a network of all addresses; "
                "name the addresses of the proxies"
            )
            raise UsageError(message)
        found.append(str(network))
    return tuple(found)


def address_of(request: Request) -> str:
    """Return the address that attempts to sign in are counted for.

    Of IPv6 it is the network of 64 bits: one subscriber has all of them.
    """
    if request.client is None:
        return "unknown"
    try:
        address = ip_address(request.client.host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), 64), strict=False))
    return str(address)
