"""The Model API from the caller's side: a video in, a restyled video back.

    from rotoscope import Client

    with Client("http://127.0.0.1:8000", key) as client:
        result = client.run("clip.mp4", "a pencil drawing", loras=["style.safetensors"])
        result.save("drawing.mp4")

It needs no torch and no media library, and works with any host of the same API. AsyncClient has the
same methods to await. What both do is in work.py; the clients themselves only send and wait.
"""

from rotoscope.client.asynchronous import AsyncClient
from rotoscope.client.blocking import Client
from rotoscope.client.errors import (
    ApiError,
    InputError,
    NoResultError,
    UnreachableError,
    WaitTimeoutError,
)
from rotoscope.client.inputs import Fields, File, LoraLike, OwnSize
from rotoscope.client.result import Finished

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Fields",
    "File",
    "Finished",
    "InputError",
    "LoraLike",
    "NoResultError",
    "OwnSize",
    "UnreachableError",
    "WaitTimeoutError",
]
