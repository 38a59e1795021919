"""How a model was trained, as its owner says, and models trained that way: a reference without the people who asked,
and shadow models for an attack."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from efface.data.augment import Augment
from efface.data.batches import BatchLoader
from efface.data.faces import Array, Faces
from efface.erasure.contract import ContractedNetwork
from efface.erasure.photos import numbered
from efface.errors import InputError, refusing
from efface.files import read_text
from efface.models.heads import HeadName, make_head
from efface.models.precision import computing_in
from efface.models.recogniser import Recogniser
from efface.models.reset import reinitialise
from efface.settings import Count, Positive, Precision, Strength, validated
from efface.tasks import Task
from efface.training.train import Optimiser, train


@dataclass(frozen=True)
class Recipe:
    """How a model was trained."""

    epochs: int
    batch: int
    optimiser: Optimiser
    lr: float
    weight_decay: float
    milestones: tuple[int, ...]
    """Epochs after which the rate falls to a tenth; none: it falls along a cosine."""
    augment: Augment
    head: HeadName
    """Of a recogniser: the loss that tells its people apart, its margin and its scale."""
    margin: float | None
    scale: float

    def trained(
        self,
        network: ContractedNetwork,
        task: Task,
        faces: Faces,
        device: torch.device,
        seed: int,
        answers: Array,
        precision: Precision,
    ) -> ContractedNetwork:
        """A network like another, trained on some faces from new weights; answers (n, ...): what such a network answers
        to any images, for their shape; precision: of training alone.

        Raises InputError for a network whose weights cannot be drawn anew.
        """
        torch.manual_seed(seed)
        fresh = reinitialise(copy.deepcopy(network.network).requires_grad_(True))
        model: torch.nn.Module = ContractedNetwork(fresh, network.contract)
        if task.outputs == "embeddings":
            faces = numbered(faces)
            people = len(np.unique(faces.identities))
            model = Recogniser(model, make_head(self.head, people, answers.shape[1], self.margin, self.scale))
        with computing_in(model, precision):
            train(
                model.to(device),
                task,
                faces,
                BatchLoader(device, seed),
                epochs=self.epochs,
                lr=self.lr,
                batch=self.batch,
                weight_decay=self.weight_decay,
                optimiser=self.optimiser,
                milestones=self.milestones,
                augment=self.augment,
            )
        return ContractedNetwork(fresh.eval().requires_grad_(False), network.contract).to(device)

    def steps(self, faces: int) -> int:
        """Optimiser's steps on so many faces."""
        return self.epochs * -(-faces // self.batch)


def read_recipe(file: Path | None, task: Task) -> Recipe:
    """The recipe in a TOML file; without one, of a small recogniser or predictor of its task."""
    usual = {} if task.outputs == "embeddings" else {"optimiser": "adam", "lr": 1e-3, "weight_decay": 0.0}
    if file is None:
        return Recipe(**validated(_settings, usual, "recipe"))
    with refusing(f"recipe {file} is not valid TOML"):
        given = tomllib.loads(read_text(file, "recipe"))
    recipe = Recipe(**validated(_settings, usual | given, f"recipe {file}"))
    if wrong := [one for one in recipe.milestones if one >= recipe.epochs]:
        raise InputError(f"recipe {file}: milestone {wrong[0]} lies after the {recipe.epochs} epochs")
    return recipe


def _settings(
    *,
    epochs: Count = 40,
    batch: Count = 64,
    optimiser: Optimiser = "sgd",
    lr: Positive = 0.05,
    weight_decay: Strength = 5e-4,
    milestones: tuple[Count, ...] = (),
    augment: Augment = "none",
    head: HeadName = "arcface",
    margin: Strength | None = None,
    scale: Positive = 32.0,
) -> None:
    """The schema of a recipe."""
