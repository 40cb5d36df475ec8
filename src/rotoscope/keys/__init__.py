"""API keys: who may ask (clients) and who may work (workers), and how much a client may ask.

Of a token only its SHA-256 is kept: a token has 256 random bits, so that nothing slower is needed.
A rotated key keeps its owner, and with it its requests and its limits.
"""

from rotoscope.keys.key import Key, Limits, NewKey, Priority, Role
from rotoscope.keys.store import KeyStore, open_keys
from rotoscope.keys.tables import FILE_NAME

__all__ = [
    "FILE_NAME",
    "Key",
    "KeyStore",
    "Limits",
    "NewKey",
    "Priority",
    "Role",
    "open_keys",
]
