"""One job in two processes: a helper computes the first of a step's guesses, or half of a guess.

With guidance each step computes two guesses, which need nothing of each other. The helper
(helper.py) has the same checkpoint, on the machine's second GPU if it has GPUs. It is told what to
do by lines on its standard input, so that it ends with its worker; tensors go by torch.distributed,
through the machine's memory: some megabytes a step. The only guess of a step is halved where the
operator asks for it (sequence_parallel.py): what is swapped then are gigabytes, from card to card.
A helper that is lost is done without.

    B  rows of the batch: the guesses of a step
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rotoscope import telemetry
from rotoscope.errors import OperatorError
from rotoscope.generation.loras import Lora
from rotoscope.generation.once import some_rows
from rotoscope.generation.peers import (
    HELPER,
    WORKER,
    PeerLostError,
    backend_for,
    join,
    reaching,
    receive,
    send,
)
from rotoscope.generation.pipeline import Pipeline
from rotoscope.generation.plan import Plan
from rotoscope.generation.sequence_parallel import forward_half
from rotoscope.settings import Settings

log = telemetry.logger()

Forward = Callable[..., Any]


def open_pipeline(settings: Settings) -> Pipeline:
    """The configured checkpoint, in as many processes as the operator asked for.

    Raises:
        OperatorError: It cannot be opened, here or by the helper, or nothing would be halved.
    """
    if settings.sequence_parallel and settings.ranks == 1:
        raise OperatorError("ROTOSCOPE_SEQUENCE_PARALLEL needs ROTOSCOPE_RANKS=2.")
    return Pipeline.open(settings) if settings.ranks == 1 else TwoRanks.start(settings)


class Helper:
    """The other process, as its worker sees it."""

    def __init__(self, settings: Settings) -> None:
        shown = settings.model_dump(
            mode="json", include={"data_dir", "checkpoint", "checkpoint_dir", "device"}
        )
        self._backend = backend_for(settings)
        self._folder = tempfile.TemporaryDirectory(prefix="rotoscope-ranks-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rotoscope.generation.helper"],
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": _second_gpu(),
                "OMP_NUM_THREADS": str(half_of_threads()),
                "ROTOSCOPE_RANKS": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        meet = {"store": f"{self._folder.name}/store", "backend": self._backend}
        self.say({"settings": shown, "meet": meet})

    def meet(self) -> None:
        """Wait until it has its checkpoint open.

        Raises:
            OperatorError: It ended before.
        """
        assert self._process.stdout  # noqa: S101 - opened as a pipe above
        if not self._process.stdout.readline():
            raise OperatorError("The helper for ROTOSCOPE_RANKS=2 ended; its log says why.")
        join(f"{self._folder.name}/store", self._backend, WORKER)

    def say(self, words: Mapping[str, Any]) -> None:
        assert self._process.stdin  # noqa: S101 - opened as a pipe above
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    @reaching()
    def dress(self, loras: Sequence[Lora]) -> None:
        """Have it use exactly these LoRAs from here on."""
        files = [(str(lora.file.path), lora.file.scale) for lora in loras]
        self.say({"do": "dress", "loras": files})

    @reaching()
    def ask(self, inputs: Mapping[str, Any], *, half: bool = False) -> None:
        """Have it compute a row of the transformer, or half of one."""
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        plain = {name: value for name, value in inputs.items() if name not in tensors}
        self.say({"do": "compute", "tensors": list(tensors), "plain": plain, "half": half})
        for tensor in tensors.values():
            send(tensor, HELPER)

    @reaching()
    def answer(self) -> tuple[Tensor, Tensor]:
        """The row's picture and sound, on the CPU."""
        return receive(HELPER), receive(HELPER)

    def end(self) -> None:
        """Stop it, whatever it does: it keeps nothing."""
        assert self._process.stdin  # noqa: S101 - opened as a pipe above
        assert self._process.stdout  # noqa: S101 - likewise
        self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what it was not told any more
            self._process.stdin.close()
        self._process.stdout.close()
        self._folder.cleanup()
        dist.destroy_process_group()


class TwoRanks(Pipeline):
    """A pipeline whose transformer leaves a row of each batch of several to a helper.

    Of a batch of one it leaves half, if the operator asked for it.
    """

    @classmethod
    def start(cls, settings: Settings) -> "TwoRanks":
        helper = Helper(settings)
        two = cls.open(settings)
        helper.meet()
        two.helper = helper
        two.halves = settings.sequence_parallel
        torch.set_num_threads(half_of_threads())
        return two

    helper: Helper | None = None
    halves = False

    def apart(self, plan: Plan) -> bool:
        """Two guesses are apart already where a helper computes one."""
        return self.helper is None and super().apart(plan)

    @contextmanager
    def _transformer_with(self, loras: Sequence[Lora]) -> Iterator[None]:
        transformer = self.models.transformer
        with super()._transformer_with(loras):
            transformer.forward = partial(self._compute, transformer.forward, [*loras], [])
            try:
                yield
            finally:
                del transformer.forward

    def _compute(
        self, forward: Forward, loras: list[Lora], told: list[Helper], **inputs: Any
    ) -> Any:
        """The transformer's answer; `told` has the helper once it wears `loras`."""
        helper, several = self.helper, len(inputs["hidden_states"]) > 1
        if helper is None or not (several or self.halves):
            return forward(**inputs)
        try:
            if not told:
                helper.dress(loras)
                told.append(helper)
            return (self._rows if several else self._half)(helper, forward, inputs)
        except PeerLostError as error:
            self._do_without(helper, error)
            return forward(**inputs)

    @staticmethod
    def _rows(helper: Helper, forward: Forward, inputs: Mapping[str, Any]) -> Any:
        """All rows, the first of them by the helper."""
        helper.ask(first_row(inputs))
        try:
            here = forward(**later_rows(inputs))
        finally:
            # Read whatever happens here, or the next question would get it.
            first = helper.answer()
        here.sample = torch.cat([first[0].to(here.sample), here.sample])
        here.audio_sample = torch.cat([first[1].to(here.audio_sample), here.audio_sample])
        return here

    def _half(self, helper: Helper, forward: Forward, inputs: Mapping[str, Any]) -> Any:
        """A single row, half of it by the helper."""
        helper.ask(inputs, half=True)
        # No block was compiled to wait for another process.
        eager = torch.compiler.set_stance("force_eager") if self.speed.compiled else nullcontext()
        try:
            with eager:
                return forward_half(self.models.transformer, forward, WORKER, inputs)
        except PeerLostError:
            raise
        except BaseException as error:
            # It waits for what this process would have swapped.
            self._do_without(helper, error)
            raise

    def _do_without(self, helper: Helper, error: BaseException) -> None:
        log.warning("helper_lost", reason=str(error))
        helper.end()
        self.helper = None


def first_row(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the transformer is told of the first row, which is never the perturbed one."""
    perturbing = {"perturbation_mask", "spatio_temporal_guidance_blocks"}
    row = some_rows(inputs, slice(1))
    return {name: value for name, value in row.items() if name not in perturbing}


def later_rows(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return some_rows(inputs, slice(1, None))


def half_of_threads() -> int:
    """Of the threads that torch has here; the other process has the other half."""
    return max(1, torch.get_num_threads() // 2)


def _second_gpu() -> str:
    """What the helper may see of the GPUs that this process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
    return seen[1] if len(seen) > 1 else ""
