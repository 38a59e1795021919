"""Models and their predictions on disk, each under a signature of all that made it: asked for twice, made once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efface.data.batches import BatchLoader, derive
from efface.data.faces import Array
from efface.experiment.signatures import signature_of
from efface.files import load_columns, save_columns
from efface.measures.predictions import Predictions
from efface.models.load import load_weights, read_weights, save_weights
from efface.training.environment import Meter
from efface.training.train import counting_steps


@dataclass(frozen=True)
class Network:
    """What a model is before anything was learned."""

    build: Callable[[], nn.Module]
    about: Mapping[str, Any]
    """What is to be known of it to build it elsewhere: saved with the weights."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One model of a run: the original, the reference, what a method made, or a shadow of these."""

    name: str
    seed: int
    settings: Mapping[str, Any]
    signature_inputs: Any
    """Plain data: whatever the weights follow from, but for name and seed."""
    network: Network
    make: Callable[[BatchLoader, Path], nn.Module]
    """(loader, where to keep a checkpoint) to the model."""
    before: Stage | None = None
    """The stage this one starts from; the original starts from none."""
    keep: tuple[int, ...] = ()
    """Epochs of its training after which its weights are kept."""

    @cached_property
    def signature(self) -> str:
        """Changes when anything the weights follow from does."""
        before = [self.before.name, self.before.signature] if self.before else None
        return signature_of([self.seed, dict(self.settings), self.signature_inputs, before])

    @property
    def line(self) -> list[Stage]:
        """The stages that led here, this one last."""
        return [*(self.before.line if self.before else []), self]


@dataclass(frozen=True)
class ModelStore:
    """A run's folder of models and predictions."""

    folder: Path
    device: torch.device
    tick: Callable[[int], None] | None = None

    def path(self, stage: Stage, kind: str, suffix: str) -> Path:
        """Where something of a stage lies: a readable name and the signature."""
        readable = re.sub(r"[^a-z0-9]+", "-", stage.name.lower()).strip("-")
        path = self.folder / kind / f"{readable}-seed{stage.seed}-{stage.signature[:12]}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def has(self, stage: Stage) -> bool:
        kept = (self.kept_path(stage, epoch) for epoch in stage.keep)
        return self.path(stage, "models", ".safetensors").exists() and all(path.exists() for path in kept)

    def make(self, stage: Stage) -> None:
        """Make a stage's model and put it in the store with its bill, unless it stands there."""
        if self.has(stage):
            return
        checkpoint = self.path(stage, "models", ".checkpoint")
        seed = derive(stage.seed, stage.name)
        loader = BatchLoader(self.device, seed, self.tick)
        torch.manual_seed(seed)
        with Meter(self.device) as meter, counting_steps(loader):
            model = stage.make(loader, checkpoint)
        self.put(
            stage,
            model,
            {
                "seconds": meter.seconds,
                "faces": loader.faces_used,
                "steps": loader.steps,
                "passes": loader.passes_over_watched,
                "peak_memory_mib": meter.peak_memory_mib,
            },
        )
        checkpoint.unlink(missing_ok=True)

    def put(self, stage: Stage, model: nn.Module, bill: Mapping[str, Any]) -> None:
        """Put a model in the store with what it took: seconds, faces, peak_memory_mib and, where they were counted,
        steps and passes."""
        made = {"name": stage.name, "seed": stage.seed, "settings": dict(stage.settings)}
        save_weights(model, self.path(stage, "models", ".safetensors"), {**stage.network.about, **made, **bill})

    def kept_path(self, stage: Stage, epoch: int) -> Path:
        """Where a stage's weights after an epoch lie."""
        return self.path(stage, "checkpoints", f"-epoch{epoch}.safetensors")

    def checkpoints(self, stage: Stage) -> dict[int, dict[str, Tensor]]:
        """A stage's kept weights by epoch."""
        return {epoch: read_weights(self.kept_path(stage, epoch))[0] for epoch in stage.keep}

    def fresh(self, network: Network) -> nn.Module:
        """An untrained model on the device, channels last."""
        model: nn.Module = network.build().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def model(self, stage: Stage) -> nn.Module:
        """A copy of a stage's model."""
        return load_weights(self.fresh(stage.network), self.path(stage, "models", ".safetensors"))

    def bill(self, stage: Stage) -> dict[str, Any]:
        """What making a stage alone took, as `put` has it."""
        return read_weights(self.path(stage, "models", ".safetensors"))[1]

    def weights(self, stage: Stage) -> dict[str, Array]:
        """A stage's trained weights as arrays; running statistics and counters are no weights."""
        saved, _ = read_weights(self.path(stage, "models", ".safetensors"))
        return {name: saved[name].numpy() for name, _ in stage.network.build().named_parameters()}

    def predictions(self, stage: Stage, seen: str, predict: Callable[[nn.Module], Predictions]) -> Predictions:
        """What a stage's model answered, observed once; `seen` is the signature of what it is asked."""
        path = self.path(stage, "predictions", f"-{seen[:12]}.npz")
        if not path.exists():
            save_columns(predict(self.model(stage)), path)
        return load_columns(Predictions, path)
