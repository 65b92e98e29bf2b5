"""Whose request it is: the address of the client, also behind proxies that are trusted.

``X-Forwarded-For`` is believed only as far as trusted proxies have written it: from its end, for as long as the one who wrote an entry is
trusted. Anybody can send the header, so everything before that is a claim and nothing more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MOST_HOPS: Final = 32
_LONGEST: Final = 64  # characters of an address
_HOUSEHOLD: Final = 64  # bits of an IPv6 address: whoever has one has all that begin alike


class Proxies:
    """The proxies that are trusted."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Addresses and networks (``10.0.0.0/8``). Raises ``ValueError``."""
        self._networks: list[Network] = [ipaddress.ip_network(text) for text in networks]

    def client(self, remote: str | None, forwarded: Iterable[str]) -> str:
        """The client's address; "" where there is none. ``remote``: who is connected; ``forwarded``: all headers
        ``X-Forwarded-For``, as they came."""
        found = _address(remote or "")
        if found is None:
            return ""
        claims = [claim for header in forwarded for claim in header.split(",")] if self._networks else []
        for claim in reversed(claims[-_MOST_HOPS:]):
            if not self._trusts(found):
                break
            before = _address(claim.strip())
            if before is None:
                break
            found = before
        return _peer(found)

    def _trusts(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, without a port, brackets or a zone; None for anything else."""
    if len(text) > _LONGEST:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # some proxies write the port, too
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _peer(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.IPv6Network((address, _HOUSEHOLD), strict=False))
