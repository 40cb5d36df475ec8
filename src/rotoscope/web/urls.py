"""The base of the URLs in answers: the operator's, else the one the request came to.

X-Forwarded-Proto and X-Forwarded-Host count only when the connection comes from a proxy that the
operator trusts. Of several values the last is taken: the nearest proxy wrote it.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from fastapi import Request

from rotoscope.errors import OperatorError
from rotoscope.web.parts import Parts

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


def base_url(request: Request, parts: Parts) -> str:
    if parts.settings.public_url is not None:
        return parts.settings.public_url.rstrip("/")
    scheme, host = request.url.scheme, request.headers.get("host", "")
    if _from_proxy(request, parts.proxies):
        scheme = _last(request, "x-forwarded-proto") or scheme
        host = _last(request, "x-forwarded-host") or host
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        scheme, host = request.url.scheme, _own_address(request)
    return f"{scheme}://{host}"


def parse_proxies(texts: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The setting trusted_proxies.

    Raises:
        OperatorError: An entry is neither an address nor a network.
    """
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise OperatorError(
            f"trusted_proxies: {error}; give addresses or networks, such as 10.0.0.0/8."
        ) from None


def _from_proxy(request: Request, proxies: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        peer = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return any(peer in network for network in proxies)


def _last(request: Request, header: str) -> str:
    return ",".join(request.headers.getlist(header)).rpartition(",")[2].strip()


def _own_address(request: Request) -> str:
    host, port = request.scope.get("server") or ("localhost", None)
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else str(host)
