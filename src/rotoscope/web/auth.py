"""Who is calling: a client or a worker, by the token in `Authorization: Bearer`.

Without a key, requests are answered only if the operator said so, only on a loopback address, and
only when the browser or program asked for a loopback name: a web page elsewhere could otherwise
have its own name resolve to this machine (DNS rebinding) or post a form to it.
"""

import hmac
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer

from rotoscope.errors import ForbiddenError, OperatorError, UnauthorizedError
from rotoscope.keys import Key, KeyStore, Role
from rotoscope.settings import Settings, is_loopback
from rotoscope.web.parts import Parts, PartsDep

ANONYMOUS = "anonymous"

# Only describes the header in OpenAPI; the functions below read it.
scheme = HTTPBearer(auto_error=False, description="An API key, made with `rotoscope keys create`.")


def check_exposure(settings: Settings, keys: KeyStore) -> None:
    """Refuse to listen where others can reach the server without a key.

    Raises:
        OperatorError: `host` is not a loopback address, and requests need no key or none exists.
    """
    if settings.listens_on_loopback:
        return
    if settings.anonymous:
        raise OperatorError(
            f"Without keys the server listens on a loopback address only, not on {settings.host}. "
            "Set host to 127.0.0.1, or anonymous to false."
        )
    if not keys.has_client():
        raise OperatorError(
            f"To listen on {settings.host}, make a client key first: `rotoscope keys create NAME`."
        )


async def client_owner(request: Request, parts: PartsDep) -> str:
    """The owner that the request's jobs and uploads belong to."""
    return await owner_of(bearer_token(request), request, parts)


async def owner_of(token: str | None, request: Request, parts: Parts) -> str:
    """The owner whose token this is; without one, everybody where the operator allows it."""
    if token is None and parts.settings.anonymous:
        _check_local(request)
        return ANONYMOUS
    key = await _key(token, "client", parts)
    request.state.key_name = key.name
    return key.owner


async def check_worker(request: Request, parts: PartsDep) -> None:
    token = bearer_token(request)
    if token is None or not _same(token, parts.worker_key):
        request.state.key_name = (await _key(token, "worker", parts)).name


def key_name(request: Request) -> str:
    """What the operator named the caller's key; "" for one that is in no store, or without one."""
    return str(getattr(request.state, "key_name", ""))


def bearer_token(request: Request) -> str | None:
    """The token, or None when the request has no Authorization header at all."""
    return token_of(request, "Bearer")


def token_of(request: Request, scheme: str) -> str | None:
    """The token of this scheme; UnauthorizedError where the header is another."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    kind, _, token = header.partition(" ")
    if kind.lower() != scheme.lower() or not token.strip():
        raise UnauthorizedError(f'Send the key as "Authorization: {scheme} <token>".')
    return token.strip()


async def _key(token: str | None, role: Role, parts: Parts) -> Key:
    if token is None:
        raise UnauthorizedError('A key is needed: send "Authorization: Bearer <token>".')
    key = await run_in_threadpool(parts.keys.verify, token)
    if key is None:
        raise UnauthorizedError("The key is unknown, expired or revoked.")
    if key.role != role:
        raise ForbiddenError(f"This is a {key.role}'s key; a {role}'s is needed here.")
    return key


def _same(token: str, expected: str | None) -> bool:
    return expected is not None and hmac.compare_digest(token.encode(), expected.encode())


def _check_local(request: Request) -> None:
    asked = [f"//{request.headers.get('host', '')}", *request.headers.getlist("origin")]
    if not all(is_loopback(_host_name(url)) for url in asked):
        raise ForbiddenError(
            "Without a key this server answers to loopback names only, such as 127.0.0.1."
        )


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


Owner = Annotated[str, Depends(client_owner)]
