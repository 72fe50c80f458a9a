"""Which addresses webhooks may be delivered to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from shared.errors import Refused

Network = IPv4Network | IPv6Network
_NAT64 = ip_network("64:ff9b::/96")


def networks(text: str) -> tuple[Network, ...]:
    """The networks of the setting, ``127.0.0.0/8,10.1.2.3``. Raises ``Refused``: ``bad_setting``."""
    try:
        return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())
    except ValueError as error:
        raise Refused("bad_setting", f"FLOTILLA_HOOKS_ALLOW: {error}") from None


def may_reach(address: str, allowed: Sequence[Network]) -> bool:
    """Whether a connection to this address is made: everybody's, or one of those that are allowed."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):  # what it leads to counts
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ip_address(int(found) & 0xFFFFFFFF)  # type: ignore[assignment]  # so small a number is IPv4
        found = found if inner is None else inner
    if any(found.version == network.version and found in network for network in allowed):
        return True
    return found.is_global and not found.is_multicast
