"""Shadow models: the same network, trained in the same way on the retained and on half of the people in question.

The people in question are the forgotten and the strangers. Each shadow has a random half of them, and the next one
the other half, so that of every person as many models exist that were trained on them as were not. An attack then
knows, face by face, how a model answers that saw it and how one that did not. Shadows belong to no seed of the plan
and to no method: one set serves every row and every arm with the same people.

What an attack may claim does not rest on how well the shadows imitate the original: its false alarms are counted on
strangers. Better shadows only make it stronger.

For U-LiRA (Hayes et al., SaTML 2025, arXiv:2403.01218) shadows are made to forget as a row's original was: each time as
many people as the original forgets, drawn from all in question that the shadow was trained on, so that strangers, who
are the attack's non-members, are asked about in the same way as the forgotten. A copy of a shadow forgets each set
(`forget_sets`; published implementations take several sets of each model too). A method that learns from models of
folds learns from models that never met whom the shadow forgets: those of the run's first seed, which met no stranger
and, of the forgotten, each a share, or (`folds = "own"`) models of the shadow's own people, dealt and trained as the
run's are. With the first the attacker knows the very teachers of that seed's model, more than the paper grants; of
other seeds the teachers are others, and the attack is weaker than it could be. With the second nothing is shared but
the procedure, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array, Faces, MethodData, Splits, together
from efface.errors import InputError
from efface.experiment.builder import ModelBuilder, Teacher, chain_to
from efface.experiment.folds import fold_models
from efface.experiment.resolve import ResolvedMethod
from efface.experiment.store import Stage
from efface.measures.predictions import Predictions
from efface.settings import Precision
from efface.tasks import Task

Way = Literal["in turn", "processes", "stacked"]


def way_of(asked: Literal["auto"] | Way, task: Task, device: str, threads: int, precision: Precision = "fp32") -> Way:
    """How shadows are made where the plan leaves it open: by what is fastest (benchmarks/many_models.py).

    Raises InputError for a stack of networks that cannot be stacked.
    """
    stackable = task.stackable and precision != "fp16"
    if asked == "stacked" and not stackable:
        what = f"on task '{task.name}'" if not task.stackable else "in fp16"
        raise InputError(f"audit.train = 'stacked' does not work {what}: give 'processes' or leave it out")
    if asked != "auto":
        return asked
    if device != "cpu":
        return "stacked" if stackable else "in turn"
    return "processes" if threads > 1 else "in turn"


@dataclass(frozen=True)
class Forgetting:
    """Whom a copy of a shadow is made to forget, and who stand beside them as never trained on."""

    gone: frozenset[str]
    """As many as the original forgets, or all that the shadow was trained on."""
    never: frozenset[str]
    """People in question whom the shadow never met, a share of them for each copy: what it answers to these is compared
    with what it answers to those."""


@dataclass(frozen=True)
class Shadow:
    """One shadow of an arm."""

    stage: Stage
    faces: Faces
    """What it is trained on."""
    included: frozenset[str]
    """The people in question that it was trained on."""
    forgetting: tuple[Forgetting, ...]
    """Sets of its people that it is made to forget, each by a copy of it."""
    unlearned: dict[str, tuple[tuple[Stage, ...], ...]]
    """By the name of a row, for each of those sets: the stages that make this shadow forget it, as that row's original
    was made to forget the forgotten."""
    teachers: tuple[Stage, ...] = ()
    """Models of its own folds, where it learns from these to forget."""

    @property
    def gone(self) -> frozenset[str]:
        """Everybody whom a copy of it forgets."""
        return frozenset[str]().union(*(one.gone for one in self.forgetting))


def shadows_of(
    builder: ModelBuilder,
    raw: Splits,
    settled: Splits,
    classes: int,
    teachers: Mapping[str, Sequence[Teacher]],
) -> tuple[Shadow, ...]:
    """The shadows a plan's audit asks for; raw: the splits before the task settled its targets; teachers: by what a
    method asks for, the same that the rows learn from. They teach shadows, and are never asked as shadows."""
    audit, task, model = builder.resolved.plan.audit, builder.resolved.task, builder.resolved.plan.model
    if audit is None or not audit.shadows:
        return ()
    way = way_of(audit.train, task, builder.store.device.type, builder.machine.threads, builder.store.precision)
    how = [way, 1 if way == "processes" else builder.machine.threads, *([audit.shadows] if way == "stacked" else [])]
    splits = raw if task.labels == "none" else settled
    people = audited_people(splits)
    shadows = []
    for number, included in enumerate(halves(people, audit.shadows, audit.seed)):
        unsettled = mine = splits_as_if(splits, frozenset(people.names[included].tolist()))
        names: tuple[str, ...] = ()
        if task.labels == "none":
            mine, names = task.settle(mine, ())
        network = builder.network(len(names) if task.labels == "none" else classes)
        faces = together(mine.forget, mine.retain)
        trained = builder.trained(f"shadow {number}", audit.seed + number, faces, network, model.pretrained, how)
        forgetting = forgotten_in_turn(
            people.names[included],
            people.names[~included],
            len(np.unique(splits.forget.identities)),
            audit.forget_sets,
            audit.seed + number,
        )
        lines = {row: chain_to(builder.resolved.stages, row) for row in audit.unlearn}
        own: tuple[Teacher, ...] = ()
        if audit.folds == "own" and any(one.teacher == "folds" for line in lines.values() for one in line):
            seed, whose = audit.seed + number, f"shadow {number}, "
            own = fold_models(builder, unsettled, unsettled, classes, seed, whose, how)
        learns_from = {**teachers, "folds": own} if own else teachers
        unlearned = {
            row: tuple(unlearning(builder, line, trained, mine, one.gone, learns_from, how) for one in forgetting)
            for row, line in lines.items()
        }
        met = frozenset(people.names[included].tolist())
        shadows.append(Shadow(trained, faces, met, forgetting, unlearned, tuple(one.stage for one in own)))
    return tuple(shadows)


def unlearning(
    builder: ModelBuilder,
    line: Sequence[ResolvedMethod],
    shadow: Stage,
    splits: Splits,
    gone: frozenset[str],
    teachers: Mapping[str, Sequence[Teacher]],
    how: Any,
) -> tuple[Stage, ...]:
    """The stages of a row that make a shadow forget these people; splits: as the shadow was trained on them."""
    asked, stage, made = asked_to_forget(splits, gone), shadow, []
    for resolved in line:
        stage = builder.unlearned(resolved, stage, asked, splits, teachers.get(resolved.teacher, ()), how)
        made.append(stage)
    return tuple(made)


def forgotten_in_turn(names: Array, others: Array, count: int, sets: int, seed: int) -> tuple[Forgetting, ...]:
    """Up to `sets` sets of `count` of the people a shadow was trained on (`names`), nobody in two of them, and the
    people it never met (`others`) dealt to these sets.

    A shadow is to forget no more people than the original is, nor fewer: sets that would be smaller are left out, but
    for the first.
    """
    order = np.random.default_rng([seed, 3]).permutation(names)
    full = max(1, min(sets, len(order) // count))
    beside = np.random.default_rng([seed, 5]).permutation(others)
    return tuple(
        Forgetting(frozenset(order[one * count : (one + 1) * count].tolist()), frozenset(beside[one::full].tolist()))
        for one in range(full)
    )


def asked_to_forget(splits: Splits, people: frozenset[str]) -> MethodData:
    """What a method is handed to make a shadow forget these people; it keeps the others it was trained on."""
    mine = np.isin(splits.forget.identities, list(people))
    if mine.all():
        return splits.data
    kept = together(splits.retain, splits.forget[np.flatnonzero(~mine)])
    return MethodData(splits.forget[np.flatnonzero(mine)], kept, splits.public)


@dataclass(frozen=True)
class AuditedPeople:
    """The people whom shadows may or may not have been trained on."""

    names: Array
    """(p,)"""
    strata: Array
    """(p,) split and group."""


def audited_people(splits: Splits) -> AuditedPeople:
    """The forgotten and the strangers, each once."""
    names, strata = [], []
    for split, faces in (("forget", splits.forget), ("strangers", splits.strangers)):
        people, first = np.unique(faces.identities, return_index=True)
        names.append(people)
        strata.append(np.char.add(f"{split}\x1f", faces.groups[first]))
    return AuditedPeople(np.concatenate(names), np.concatenate(strata))


def halves(people: AuditedPeople, count: int, seed: int) -> NDArray[np.bool_]:
    """(count, p) whom each shadow is trained on: half of each stratum at random, then the other half."""
    included = np.zeros((count, len(people.names)), bool)
    for pair in range(0, count, 2):
        rng = np.random.default_rng([seed, pair])
        for stratum in np.unique(people.strata):
            members = rng.permutation(np.flatnonzero(people.strata == stratum))
            included[pair, members[: (len(members) + int(rng.integers(2))) // 2]] = True
        included[pair + 1] = ~included[pair]
    return included


def splits_as_if(splits: Splits, included: frozenset[str]) -> Splits:
    """The splits as if these people in question were the forgotten and all others strangers; nothing else but
    `retain` and `public` is left."""
    everyone = together(splits.forget, splits.strangers)
    mine = np.isin(everyone.identities, list(included))
    nobody = splits.test[np.zeros(0, int)]
    return replace(
        splits,
        forget=everyone[np.flatnonzero(mine)],
        strangers=everyone[np.flatnonzero(~mine)],
        forget_unseen=nobody,
        retain_unseen=nobody,
        val=nobody,
        test=nobody,
    )


def shadow_queries(splits: Splits) -> Splits:
    """The faces that shadows are asked about: those in question, and test faces as a population."""
    nobody = splits.test[np.zeros(0, int)]
    return replace(splits, forget_unseen=nobody, retain=nobody, retain_unseen=nobody, public=nobody, val=nobody)


def membership_mask(people: Sequence[frozenset[str]], predictions: Predictions) -> NDArray[np.bool_]:
    """(s, n) whether each face in question is of these people, a set of them for each shadow."""
    asked = np.isin(predictions.split, ["forget", "strangers"])
    return np.stack([np.isin(predictions.identity, list(names)) & asked for names in people])


def all_stages(shadows: Sequence[Shadow]) -> list[Stage]:
    """All that is to be made for some shadows, each after the one it starts from and those it learns from."""
    return [
        stage
        for shadow in shadows
        for stage in (
            shadow.stage,
            *shadow.teachers,
            *(one for lines in shadow.unlearned.values() for line in lines for one in line),
        )
    ]
