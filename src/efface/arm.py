"""One arm of a run made ready: its faces gathered, its people divided, its models lined up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from efface.augment import augmented
from efface.bind import Bound, BoundStage
from efface.datasets import GENERATORS, READERS
from efface.divide import divide
from efface.faces import Array, Faces, Material, Splits, together
from efface.feed import Feed
from efface.gather import Gathered, column, gather
from efface.measures.fairness import main_group
from efface.models.load import is_backbone, load_weights, read_weights, start_from
from efface.models.recogniser import Recogniser, function_named
from efface.packed import read_manifest
from efface.plan import Plan, Source
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
    names: tuple[str, ...]
    """Of the classes or attributes that are answered; none where answers are something else."""
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
    marked = meant(gathered, plan.forget.where) if plan.forget.where else None
    labels, now = plan.data[0].label, plan.forget.round or 1
    rounds = [bound.task.settle(divide(gathered.faces, plan.split, one, parts, fixed, marked), labels)
              for one in (plan.forget.model_copy(update={"round": number}) for number in range(1, now + 1))]
    splits, names = rounds[-1]
    classes = len(names)
    sets = verification_sets(plan.verify, gathered.faces, splits)
    shape = gathered.faces.shape
    about = {"task": plan.task, "model": plan.model.name, "model_settings": bound.model_settings, "shape": shape,
             "classes": classes}
    shelf = Shelf(out, device, lambda: bound.build(shape, classes, **bound.model_settings), about, watch.tick)
    materials = in_turn([settled for settled, _ in rounds])
    stages = tuple(stage for seed in plan.seeds
                   for stage in line_up(bound, gathered, splits, materials, shelf, machine, seed))
    return Arm(name, bound, splits, names if bound.task.labels != "none" else (), sets, stages, shelf)


def meant(gathered: Gathered, where: Mapping[str, Sequence[str]]) -> Array:
    """(n,) whether each face has one of the values in each of these columns."""
    rows = np.ones(len(gathered.table), bool)
    for name, values in where.items():
        rows &= column(gathered.table, name, f"forget.where.{name}").astype(str).isin(values).to_numpy(bool)
    return rows


def in_turn(rounds: Sequence[Splits]) -> list[Material]:
    """What a method is handed in each round: those newly asked for, and whom nobody has asked to forget yet."""
    before = np.zeros(0, str)
    materials = []
    for splits in rounds:
        newly = splits.forget[np.flatnonzero(~np.isin(splits.forget.keys, before))]
        materials.append(Material(newly, splits.retain, splits.public))
        before = splits.forget.keys
    return materials


def line_up(
    bound: Bound, gathered: Gathered, splits: Splits, materials: Sequence[Material], shelf: Shelf, machine: Environment,
    seed: int,
) -> list[Stage]:
    """The models of one seed: the original, the reference that never saw the forgotten, and one per method, which has
    been through the material of each round in turn."""
    task, recipe, model = bound.task, bound.train_settings, bound.plan.model
    own = [function_named(bound.model_settings["factory"])] if "factory" in bound.model_settings else []
    ingredients = [
        gathered.signature, task.name, bound.plan.model.name, bound.model_settings,
        code_of(train, Feed, augmented, bound.build, task.loss, *own), machine.versions["torch"], machine.device,
        machine.threads,
    ]

    def trained(name: str, faces: Faces, pretrained: Path | None) -> Stage:
        def make(feed: Feed, checkpoint: Path) -> nn.Module:
            fresh = shelf.fresh()
            return train(start_from(fresh, pretrained) if pretrained else fresh, task, faces, feed, checkpoint,
                         **recipe)

        start = [content_of_file(pretrained)] if pretrained else []
        return Stage(name, seed, recipe, [*ingredients, fingerprint(faces), *start], make)

    def given(file: Path) -> Stage:
        def make(feed: Feed, checkpoint: Path) -> nn.Module:
            model = load_weights(shelf.fresh(), file)
            if isinstance(model, Recogniser) and is_backbone(read_weights(file)[0]):
                place_head(model, everyone, feed)
            return model

        made_of = [*ingredients, content_of_file(file), fingerprint(everyone)]
        return Stage("original", seed, {"weights": file.name}, made_of, make)

    everyone = together(splits.forget, splits.retain)
    original = given(model.weights) if model.weights else trained("original", everyone, model.pretrained)
    start = model.pretrained if model.pretrained_for == "both" else None
    made = {"original": original, "reference": trained("reference", splits.retain, start)}
    before = dict.fromkeys([stage.name for stage in bound.stages], original)
    for material in materials:
        for stage in bound.stages:
            begin = before[stage.name] if stage.after == "original" else made[stage.after]
            made[stage.name] = unlearned(stage, begin, task, material, splits, shelf)
        before = {stage.name: made[stage.name] for stage in bound.stages}
    return list(made.values())


def unlearned(
    bound: BoundStage, before: Stage, task: Task, material: Material, splits: Splits, shelf: Shelf,
) -> Stage:
    """The stage in which a method is applied to what an earlier stage made."""
    if bound.public == "strangers":
        material = replace(material, public=splits.strangers)
    seen = [fingerprint(faces) for faces in (material.forget, material.retain, material.public)]

    def make(feed: Feed, checkpoint: Path) -> nn.Module:
        return bound.method(shelf.model(before), task, material, feed, **bound.settings)

    return Stage(bound.name, before.seed, bound.settings, [seen, bound.method.__name__, code_of(bound.method)], make,
                 before)


def content_of_file(file: Path) -> str | None:
    """Hash of a file; None where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


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
        classes=list(arm.names),
        round=plan.forget.round,
        warnings=warnings_of(plan),
        pairs={one.name: len(one) for one in arm.sets},
        pairs_left_out={one.name: one.left_out for one in arm.sets},
        sources=[source_card(source) for source in plan.data],
    )


def warnings_of(plan: Plan) -> list[str]:
    """What a reader must know before believing a number."""
    said = [f"“{name}” was handed the strangers that the attack is scored with: its attack says nothing."
            for name, stage in plan.methods.items() if stage.public == "strangers"]
    if plan.model.pretrained is not None and plan.model.pretrained_for == "original":
        said.append(f"The original started from {plan.model.pretrained.name}, the reference from random weights: what "
                    "differs between them is the recipe as well as the forgotten.")
    if plan.forget.first is not None:
        said.append(f"The first {plan.forget.first:,} photos were forgotten, wherever that cut: of one person some "
                    "photos may be retained.")
    return said


def source_card(source: Source) -> dict[str, str]:
    """Whose faces these are and under which terms."""
    if source.path is not None and source.name == "packed":
        manifest = read_manifest(source.path)
        return {field: str(manifest[field]) for field in ("name", "title", "licence", "home")}
    card = (GENERATORS.get(source.name) or READERS[source.name]).card
    return {"name": card.name, "title": card.title, "licence": card.licence, "home": card.home}
