"""Divide the people: who is trained on, who is forgotten, and who only the audit sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array, Faces, Splits
from efface.data.names import among, normal
from efface.data.quality_scores import read_scores
from efface.errors import InputError, nearest
from efface.files import read_lines
from efface.plan.tables import Forget, Split

UNTRAINED = ("public", "val", "strangers", "test")


def split_faces(
    faces: Faces,
    split: Split,
    forget: Forget,
    column: Array | None = None,
    fixed: Array | None = None,
    marked: Array | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Splits:
    """Splits by person: `column` (n,) names each face's part, or people are drawn group by group, but for those whose
    part is `fixed` (n,) ("": not fixed). Of a request in rounds, all that was asked up to the present one is forgotten.
    marked (n,): with `forget.where`, whether a face is meant. aliases: the name that stands for a person, by other
    names that `forget.file` may use.

    Raises InputError for a person in two parts and for a request that leaves nothing to forget or to retain.
    """
    part = drawn(faces, split, fixed) if column is None else given(faces, column, f"column '{split.by}'")
    rows = np.flatnonzero(part == "train")
    trained = faces[rows]
    turn = requested(trained, forget, split.seed, None if marked is None else marked[rows], aliases)
    forgotten = (turn > 0) & (turn <= (forget.round or forget.rounds))
    unseen = held_back(trained, split)
    untrained = {name: faces[np.flatnonzero(part == name)] for name in UNTRAINED}
    for name in ("strangers", "test"):
        if not len(untrained[name]):
            why = (
                f"{len(people(faces)[0])} people are too few for split.{name} = {getattr(split, name)}"
                if column is None
                else f"column '{split.by}' names no face '{name}'"
            )
            raise InputError(f"no face is left for '{name}', without which nothing can be said: {why}")
    names = {
        "forget": forgotten & ~unseen,
        "forget_unseen": forgotten & unseen,
        "retain": ~forgotten & ~unseen,
        "retain_unseen": ~forgotten & unseen,
    }
    return Splits(**{name: trained[np.flatnonzero(rows)] for name, rows in names.items()}, **untrained)


def people(faces: Faces) -> tuple[Array, Array]:
    """Each person once, sorted, and the group of their first face."""
    names, first = np.unique(faces.identities, return_index=True)
    return names, faces.groups[first]


def drawn(faces: Faces, split: Split, fixed: Array | None = None) -> Array:
    """(n,) part of each face: the one its person is fixed to, test for who has too few photos; all others are drawn
    within their group."""
    names, groups = people(faces)
    part_of = one_part_each(faces, np.full(len(faces), "") if fixed is None else fixed, "data.split")
    few = names[np.unique(faces.identities, return_counts=True)[1] < split.photos]
    part_of |= {person: "test" for person in few.tolist() if not part_of[person]}
    free = np.array([not part_of[person] for person in names.tolist()])
    for group in np.unique(groups[free]):
        order = np.random.default_rng([split.seed, *group.encode()]).permutation(names[free & (groups == group)])
        start = 0.0
        for name in UNTRAINED:
            share = getattr(split, name)
            for person in order[round(start * len(order)) : round((start + share) * len(order))]:
                part_of[person] = name
            start += share
    return np.array([part_of[person] or "train" for person in faces.identities.tolist()])


def given(faces: Faces, column: Array, where: str) -> Array:
    """(n,) part of each face as the data say it, checked."""
    allowed = ("train", *UNTRAINED)
    for value in np.unique(column):
        if value not in allowed:
            raise InputError(
                f"face '{faces.keys[column == value][0]}' has the unknown split '{value}'{nearest(str(value), allowed)}"
            )
    one_part_each(faces, column, where)
    return column


def one_part_each(faces: Faces, column: Array, where: str) -> dict[str, str]:
    """The part of each person; InputError for one who stands in two."""
    part_of: dict[str, str] = {}
    for person, part in zip(faces.identities.tolist(), column.tolist(), strict=True):
        if part_of.setdefault(person, part) != part:
            raise InputError(
                f"{where}: a person stands in two splits, '{part_of[person] or 'train'}' and "
                f"'{part or 'train'}': '{person}'; forgetting is about people, so each must stand in one"
            )
    return part_of


def requested(
    trained: Faces,
    forget: Forget,
    seed: int,
    marked: Array | None = None,
    aliases: Mapping[str, str] | None = None,
) -> NDArray[np.int64]:
    """(n,) the round in which each trained face is asked to be forgotten, from 1; 0 for who is retained."""
    names, groups = people(trained)
    if not len(names):
        raise InputError("nobody is left to train on: lower the shares under [split]")
    if forget.quality is not None:
        turn = worst(trained, forget).astype(np.int64)
    elif forget.first is not None:
        turn = in_parts(np.arange(len(trained)), np.arange(min(forget.first, len(trained))), forget.rounds)
    elif forget.where is not None:
        assert marked is not None
        if not marked.any():
            raise InputError(f"forget.where: no trained face has {forget.where}")
        people_meant = np.unique(trained.identities[marked])
        if forget.share is not None or forget.people is not None:
            people_meant = sampled(people_meant, np.full(len(people_meant), ""), forget, seed)
        turn = np.where(marked, in_parts(trained.identities, people_meant, forget.rounds), 0)
    else:
        chosen = (
            listed(forget.file, names, aliases or {})
            if forget.file is not None
            else sampled(names, groups, forget, seed)
        )
        turn = in_parts(trained.identities, chosen, forget.rounds)
    rows = turn > 0
    if rows.all():
        raise InputError(
            f"the request takes all {len(names)} trained people: nobody is retained, so there is no "
            "model without them to compare with; ask for fewer"
        )
    for group in np.unique(trained.groups[rows]):
        if group and rows[trained.groups == group].all() and not forget.whole_group:
            raise InputError(
                f"the request takes every trained face of group '{group}': no retained face of it is "
                "left, so rebalancing has nothing to draw, and how well the group could still be served "
                "cannot be measured; ask for fewer, or set forget.whole_group = true to run it anyway"
            )
    return turn


def in_parts(of: Array, chosen: Array, rounds: int) -> NDArray[np.int64]:
    """(n,) for each of `of` the part, from 1, of `chosen` that it stands in when this is cut into `rounds`; 0: in none.

    Raises InputError for more rounds than there are to choose from.
    """
    if rounds > len(chosen):
        raise InputError(f"forget.rounds: {len(chosen)} cannot come in {rounds} rounds; ask for fewer rounds")
    turn = np.zeros(len(of), np.int64)
    for number, part in enumerate(np.array_split(chosen, rounds), start=1):
        turn[np.isin(of, part)] = number
    return turn


def held_back(trained: Faces, split: Split) -> NDArray[np.bool_]:
    """(n,) whether each trained person's photo is kept from every model; at least one of each person is not."""
    rng = np.random.default_rng([split.seed, 2])
    shuffled = rng.permutation(len(trained))
    by_person = shuffled[np.argsort(trained.identities[shuffled], kind="stable")]
    _, first, counts = np.unique(trained.identities[by_person], return_index=True, return_counts=True)
    place = np.arange(len(trained)) - np.repeat(first, counts)
    unseen = np.zeros(len(trained), bool)
    unseen[by_person] = place < np.minimum(split.held_back, np.repeat(counts, counts) - 1)
    return unseen


def worst(trained: Faces, forget: Forget) -> NDArray[np.bool_]:
    """(n,) whether each photo is among the share of the trained photos with the lowest quality."""
    assert forget.quality is not None
    scores = scores_of(trained.keys, forget.quality, forget.quality_by)
    lowest: NDArray[np.bool_] = scores < np.quantile(scores, forget.below)
    return lowest


def scores_of(keys: Array, path: Path, column: str) -> Array:
    """(n,) the quality of photos by their keys; InputError for one that has none."""
    scores = read_scores(path, column)
    find = among(scores)
    spelt = [find(key) or find(key.split(":", 1)[-1]) for key in keys.tolist()]
    for key, one in zip(keys.tolist(), spelt, strict=True):
        if one is None:
            bare = key.split(":", 1)[-1]
            raise InputError(f"{path} has no row for photo '{bare}': score the same photos with `efface quality`")
    return np.array([scores[one] for one in spelt if one is not None])


def sampled(names: Array, groups: Array, forget: Forget, seed: int) -> Array:
    """The people a share or a number asks for."""
    pool = names
    if forget.group is not None:
        pool = names[groups == forget.group]
        if not len(pool):
            raise InputError(
                f"forget.group: nobody of group '{forget.group}' was trained on"
                f"{nearest(forget.group, set(groups.tolist()))}"
            )
    if forget.skew is not None:
        return skewed(names, groups, forget, seed)
    wanted = forget.people if forget.people is not None else round((forget.share or 0) * len(pool))
    if not 0 < wanted <= len(pool):
        raise InputError(
            f"the request takes {wanted} of {len(pool)} trained people"
            f"{f' of group {forget.group!r}' if forget.group else ''}: expected 1 to {len(pool)}"
        )
    return np.random.default_rng([seed, 1]).permutation(pool)[:wanted]


def skewed(names: Array, groups: Array, forget: Forget, seed: int) -> Array:
    """So many people, of whom the share `forget.skew` are of the group. At a higher skew those of a lower one are still
    among them, as far as there is room: the curve over skews has less noise."""
    assert forget.people is not None
    assert isinstance(forget.skew, float)
    mine = round(forget.skew * forget.people)
    pools = (names[groups == forget.group], mine), (names[groups != forget.group], forget.people - mine)
    chosen = []
    for place, (pool, wanted) in enumerate(pools):
        if wanted > len(pool):
            whose = f"of group '{forget.group}'" if place == 0 else f"outside group '{forget.group}'"
            raise InputError(
                f"forget: skew {forget.skew:g} of {forget.people} people takes {wanted} {whose}, and "
                f"{len(pool)} of these were trained on: ask for fewer people"
            )
        chosen.append(np.random.default_rng([seed, 1, place]).permutation(pool)[:wanted])
    return np.concatenate(chosen)


def listed(path: Path, names: Array, aliases: Mapping[str, str]) -> Array:
    """The people a text file names, one a line, each once."""
    wanted = [name for line in read_lines(path, "forget.file") if (name := normal(line))]
    if not wanted:
        raise InputError(f"forget.file {path} names nobody: expected one person a line")
    known = set(names.tolist())
    wanted = list(dict.fromkeys(aliases.get(line, line) for line in wanted))
    for person in wanted:
        if person not in known:
            raise InputError(
                f"forget.file {path}: '{person}' is nobody the model was trained on"
                f"{nearest(person, known) if len(known) < 20 else ''}"
            )
    return np.array(wanted)
