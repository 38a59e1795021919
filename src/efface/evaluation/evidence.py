"""Evidence to look at: a few faces with every model's answers, and every face's scores, kept beside the results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efface.data.faces import Array, Splits
from efface.data.vectors import units
from efface.evaluation.evaluate import Scored
from efface.evaluation.pseudonyms import pseudonyms
from efface.measures.predictions import Predictions
from efface.tasks import Task

RANDOM, CHANGED = "drawn at random", "changed most"


@dataclass(frozen=True)
class Evidence:
    """Of the first seed of one arm. n faces that evaluation saw, k of them as pictures, m models."""

    models: Array
    """(m,) names, the original and the reference first."""
    split: Array
    """(n,)"""
    group: Array
    """(n,)"""
    label: Array
    """(n,) what was to be answered, in words; "" where answers are something else."""
    error: Array
    """(m, n) the task's score whose distribution says most."""
    signal: Array
    """(m, n) what betrays a member; lower on members."""
    pictured: Array
    """(k,) rows of n."""
    person: Array
    """(k,) whose face, under a pseudonym."""
    why: Array
    """(k,) how each was chosen."""
    images: Array
    """(k, c, h, w) uint8"""
    targets: Array
    """(k, ...)"""
    outputs: Array
    """(m, k, ...)"""
    scores: Array
    """(s,) names of the task's scores."""
    scored: Array
    """(m, s, k)"""
    nearest: Array
    """(m, k, c, h, w) uint8: recognition only, the trained photo that each model finds most like the pictured one."""
    found: Array
    """(m, k) bool: whether it shows the same person."""
    attack: Array
    """(m,) name of the strongest attack on each model."""
    membership_score: Array
    """(m, n) its membership score: higher on those it takes for members; NaN where it says nothing."""
    whose: Array
    """(n,) pseudonym of the person, of the forgotten; "" for all others."""
    exposed: Array
    """(e,) rows of n: the forgotten photos that stand out most among strangers' under what methods made."""
    exposed_images: Array
    """(e, c, h, w) uint8"""


def evidence_path(out: Path, arm: str) -> Path:
    """Where an arm's evidence lies: a readable name, and a hash of the arm's own, so that no two arms share a file."""
    if not arm:
        return out / "evidence" / "run.npz"
    readable = re.sub(r"[^a-z0-9]+", "-", arm.lower())[:60].strip("-")
    return out / "evidence" / f"{readable}-{hashlib.sha256(arm.encode()).hexdigest()[:8]}.npz".removeprefix("-")


def collect(
    splits: Splits,
    task: Task,
    names: Sequence[str],
    predictions: Mapping[str, Predictions],
    scored: Mapping[str, Scored],
    attacked: Mapping[str, tuple[str, Array]],
    key: bytes,
    *,
    random: int = 3,
    changed: int = 2,
    shown: int = 8,
    seed: int = 0,
) -> Evidence:
    """From each group: faces drawn at random from the splits the task pictures, and, where test faces are pictured,
    those whose error changed most.

    names: of the classes or attributes, if any. predictions, scored: of every model by name, "original" first, over the
    same faces in the same order. attacked: the strongest attack on each, and its scores. shown: how many of the most
    exposed photos. key: of this run's pseudonyms.
    """
    models = list(predictions)
    seen = predictions[models[0]]
    error = np.stack([scored[name].scores[task.distribution_score] for name in models])
    rows, why = choose(seen, task.pictured, error, random, changed, np.random.default_rng(seed))
    nearest, found = (
        matches(splits, list(predictions.values()), rows)
        if task.outputs == "embeddings"
        else (np.zeros(0), np.zeros(0))
    )
    membership_score = np.stack([attacked[name][1] for name in models]).astype(np.float32)
    standing_out = most_exposed(seen, membership_score, shown)
    forgotten = seen.rows("forget")
    return Evidence(
        models=np.array(models),
        split=seen.split,
        group=seen.group,
        label=in_words(seen.targets, names),
        error=error.astype(np.float32),
        signal=np.stack([scored[name].signal for name in models]).astype(np.float32),
        pictured=rows,
        person=pseudonyms(seen.identity[rows], key),
        why=why,
        images=pictures(splits, seen, rows),
        targets=seen.targets[rows],
        outputs=np.stack([predictions[name].outputs[rows] for name in models]),
        scores=np.array(list(task.scores)),
        scored=np.stack([[scored[name].scores[score][rows] for score in task.scores] for name in models]),
        nearest=nearest,
        found=found,
        attack=np.array([attacked[name][0] for name in models]),
        membership_score=membership_score,
        whose=np.where(forgotten, pseudonyms(seen.identity, key), ""),
        exposed=standing_out,
        exposed_images=pictures(splits, seen, standing_out),
    )


def most_exposed(seen: Predictions, membership_score: Array, count: int) -> Array:
    """(e,) rows of the forgotten photos that, on average over what methods made (the original where there is none),
    are suspected more than most strangers; one a person."""
    made = list(range(2, len(membership_score))) or [0]
    ranks = np.stack([exposure(membership_score[model], seen) for model in made])
    rows = np.flatnonzero(seen.rows("forget") & np.isfinite(ranks).all(0))
    ordered = rows[np.argsort(-ranks[:, rows].mean(0), kind="stable")]
    _, first = np.unique(seen.identity[ordered], return_index=True)
    top: Array = ordered[np.sort(first)][:count]
    return top


def exposure(membership_score: Array, seen: Predictions | Evidence) -> Array:
    """(n,) share of strangers whom an attack suspects less than each face; NaN where nothing is known."""
    others = np.sort(membership_score[(seen.split == "strangers") & np.isfinite(membership_score)])
    if not len(others):
        return np.full(len(membership_score), np.nan)
    places = np.searchsorted(others, membership_score, "left") + np.searchsorted(others, membership_score, "right")
    return np.where(np.isfinite(membership_score), places / (2 * len(others)), np.nan)


def in_words(targets: Array, names: Sequence[str]) -> Array:
    """(n,) the class of each face, or the attributes that it has."""
    if not names:
        return np.full(len(targets), "")
    if targets.ndim == 1:
        return np.array(names)[targets]
    return np.array([", ".join(name for name, has in zip(names, row, strict=True) if has) or "none" for row in targets])


def matches(splits: Splits, predictions: Sequence[Predictions], rows: Array) -> tuple[Array, Array]:
    """`nearest` and `found`: among all photos the original was trained on, the one most like each of these rows."""
    seen = predictions[0]
    gallery = np.flatnonzero(seen.rows("forget") | seen.rows("retain"))
    best = []
    for one in predictions:
        unit = units(one.outputs)
        best.append(gallery[(unit[rows] @ unit[gallery].T).argmax(1)])
    return (
        np.stack([pictures(splits, seen, found) for found in best]),
        np.stack([seen.identity[found] == seen.identity[rows] for found in best]),
    )


def choose(
    seen: Predictions,
    pictured: Sequence[str],
    error: Array,
    random: int,
    changed: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Rows to picture, and why each."""
    growth = error[2:].mean(0) - error[0] if len(error) > 2 else error[1] - error[0]
    rows: list[int] = []
    why: list[str] = []
    for split in pictured:
        for group in np.unique(seen.group[seen.split == split]):
            members = np.flatnonzero(seen.rows(split, group))
            worst = members[np.argsort(-growth[members])][:changed] if split == "test" else members[:0]
            others = rng.permutation(np.setdiff1d(members, worst))[:random]
            rows += [*others.tolist(), *worst.tolist()]
            why += [RANDOM] * len(others) + [CHANGED] * len(worst)
    return np.array(rows, np.int64), np.array(why, str)


def pictures(splits: Splits, seen: Predictions, rows: Array) -> Array:
    """(k, c, h, w) the images of these rows."""
    if not len(rows):
        return np.zeros((0, *splits.test.shape), np.uint8)
    images = []
    for row in rows:
        faces = getattr(splits, str(seen.split[row]))
        images.append(faces.images[np.flatnonzero(faces.keys == seen.key[row])][0])
    return np.stack(images)
