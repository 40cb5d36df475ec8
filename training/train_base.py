"""Train the base model: the transformer, its caption projection and the text connectors.

B  batch    N  tokens    C  latent channels
"""

import csv
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training.batches import KINDS, Batch, Batches, amplitude, importance
from training.codec import Codec
from training.gates import solve_gates
from training.network import (
    TEXT_TOKENS,
    attend_to_words,
    gate_by_text,
    make_connectors,
    make_text_encoder,
    make_tokenizer,
    make_transformer,
    start_from_reference,
    velocities,
)
from training.pool import read_pool
from training.upsampler import fit_upsampler

SEED = 7
PEAK_RATE, LAST_RATE, WARM_UP = 1e-3, 3e-5, 60
TEXT_SHARE = 2.0
AVERAGE = 0.998
SAVE_EVERY_S = 120.0
REFRESH_STEPS = 400
LOG_STEPS = 25
SOLVE_STEPS, SOLVE_BATCHES = (410, 640), 90


class Base(nn.Module):
    """What is trained, and the frozen text encoder before it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.tokenizer = make_tokenizer()
        self.text_encoder = make_text_encoder(len(self.tokenizer))
        self.connectors = make_connectors()
        self.transformer = make_transformer()
        with torch.no_grad():
            start_from_reference(self.transformer)
            attend_to_words(self.tokenizer, self.text_encoder, self.connectors, self.transformer)
            gate_by_text(self.transformer)

    def text(self, prompts: list[str]) -> Tensor:
        """As rotoscope.generation.text has it."""
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=TEXT_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            encoded = self.text_encoder.model(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                output_hidden_states=True,
            )
            layers = torch.stack(encoded.hidden_states, dim=-1).flatten(2, 3)
        video, _, _ = self.connectors(layers, tokens.attention_mask, padding_side="left")
        embedded: Tensor = video
        return embedded

    def forward(self, batch: Batch) -> Tensor:
        model, shape = self.transformer, batch.shape
        rows = len(batch.prompts)
        coords = model.rope.prepare_video_coords(rows, *shape.latent, "cpu", fps=batch.fps)
        copies = batch.noisy_BNC.shape[1] // shape.tokens
        coords = torch.cat([coords] * copies, 2)
        answer = velocities(
            model, batch.noisy_BNC, self.text(batch.prompts), 1000 * batch.timestep_BN, coords
        )
        return answer[:, : shape.tokens]


@dataclass(slots=True)
class Run:
    """A run that can be stopped at any time and taken up again."""

    folder: Path
    model: Base
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def take_up(cls, folder: Path) -> "Run":
        folder.mkdir(parents=True, exist_ok=True)
        model = Base()
        optimizer = torch.optim.AdamW(_groups(model), betas=(0.9, 0.98), weight_decay=0.005)
        run = cls(folder, model, _copy(model), optimizer)
        if (folder / "run.pt").exists():
            saved = torch.load(folder / "run.pt", weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            run.average, run.step, run.seconds = saved["average"], saved["step"], saved["seconds"]
        return run

    def save(self) -> None:
        draft = self.folder / "run.draft"
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average,
                "step": self.step,
                "seconds": self.seconds,
            },
            draft,
        )
        draft.replace(self.folder / "run.pt")

    def log(self, row: tuple[object, ...]) -> None:
        with (self.folder / "loss.csv").open("a", newline="") as file:
            csv.writer(file).writerow(row)


def train(pool: Path, codec_path: Path, folder: Path, budget_s: float) -> None:
    """Train until `budget_s` seconds of training are spent, counting earlier runs."""
    run, codec = Run.take_up(folder), Codec.load(codec_path)
    importance_C = importance(codec)
    batches = _open_batches(pool, codec, SEED + run.step)
    losses: dict[str, list[float]] = {kind: [] for kind in KINDS}
    saved = run.seconds
    while run.seconds < budget_s:
        began = time.monotonic()
        batch = batches.next()
        losses[batch.kind].append(_step(run, batch, importance_C, run.seconds / budget_s))
        run.step += 1
        if run.step in SOLVE_STEPS:
            _solve(run, batches, importance_C)
        run.seconds += time.monotonic() - began
        if run.step % LOG_STEPS == 0:
            means = (round(sum(of) / len(of), 5) if of else "" for of in losses.values())
            run.log((run.step, round(run.seconds, 1), *means))
            losses = {kind: [] for kind in KINDS}
        if run.step % REFRESH_STEPS == 0:
            batches = _open_batches(pool, codec, SEED + run.step)
        if run.seconds - saved > SAVE_EVERY_S:
            run.save()
            saved = run.seconds
    run.save()


def _solve(run: Run, batches: Batches, importance_C: Tensor) -> None:
    drawn = [batches.next() for _ in range(SOLVE_BATCHES)]
    change = solve_gates(
        run.model.transformer,
        run.model,
        lambda batch: _loss(run.model(batch), batch, importance_C).item(),
        [batch for batch in drawn if batch.kind == "reference"],
    )
    run.average["transformer.transformer_blocks.0.ff.net.2.weight"].add_(change)
    run.log((run.step, "solved", round(change.norm().item(), 3)))


def _open_batches(pool: Path, codec: Codec, seed: int) -> Batches:
    """The pool may have grown since."""
    latents = read_pool(pool)
    return Batches(latents, codec, fit_upsampler(latents, amplitude(codec)), seed)


def _step(run: Run, batch: Batch, importance_C: Tensor, progress: float) -> float:
    rate = LAST_RATE + (PEAK_RATE - LAST_RATE) * (1 + math.cos(math.pi * min(progress, 1))) / 2
    for group in run.optimizer.param_groups:
        group["lr"] = group["share"] * rate * min(1, (run.step + 1) / WARM_UP)
    run.model.train()
    loss = _loss(run.model(batch), batch, importance_C)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call] # torch has no types here
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()
    decay = min(AVERAGE, (run.step + 1) / (run.step + 10))
    for name, tensor in run.model.state_dict().items():
        if tensor.is_floating_point():
            run.average[name].lerp_(tensor, 1 - decay)
    return loss.item()


def _loss(answer_BNC: Tensor, batch: Batch, importance_C: Tensor) -> Tensor:
    """Squared error of the clean picture that the velocity implies."""
    sigma = batch.sigma_B.view(-1, 1, 1)
    noisy = batch.noisy_BNC[:, : answer_BNC.shape[1]]
    error = noisy - sigma * answer_BNC - batch.clean_BNC
    counts_BN = batch.free_BN * batch.weight_B[:, None]
    return ((error.square() * importance_C).mean(-1) * counts_BN).sum() / batch.free_BN.sum()


def _groups(model: nn.Module) -> list[dict[str, object]]:
    """What reads the prompt learns faster than what already works."""
    trained = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and "audio" not in name
    ]
    text = ("connectors", "caption_projection", "attn2")
    reading = [p for name, p in trained if any(part in name for part in text)]
    others = [p for name, p in trained if not any(part in name for part in text)]
    return [{"params": reading, "share": TEXT_SHARE}, {"params": others, "share": 1.0}]


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
