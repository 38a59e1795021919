"""One arm of a run made ready: its faces gathered, its people divided, its models lined up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from efface.bind import Bound
from efface.datasets import GENERATORS, READERS
from efface.divide import divide
from efface.errors import InputError, nearest
from efface.faces import Faces, Material, Splits
from efface.gather import gather
from efface.groups import column, having
from efface.measures.fairness import main_group
from efface.packed import read_manifest
from efface.plan import REFERENCE, Plan, Source
from efface.recipes import Kitchen, line_up, reference
from efface.results import Environment, Request
from efface.shadows import Shadow, shadows_of
from efface.stages import Shelf, Stage
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
    spare: Stage | None
    """The reference of one more seed, where the plan has one alone and is audited: every distance needs its floor."""
    shadows: tuple[Shadow, ...]
    """Models that know how others would have answered."""
    shelf: Shelf

    def stage(self, name: str, seed: int) -> Stage:
        """The model of this name and seed."""
        return next(stage for stage in self.stages if (stage.name, stage.seed) == (name, seed))

    @property
    def models(self) -> list[Stage]:
        """Every model that is looked at, shadows aside."""
        return [*self.stages, *([self.spare] if self.spare else [])]

    def other_reference(self, seed: int) -> Stage | None:
        """A reference of another seed than this one, if there is any."""
        seeds = self.bound.plan.seeds
        after = seeds[(seeds.index(seed) + 1) % len(seeds)]
        return self.spare if after == seed else self.stage(REFERENCE, after)


def set_up(name: str, bound: Bound, out: Path, device: torch.device, machine: Environment, watch: Watch) -> Arm:
    """Gather the faces, divide the people, and line up the models."""
    plan = bound.plan
    gathered = gather(plan.data, bound.task, out / "faces", watch)
    parts = column(gathered.table, plan.split.by, "split.by").to_numpy(str) if plan.split.by else None
    fixed = gathered.table["split_of_source"].to_numpy(str)
    marked = having(gathered.table, plan.forget.where, "forget.where") if plan.forget.where else None
    labels, now = plan.data[0].label, plan.forget.round or 1
    divided = [divide(gathered.faces, plan.split, one, parts, fixed, marked)
               for one in (plan.forget.model_copy(update={"round": number}) for number in range(1, now + 1))]
    rounds = [confused(*bound.task.settle(raw, labels), plan.forget.confuse) for raw in divided]
    so_far, (splits, names) = [settled for settled, _ in rounds], rounds[-1]
    sets = verification_sets(plan.verify, gathered.faces, splits)
    shelf = Shelf(out, device, watch.tick)
    kitchen = Kitchen(bound, gathered, shelf, machine)
    materials = in_turn(so_far)
    stages = tuple(stage for seed in plan.seeds
                   for stage in line_up(kitchen, so_far, len(names), materials, seed))
    audited = len(plan.seeds) == 1 and (plan.audit is not None or plan.accept)
    spare = reference(kitchen, splits, len(names), plan.seeds[0] + 1) if audited else None
    shadows = shadows_of(kitchen, divided[-1], splits, len(names))
    return Arm(name, bound, splits, names if bound.task.labels != "none" else (), sets, stages, spare, shadows, shelf)


def confused(
    splits: Splits, names: tuple[str, ...], pair: tuple[str, str] | None,
) -> tuple[Splits, tuple[str, ...]]:
    """The splits with the forgotten of two classes labelled as the other one.

    Raises InputError for a class that does not exist, or of which nobody is forgotten.
    """
    if pair is None:
        return splits, names
    one, other = (names.index(name) if name in names else -1 for name in pair)
    for name, number in zip(pair, (one, other), strict=True):
        if number < 0 or not (splits.forget.targets == number).any():
            raise InputError(f"forget.confuse: nobody who is to be forgotten has the class '{name}'"
                             f"{nearest(name, names)}")
    was = splits.forget.targets
    swapped = np.where(was == one, other, np.where(was == other, one, was))
    return replace(splits, forget=replace(splits.forget, targets=swapped)), names


def in_turn(rounds: Sequence[Splits]) -> list[Material]:
    """What a method is handed in each round: those newly asked for, and whom nobody has asked to forget yet."""
    before: Faces | None = None
    materials = []
    for splits in rounds:
        new = ~np.isin(splits.forget.keys, [] if before is None else before.keys)
        materials.append(Material(splits.forget[np.flatnonzero(new)], splits.retain, splits.public, before))
        before = splits.forget
    return materials


def describe(arm: Arm) -> Request:
    """What an arm was asked, in numbers."""
    plan, parts = arm.bound.plan, [(name, faces) for name, faces in arm.splits.items() if len(faces)]
    return Request(
        arm=arm.name,
        task=plan.task,
        goal=plan.goal,
        forgotten_group=plan.forget.group or main_group(arm.splits.forget.groups),
        faces={name: {group: int((faces.groups == group).sum()) for group in np.unique(faces.groups).tolist()}
               for name, faces in parts},
        people={name: {group: len(np.unique(faces.identities[faces.groups == group]))
                       for group in np.unique(faces.groups).tolist()} for name, faces in parts},
        image_shape=arm.splits.forget.shape,
        classes=list(arm.names),
        round=plan.forget.round,
        skew=plan.forget.skew if isinstance(plan.forget.skew, float) else None,
        warnings=warnings_of(plan),
        pairs={one.name: len(one) for one in arm.sets},
        pairs_left_out={one.name: one.left_out for one in arm.sets},
        sources=[source_card(source) for source in plan.data],
    )


def warnings_of(plan: Plan) -> list[str]:
    """What a reader must know before believing a number."""
    said = [f"“{name}” was handed the strangers that the attack is scored with: its attack says nothing."
            for name, stage in plan.methods.items() if stage.public == "strangers"]
    if plan.reference.reweight:
        said.append("The reference was retrained with its faces reweighted (REWEIGHT), so that every group counts as "
                    "much as before the forgetting: it is the goal of a group-robust method, not of plain retraining.")
    if any(source.group_file for source in plan.data):
        said.append("Groups were predicted by a classifier, not known: where it errs, so do all measures by group.")
    if any(source.group_clusters for source in plan.data):
        said.append("Groups are clusters of the pictures themselves, not of people who belong together: they say who "
                    "looks alike to a camera, and nothing of anybody's background.")
    if plan.model.pretrained is not None and plan.model.pretrained_for == "original":
        said.append(f"The original started from {plan.model.pretrained.name}, the reference from random weights: what "
                    "differs between them is the recipe as well as the forgotten.")
    if plan.forget.first is not None:
        said.append(f"The first {plan.forget.first:,} photos were forgotten, wherever that cut: of one person some "
                    "photos may be retained.")
    if plan.audit is not None and plan.split.held_back and plan.task == "recognition":
        said.append(f"{plan.split.held_back} photos of each trained person are held back and none of a stranger's: the "
                    "forgotten and strangers differ in how many photos they have, and an attack may see that; for an "
                    "audit leave out split.held_back.")
    return said


def source_card(source: Source) -> dict[str, str]:
    """Whose faces these are and under which terms."""
    if source.path is not None and source.name == "packed":
        manifest = read_manifest(source.path)
        return {field: str(manifest[field]) for field in ("name", "title", "licence", "home")}
    card = (GENERATORS.get(source.name) or READERS[source.name]).card
    return {"name": card.name, "title": card.title, "licence": card.licence, "home": card.home}
