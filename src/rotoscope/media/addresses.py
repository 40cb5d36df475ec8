"""Which addresses a fetch may connect to.

The networks that are not the public internet, spelt out: `ipaddress.is_global` lets several of
them through, differently in each Python release. Source: IANA's special-purpose address registries
for IPv4 and IPv6, the retired site-local range, and the clouds' metadata addresses.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Everything outside 2000::/3, which alone is given out, is not public: loopback, mapped
        # and compatible IPv4, NAT64, unique-local, link-local, site-local, multicast.
        "::/3",
        "4000::/2",
        "8000::/1",
        # Within it: Teredo and 6to4, which carry IPv4 inside, and ranges for other uses.
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def is_public(address: Address) -> bool:
    return not any(address in network for network in NOT_PUBLIC)


def parse_address(host: str) -> Address | None:
    """The address that a host spells in the usual way, or None: then it is a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def is_listed(host: str, addresses: Iterable[Address], listed: Iterable[str]) -> bool:
    """Whether the operator listed this host: by its name, or all its addresses by networks."""
    addresses, listed = tuple(addresses), tuple(listed)
    if host.lower().rstrip(".") in {entry.lower().rstrip(".") for entry in listed}:
        return True
    networks = [network for entry in listed if (network := _network(entry)) is not None]
    return bool(addresses) and all(
        any(address in network for network in networks) for address in addresses
    )


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None
