"""Models of folds: the trained people dealt into parts, and on each part alone one model, once for every request.

Who stands in which fold follows from the people the original was trained on and from the seed, not from who is to be
forgotten: all requests to one original share these models. They have names and seeds of their own, so none is one of an
audit's shadows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array, Faces, Splits, together
from efface.data.split import people
from efface.errors import InputError
from efface.experiment.builder import ModelBuilder, Teacher, reference
from efface.experiment.store import Stage


def teachers_of(
    builder: ModelBuilder, raw: Splits, settled: Splits, classes: int, seed: int
) -> dict[str, Sequence[Teacher]]:
    """The models that methods may learn from, by what they ask for; raw: the splits before the task settled its
    targets."""
    asked = {stage.teacher for stage in builder.resolved.stages}
    found: dict[str, Sequence[Teacher]] = {}
    if "folds" in asked:
        found["folds"] = fold_models(builder, raw, settled, classes, seed)
    if "reference" in asked:
        other = another_reference(builder, settled, classes, seed)
        kept, asked_about = (set(faces.identities.tolist()) for faces in (settled.retain, settled.forget))
        found["reference"] = [Teacher(other, frozenset(kept - asked_about))]  # of these it met other photos, if any
    return found


def another_reference(builder: ModelBuilder, splits: Splits, classes: int, seed: int) -> Stage:
    """The reference of the plan's next seed or, where it has one alone, of one more."""
    seeds = builder.resolved.plan.seeds
    after = seeds[(seeds.index(seed) + 1) % len(seeds)] if len(seeds) > 1 else seed + 1
    return reference(builder, splits, classes, after)


def fold_models(
    builder: ModelBuilder,
    raw: Splits,
    settled: Splits,
    classes: int,
    seed: int,
    whose: str = "",
    how: Any = None,
) -> tuple[Teacher, ...]:
    """A model of each fold; whose: what their names begin with, where not the run's own; how: where they are not
    trained with all of the run's threads.

    Raises InputError where a fold would have fewer than two people.
    """
    resolved, task = builder.resolved.of_folds, builder.resolved.task
    assert resolved is not None
    assert resolved.plan.folds is not None
    folds, model = resolved.plan.folds, resolved.plan.model
    start = model.pretrained if model.pretrained_for == "both" and not folds.model else None
    making = replace(builder, resolved=resolved)
    splits = raw if task.labels == "none" else settled
    everyone, nobody = together(splits.forget, splits.retain), splits.test[np.zeros(0, int)]
    names, groups = people(everyone)
    if 2 * folds.count > len(names):
        raise InputError(
            f"folds.count = {folds.count} deals {len(names)} trained people into folds of fewer than two: give at most "
            f"{len(names) // 2}"
        )
    found = []
    for repeat in range(folds.repeats):
        of = dealt(groups, folds.count, [seed, 4, repeat])
        for fold in range(folds.count):
            mine = names[of == fold]
            faces, outputs = everyone[np.flatnonzero(np.isin(everyone.identities, mine))], classes
            if task.labels == "none":
                faces, outputs = numbered_alone(builder, faces, nobody)
            name = f"{whose}fold {fold + 1} of {folds.count}" + (f", repeat {repeat + 1}" if folds.repeats > 1 else "")
            stage = making.trained(name, seed, faces, making.network(outputs), start, how)
            found.append(Teacher(stage, frozenset(mine.tolist())))
    return tuple(found)


def numbered_alone(builder: ModelBuilder, faces: Faces, nobody: Faces) -> tuple[Faces, int]:
    """These faces with the targets they have where nobody else is trained on, and how many outputs that takes."""
    alone = Splits(nobody, nobody, faces, nobody, nobody, nobody, nobody, nobody)
    settled, names = builder.resolved.task.settle(alone, ())
    return settled.retain, len(names)


def dealt(groups: Array, count: int, seed: Sequence[int]) -> NDArray[np.int64]:
    """(p,) the fold of each person: of every group, and of all people, folds differ by one person at most."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(groups == group)) for group in np.unique(groups)])
    of = np.zeros(len(groups), np.int64)
    of[order] = np.arange(len(groups)) % count
    return of
