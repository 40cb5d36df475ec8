"""Which jobs are cheap to run one after another: those with the same LoRAs.

What a worker has at hand after a job is files, so scales make no difference, nor does the order.
"""

import hashlib

from rotoscope.schema.input import VideoToVideoInput


def affinity_of(asked: VideoToVideoInput) -> str:
    """A hash of the set of LoRAs that an input names; "" where it names none."""
    names = {f"lora:{lora.path}" for lora in asked.loras}
    ic_lora = asked.preprocessor if asked.ic_lora == "match_preprocessor" else asked.ic_lora
    named = {f"ic:{ic_lora}", f"camera:{asked.camera_lora}"} - {"ic:none", "camera:none"}
    chosen = sorted(names | named)
    return hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:16] if chosen else ""
