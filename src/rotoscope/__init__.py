"""A self-hosted server for the hosted video-to-video Model API."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rotoscope.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    """The clients, loaded when they are asked for."""
    if name in {"AsyncClient", "Client"}:
        return getattr(import_module("rotoscope.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
