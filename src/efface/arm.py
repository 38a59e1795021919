"""One arm of a run made ready: its faces gathered, its people divided, its models lined up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from efface.bind import Bound, BoundStage
from efface.datasets import GENERATORS, READERS
from efface.divide import divide
from efface.faces import Faces, Splits, together
from efface.feed import Feed
from efface.gather import Gathered, column, gather
from efface.measures.fairness import main_group
from efface.models.load import is_backbone, load_weights, read_weights
from efface.models.recogniser import Recogniser, function_named
from efface.packed import read_manifest
from efface.plan import Source
from efface.results import Environment, Request
from efface.stages import Shelf, Stage, code_of
from efface.tasks import Task
from efface.train import place_head, train
from efface.verify import Verification, verification_sets
from efface.watch import Watch


@dataclass(frozen=True)
class Arm:
    """One arm, ready to be worked on."""

    name: str
    bound: Bound
    splits: Splits
    sets: tuple[Verification, ...]
    """Pairs to tell apart, of people no model was trained on."""
    stages: tuple[Stage, ...]
    """Every model to be made, each after the one it starts from."""
    shelf: Shelf

    def stage(self, name: str, seed: int) -> Stage:
        """The model of this name and seed."""
        return next(stage for stage in self.stages if (stage.name, stage.seed) == (name, seed))


def set_up(name: str, bound: Bound, out: Path, device: torch.device, machine: Environment, watch: Watch) -> Arm:
    """Gather the faces, divide the people, and line up the models."""
    plan = bound.plan
    gathered = gather(plan.data, bound.task, out / "faces", watch)
    parts = column(gathered.table, plan.split.by, "split.by").to_numpy(str) if plan.split.by else None
    fixed = gathered.table["split_of_source"].to_numpy(str)
    splits, classes = bound.task.settle(divide(gathered.faces, plan.split, plan.forget, parts, fixed))
    sets = verification_sets(plan.verify, gathered.faces, splits)
    shape = gathered.faces.shape
    about = {"task": plan.task, "model": plan.model.name, "model_settings": bound.model_settings, "shape": shape,
             "classes": classes}
    shelf = Shelf(out, device, lambda: bound.build(shape, classes, **bound.model_settings), about, watch.tick)
    stages = tuple(stage for seed in plan.seeds for stage in line_up(bound, gathered, splits, shelf, machine, seed))
    return Arm(name, bound, splits, sets, stages, shelf)


def line_up(
    bound: Bound, gathered: Gathered, splits: Splits, shelf: Shelf, machine: Environment, seed: int,
) -> list[Stage]:
    """The models of one seed: the original, the reference that never saw the forgotten, and one per method."""
    task, recipe, weights = bound.task, bound.train_settings, bound.plan.model.weights
    own = [function_named(bound.model_settings["factory"])] if "factory" in bound.model_settings else []
    ingredients = [
        gathered.signature, task.name, bound.plan.model.name, bound.model_settings,
        code_of(train, Feed, bound.build, task.loss, *own), machine.versions["torch"], machine.device, machine.threads,
    ]

    def trained(name: str, faces: Faces) -> Stage:
        def make(feed: Feed, checkpoint: Path) -> nn.Module:
            return train(shelf.fresh(), task, faces, feed, checkpoint, **recipe)

        return Stage(name, seed, recipe, [*ingredients, fingerprint(faces)], make)

    def given(file: Path) -> Stage:
        content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None

        def make(feed: Feed, checkpoint: Path) -> nn.Module:
            model = load_weights(shelf.fresh(), file)
            if isinstance(model, Recogniser) and is_backbone(read_weights(file)[0]):
                place_head(model, everyone, feed)
            return model

        return Stage("original", seed, {"weights": file.name}, [*ingredients, content, fingerprint(everyone)], make)

    everyone = together(splits.forget, splits.retain)
    original = given(weights) if weights else trained("original", everyone)
    made = {"original": original, "reference": trained("reference", splits.retain)}
    for stage in bound.stages:
        made[stage.name] = unlearned(stage, made[stage.after], task, splits, shelf)
    return list(made.values())


def unlearned(bound: BoundStage, before: Stage, task: Task, splits: Splits, shelf: Shelf) -> Stage:
    """The stage in which a method is applied to what an earlier stage made."""
    material = splits.material
    seen = [fingerprint(faces) for faces in (material.forget, material.retain, material.public)]

    def make(feed: Feed, checkpoint: Path) -> nn.Module:
        return bound.method(shelf.model(before), task, material, feed, **bound.settings)

    return Stage(bound.name, before.seed, bound.settings, [seen, bound.method.__name__, code_of(bound.method)], make,
                 before)


def fingerprint(faces: Faces) -> str:
    """Which faces these are, in which order."""
    return hashlib.sha256("\x1f".join(faces.keys.tolist()).encode()).hexdigest()


def describe(arm: Arm) -> Request:
    """What an arm was asked, in numbers."""
    plan, parts = arm.bound.plan, [(name, faces) for name, faces in arm.splits.items() if len(faces)]
    return Request(
        arm=arm.name,
        task=plan.task,
        goal=plan.goal,
        forgotten_group=main_group(arm.splits.forget.groups),
        faces={name: {group: int((faces.groups == group).sum()) for group in np.unique(faces.groups).tolist()}
               for name, faces in parts},
        people={name: {group: len(np.unique(faces.identities[faces.groups == group]))
                       for group in np.unique(faces.groups).tolist()} for name, faces in parts},
        image_shape=arm.splits.forget.shape,
        pairs={one.name: len(one) for one in arm.sets},
        pairs_left_out={one.name: one.left_out for one in arm.sets},
        sources=[source_card(source) for source in plan.data],
    )


def source_card(source: Source) -> dict[str, str]:
    """Whose faces these are and under which terms."""
    if source.path is not None and source.name == "packed":
        manifest = read_manifest(source.path)
        return {field: str(manifest[field]) for field in ("name", "title", "licence", "home")}
    card = (GENERATORS.get(source.name) or READERS[source.name]).card
    return {"name": card.name, "title": card.title, "licence": card.licence, "home": card.home}
