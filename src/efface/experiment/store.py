"""Models and their predictions on disk, each under a signature of all that made it: asked for twice, made once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from efface.data.batches import BatchLoader, derive
from efface.data.faces import Array, Splits
from efface.data.verification import Verification
from efface.distributed import processes
from efface.errors import InputError
from efface.evaluation.predict import known_of_faces, predict
from efface.evaluation.pseudonyms import key_of, pseudonyms
from efface.experiment.signatures import signature_of
from efface.files import load_columns_if_whole, save_columns, sha256_of, write_text
from efface.measures.predictions import Predictions
from efface.models.load import load_weights, read_weights, save_weights
from efface.models.normalisation import allow_lone_faces
from efface.models.precision import in_precision
from efface.settings import Precision
from efface.training.environment import Meter
from efface.training.train import counting_steps

LOCKS = ".locks"
"""Folder of the locks of several processes that work on one run; it goes when the run ends."""


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
    searched: bool = False
    """Whether its settings were searched; the record of that lies beside the models."""
    keep: tuple[int, ...] = ()
    """Epochs of its training after which its weights are kept."""
    teachers: tuple[Stage, ...] = ()
    """Models that it learned from and that must be made before, beside those of its line."""

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
    precision: Precision = "fp32"
    """What all its models compute with."""

    def path(self, stage: Stage, kind: str, suffix: str) -> Path:
        """Where something of a stage lies: a readable name and the signature."""
        readable = re.sub(r"[^a-z0-9]+", "-", stage.name.lower()).strip("-")
        path = self.folder / kind / f"{readable}-seed{stage.seed}-{stage.signature[:12]}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def has(self, stage: Stage) -> bool:
        """Whether the stage's model stands here as it was written, and so do the record of its search and what it was
        to keep on the way."""
        others = [self.kept_path(stage, epoch) for epoch in stage.keep]
        others += [self.path(stage, "searches", ".json")] if stage.searched else []
        return all(map(is_whole, [self.path(stage, "models", ".safetensors"), *others]))

    def make(self, stage: Stage) -> None:
        """Make a stage's model and put it in the store with its bill, unless it stands there. Processes that train
        together all do so, and the first one writes."""
        together = processes()
        if together.agree(self.has(stage)):
            return
        checkpoint = self.path(stage, "models", ".checkpoint")
        seed = derive(stage.seed, stage.name)
        loader = BatchLoader(self.device, seed, self.tick)
        torch.manual_seed(seed)
        with Meter(self.device) as meter, counting_steps(loader):
            try:
                model = stage.make(loader, checkpoint)
            except (ValueError, RuntimeError) as error:
                if not isinstance(error, InputError) and re.search(
                    r"\b(nan|inf|infinity)\b", str(error), re.IGNORECASE
                ):
                    model = self.diverged(stage.network)
                else:
                    raise
        if together.first:
            counted = {"faces": loader.faces_used, "steps": loader.steps, "passes": loader.passes_over_watched}
            self.put(stage, model, {**meter.bill, **counted})
            checkpoint.unlink(missing_ok=True)
        together.wait()

    def put(self, stage: Stage, model: nn.Module, bill: Mapping[str, Any]) -> None:
        """Put a model in the store with what it took: seconds, cpu_seconds, faces, peak_memory_mib and, where they
        were counted, steps and passes."""
        made = {"name": stage.name, "seed": stage.seed, "settings": dict(stage.settings)}
        weights = self.path(stage, "models", ".safetensors")
        save_weights(model, weights, {**stage.network.about, **made, **bill})
        seal(weights)

    def kept_path(self, stage: Stage, epoch: int) -> Path:
        """Where a stage's weights after an epoch lie."""
        return self.path(stage, "checkpoints", f"-epoch{epoch}.safetensors")

    def keep(self, stage: Stage, epoch: int, model: nn.Module) -> None:
        """Keep a stage's weights as they are after an epoch of its training."""
        if not processes().first:
            return
        path = self.kept_path(stage, epoch)
        save_weights(model, path, {**stage.network.about, "name": stage.name, "seed": stage.seed, "epoch": epoch})
        seal(path)

    def checkpoints(self, stage: Stage) -> dict[int, dict[str, Tensor]]:
        """A stage's kept weights by epoch."""
        return {epoch: read_weights(self.kept_path(stage, epoch))[0] for epoch in stage.keep}

    def fresh(self, network: Network) -> nn.Module:
        """An untrained model on the device, channels last, that computes with the store's precision."""
        model = network.build().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return in_precision(allow_lone_faces(model), self.precision)

    def diverged(self, network: Network) -> nn.Module:
        """What stands for a model whose making ended in numbers that are none: every weight is NaN."""
        model = self.fresh(network)
        for weight in model.parameters():
            nn.init.constant_(weight, float("nan"))
        return model

    def model(self, stage: Stage) -> nn.Module:
        """A copy of a stage's model."""
        return load_weights(self.fresh(stage.network), self.path(stage, "models", ".safetensors"))

    def bill(self, stage: Stage) -> dict[str, Any]:
        """What making a stage alone took, as `put` has it."""
        return read_weights(self.path(stage, "models", ".safetensors"))[1]

    def alone(self, path: Path) -> FileLock:
        """While it is held no other process of the run makes what is to lie at this path; one that waited finds it
        there."""
        locks = self.folder / LOCKS
        locks.mkdir(exist_ok=True)
        return FileLock(locks / f"{path.parent.name}-{path.name}")

    def weights(self, stage: Stage) -> dict[str, Array]:
        """A stage's trained weights as arrays; running statistics and counters are no weights."""
        saved, _ = read_weights(self.path(stage, "models", ".safetensors"))
        with torch.device("meta"):  # names are asked for, no numbers
            network = stage.network.build()
        return {name: saved[name].numpy() for name, _ in network.named_parameters()}

    def predictions(self, stage: Stage, asked: str, splits: Splits, sets: Sequence[Verification] = ()) -> Predictions:
        """What a stage's model answered to these faces and pairs, predicted once; asked: the signature of both.

        On disk people and photos stand under pseudonyms.
        """
        path = self.path(stage, "predictions", f"-{asked[:12]}.npz")
        known = known_of_faces(splits)
        with self.alone(path):
            saved = load_columns_if_whole(Predictions, path)
            if saved is not None and len(saved.outputs) == len(known["key"]):
                return replace(saved, **known)
            found = predict(self.model(stage), splits, sets, self.device)
            key = key_of(self.folder)
            hidden = replace(found, key=pseudonyms(found.key, key), identity=pseudonyms(found.identity, key))
            save_columns(hidden, path)
        return found


def seal(path: Path) -> None:
    """Write a file's SHA-256 beside it, as `sha256sum` writes it: what is read back is checked against it."""
    write_text(path.with_name(path.name + ".sha256"), f"{sha256_of(path)}  {path.name}\n")


def is_whole(path: Path) -> bool:
    """Whether a file is there, and is what was sealed."""
    try:
        about = path.stat()
        sealed = path.with_name(path.name + ".sha256").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False
    return sealed.partition(" ")[0] == _digest_of(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _digest_of(path: Path, _changed: int, _size: int) -> str:
    """The digest of a file, computed anew when it changed."""
    return sha256_of(path)
