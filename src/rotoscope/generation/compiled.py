"""Compile the transformer's blocks, all alike, once for all; the code is kept on disk.

The first job of a process waits for it: minutes where nothing is on disk yet. Roundings differ.
"""

import os
from pathlib import Path

from diffusers import LTX2VideoTransformer3DModel


def compile_blocks(
    transformer: LTX2VideoTransformer3DModel, folder: Path, *, backend: str = "inductor"
) -> None:
    """Have each block of `transformer` compiled when it first runs; code is kept in `folder`.

    `TORCHINDUCTOR_CACHE_DIR`, where it is set, names another. On a CPU it takes a C++ compiler.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    for block in transformer.transformer_blocks:
        block.compile(backend=backend)
