"""Shadow models: the same network, trained in the same way on the retained and on half of the people in question.

The people in question are the forgotten and the strangers. Each shadow has a random half of them, and the next one
the other half, so that of every person as many models exist that were trained on them as were not. An attack then
knows, face by face, how a model answers that saw it and how one that did not. Shadows belong to no seed of the plan
and to no method: one set serves every row and every arm with the same people.

What an attack may claim does not rest on how well the shadows imitate the original: its false alarms are counted on
strangers. Better shadows only make it stronger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array, Faces, MethodData, Splits, together
from efface.errors import InputError
from efface.experiment.builder import ModelBuilder, Teacher, chain_to
from efface.experiment.store import Stage
from efface.measures.predictions import Predictions
from efface.models.precision import Precision
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
class Shadow:
    """One shadow of an arm."""

    stage: Stage
    faces: Faces
    """What it is trained on."""
    included: frozenset[str]
    """The people in question that it was trained on."""
    gone: frozenset[str]
    """Those of them that it is made to forget, as many as the original is."""
    unlearned: dict[str, tuple[Stage, ...]]
    """By the name of a row: the stages that make this shadow forget those, as that row's original was made to forget
    the forgotten."""


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
        mine = splits_as_if(splits, frozenset(people.names[included].tolist()))
        names: tuple[str, ...] = ()
        if task.labels == "none":
            mine, names = task.settle(mine, ())
        network = builder.network(len(names) if task.labels == "none" else classes)
        faces = together(mine.forget, mine.retain)
        trained = builder.trained(f"shadow {number}", audit.seed + number, faces, network, model.pretrained, how)
        gone = as_many(people.names[included], len(np.unique(splits.forget.identities)), audit.seed + number)
        unlearned = {}
        for row in audit.unlearn:
            stage, line = trained, []
            for resolved in chain_to(builder.resolved.stages, row):
                asked = asked_to_forget(mine, gone)
                stage = builder.unlearned(resolved, stage, asked, mine, teachers.get(resolved.teacher, ()), how)
                line.append(stage)
            unlearned[row] = tuple(line)
        shadows.append(Shadow(trained, faces, frozenset(people.names[included].tolist()), gone, unlearned))
    return tuple(shadows)


def as_many(names: Array, count: int, seed: int) -> frozenset[str]:
    """So many of these people at random, or all there are: a shadow is to forget no more than the original is."""
    return frozenset(np.random.default_rng([seed, 3]).permutation(names)[:count].tolist())


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
    """All that is to be made for some shadows, each after the one it starts from."""
    return [
        stage
        for shadow in shadows
        for stage in (shadow.stage, *(one for line in shadow.unlearned.values() for one in line))
    ]
