"""How tensors go between the two processes of ranks.py: by torch.distributed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from rotoscope.settings import Settings

WORKER, HELPER = 0, 1
PATIENCE = timedelta(minutes=10)
"""Longer than any step takes."""
TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64)
MOST_SIDES = 8


class PeerLostError(Exception):
    """The other process ended, or answers no more."""


@contextmanager
def reaching() -> Iterator[None]:
    """Within this context what a pipe or torch.distributed raises means that the other is lost."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise PeerLostError(str(error)) from error


def backend_for(settings: Settings) -> str:
    """Of torch.distributed: halves of a guess swap so much that it has to go from card to card."""
    cards = settings.device != "cpu" and torch.cuda.device_count() > 1
    return "cpu:gloo,cuda:nccl" if cards and settings.sequence_parallel else "gloo"


def join(store: str, backend: str, rank: int) -> None:
    """Meet the other process at a file; through loopback, since both are on this machine."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        backend, init_method=f"file://{store}", rank=rank, world_size=2, timeout=PATIENCE
    )


def send(tensor: Tensor, to: int) -> None:
    """Its type and shape, then its numbers."""
    head = torch.zeros(MOST_SIDES + 2, dtype=torch.int64)
    head[0], head[1] = TYPES.index(tensor.dtype), tensor.dim()
    head[2 : 2 + tensor.dim()] = torch.tensor(tensor.shape)
    dist.send(head, to)
    dist.send(tensor.cpu().contiguous(), to)


def receive(source: int) -> Tensor:
    """What `send` sent, on the CPU."""
    head = torch.zeros(MOST_SIDES + 2, dtype=torch.int64)
    dist.recv(head, source)
    kind, sides, *shape = head.tolist()
    tensor = torch.empty(shape[:sides], dtype=TYPES[kind])
    dist.recv(tensor, source)
    return tensor


@reaching()
def swap(mine: Tensor, others: Tensor, rank: int) -> None:
    """Send `mine`, and fill `others` with what the other process sends as it does the same."""
    other = 1 - rank
    both = [dist.P2POp(dist.isend, mine, other), dist.P2POp(dist.irecv, others, other)]
    for one in dist.batch_isend_irecv(both):
        one.wait()
