"""One arm of a run made ready: its faces gathered, its people divided, its models lined up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from efface.data.duplicates import copies_between, in_one_part, said
from efface.data.faces import Faces, MethodData, Splits
from efface.data.groups import column, having
from efface.data.misfiled import misfiled
from efface.data.split import split_faces
from efface.data.verification import Verification, verification_sets
from efface.errors import InputError, nearest
from efface.experiment.builder import ModelBuilder, reference, stages_of_seed
from efface.experiment.folds import teachers_of
from efface.experiment.loading import load_sources
from efface.experiment.measurable import check_groups
from efface.experiment.resolve import ResolvedPlan
from efface.experiment.shadows import Shadow, shadows_of
from efface.experiment.store import ModelStore, Stage
from efface.progress import Progress
from efface.results import REFERENCE, Environment
from efface.training.environment import precision_on

MOST_REFERENCES = 10
"""Retrained models that the noise floor compares, all with all: 45 pairs."""


@dataclass(frozen=True)
class Arm:
    """One arm, ready to be worked on."""

    name: str
    resolved: ResolvedPlan
    splits: Splits
    names: tuple[str, ...]
    """Of the classes or attributes that are answered; none where answers are something else."""
    sets: tuple[Verification, ...]
    """Pairs to tell apart, of people no model was trained on."""
    stages: tuple[Stage, ...]
    """Every model to be made, each after the one it starts from."""
    extra_reference: Stage | None
    """The reference of one more seed, where the plan has one alone and is audited: every distance needs its floor."""
    shadows: tuple[Shadow, ...]
    """Models that know how others would have answered."""
    store: ModelStore
    asked_in: dict[str, int]
    """By the key of each forgotten face the round that asked for it, from 1."""
    misfiled: dict[str, str]
    """By the name of each person some of whose photos were misfiled, under whose name these are."""
    duplicates: list[str]
    """What must be known of people and photos that stand there twice."""

    def stage(self, name: str, seed: int) -> Stage:
        """The model of this name and seed."""
        return next(stage for stage in self.stages if (stage.name, stage.seed) == (name, seed))

    @property
    def teachers(self) -> list[Stage]:
        """Every model that a method learns from, once, to be made before the others."""
        return list({one.signature: one for stage in self.stages for one in stage.teachers}.values())

    @property
    def models(self) -> list[Stage]:
        """Every model that is looked at, shadows aside."""
        return [*self.stages, *([self.extra_reference] if self.extra_reference else [])]

    def reference(self, seed: int) -> Stage:
        """The retrained model of this seed."""
        if self.extra_reference and self.extra_reference.seed == seed:
            return self.extra_reference
        return self.stage(REFERENCE, seed)

    @property
    def reference_seeds(self) -> list[int]:
        """Seeds of all retrained models, in order."""
        return sorted([*self.resolved.plan.seeds, *([self.extra_reference.seed] if self.extra_reference else [])])

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of seeds of the noise floor, the smaller first: the second one's retrained model is measured as if it
        were a method's, beside the first one's original and reference."""
        return list(combinations(self.reference_seeds[:MOST_REFERENCES], 2))

    def other_seed(self, seed: int) -> int:
        """The seed whose retrained model the attacks on this seed's rows know nothing of: so they know as many as the
        attacks on a pair of retrained models do."""
        seeds = self.reference_seeds
        return seeds[(seeds.index(seed) + 1) % len(seeds)]


def set_up(
    name: str,
    resolved: ResolvedPlan,
    out: Path,
    device: torch.device,
    machine: Environment,
    progress: Progress,
    *,
    packed: bool = False,
) -> Arm:
    """Gather the faces, divide the people, and line up the models. packed: whoever started this process has packed the
    faces into the run's folder."""
    plan = resolved.plan
    loaded = load_sources(plan.data, resolved.task, out / "faces", progress, packed=packed)
    parts = column(loaded.table, plan.split.by, "split.by").to_numpy(str) if plan.split.by else None
    fixed = loaded.table["split_of_source"].to_numpy(str)
    if loaded.aliases:
        joined = set(loaded.aliases.values())
        parts = None if parts is None else in_one_part(parts, loaded.faces.identities, joined)
        fixed = in_one_part(fixed, loaded.faces.identities, joined)
    marked = having(loaded.table, plan.forget.where, "forget.where") if plan.forget.where else None
    labels, now = plan.data[0].label, plan.forget.round or 1
    divided = [
        split_faces(loaded.faces, plan.split, one, parts, fixed, marked, loaded.aliases)
        for one in (plan.forget.model_copy(update={"round": number}) for number in range(1, now + 1))
    ]
    under: dict[str, str] = {}
    if plan.forget.misfile is not None:
        album, under = misfiled(divided[-1], plan.forget.misfile, plan.split.seed)
        divided = [album]
    rounds = [confused(*resolved.task.settle(raw, labels), plan.forget.confuse) for raw in divided]
    so_far, (splits, names) = [settled for settled, _ in rounds], rounds[-1]
    check_groups(plan.accept, np.unique(splits.test.groups).tolist())
    sets = verification_sets(plan.verify, loaded.faces, splits)
    store = ModelStore(out, device, progress.tick, precision_on(device, plan.precision))
    builder = ModelBuilder(resolved, loaded, store, machine)
    materials = in_turn(so_far)
    teachers = {seed: teachers_of(builder, divided[-1], splits, len(names), seed) for seed in plan.seeds}
    stages = tuple(
        stage
        for seed in plan.seeds
        for stage in stages_of_seed(builder, so_far, len(names), materials, seed, teachers[seed])
    )
    audited = len(plan.seeds) == 1 and (plan.audit is not None or plan.accept)
    extra_reference = reference(builder, splits, len(names), plan.seeds[0] + 1) if audited else None
    shadows = shadows_of(builder, divided[-1], splits, len(names), teachers[plan.seeds[0]])
    return Arm(
        name,
        resolved,
        splits,
        names if resolved.task.labels != "none" else (),
        sets,
        stages,
        extra_reference,
        shadows,
        store,
        rounds_of(materials),
        under,
        said(copies_between(splits), len(loaded.aliases), len(np.unique(loaded.faces.identities))),
    )


def rounds_of(materials: Sequence[MethodData]) -> dict[str, int]:
    """By the key of each face that is to be forgotten: the round that asks for it, from 1."""
    return {key: number for number, asked in enumerate(materials, start=1) for key in asked.forget.keys.tolist()}


def confused(
    splits: Splits,
    names: tuple[str, ...],
    pair: tuple[str, str] | None,
) -> tuple[Splits, tuple[str, ...]]:
    """The splits with the forgotten of two classes labelled as the other one.

    Raises InputError for a class that does not exist, or of which nobody is forgotten.
    """
    if pair is None:
        return splits, names
    one, other = (names.index(name) if name in names else -1 for name in pair)
    for name, number in zip(pair, (one, other), strict=True):
        if number < 0 or not (splits.forget.targets == number).any():
            raise InputError(
                f"forget.confuse: nobody who is to be forgotten has the class '{name}'{nearest(name, names)}"
            )
    was = splits.forget.targets
    swapped = np.where(was == one, other, np.where(was == other, one, was))
    return replace(splits, forget=replace(splits.forget, targets=swapped)), names


def in_turn(rounds: Sequence[Splits]) -> list[MethodData]:
    """What a method is handed in each round: those newly asked for, and whom nobody has asked to forget yet."""
    before: Faces | None = None
    materials = []
    for splits in rounds:
        new = ~np.isin(splits.forget.keys, [] if before is None else before.keys)
        materials.append(MethodData(splits.forget[np.flatnonzero(new)], splits.retain, splits.public, before))
        before = splits.forget
    return materials
