"""What an arm was asked, in numbers and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efface.data.faces import Faces
from efface.data.names import spelt_alike
from efface.datasets import GENERATORS, READERS
from efface.evaluation.pseudonyms import pseudonym
from efface.experiment.arm import Arm
from efface.files import write_csv
from efface.measures.fairness import main_group
from efface.plan.tables import Plan, Source
from efface.preparation.packed import read_manifest
from efface.results import Request
from efface.tasks import Task


def describe(arm: Arm) -> Request:
    """What an arm was asked, in numbers."""
    plan, parts = arm.resolved.plan, [(name, faces) for name, faces in arm.splits.items() if len(faces)]
    return Request(
        arm=arm.name,
        task=arm.resolved.task.card(),
        goal=plan.goal,
        precision=arm.store.precision,
        forgotten_group=plan.forget.group or main_group(arm.splits.forget.groups),
        faces={
            name: {group: int((faces.groups == group).sum()) for group in np.unique(faces.groups).tolist()}
            for name, faces in parts
        },
        people={
            name: {
                group: len(np.unique(faces.identities[faces.groups == group]))
                for group in np.unique(faces.groups).tolist()
            }
            for name, faces in parts
        },
        class_mix={name: class_counts(faces, arm.names) for name, faces in parts} if arm.names else {},
        image_shape=arm.splits.forget.shape,
        classes=list(arm.names),
        round=plan.forget.round,
        skew=plan.forget.skew if isinstance(plan.forget.skew, float) else None,
        warnings=[*warnings_of(plan, arm.resolved.task), *doubtful_names(parts), *arm.duplicates],
        pairs={one.name: len(one) for one in arm.sets},
        pairs_left_out={one.name: one.left_out for one in arm.sets},
        sources=[source_card(source) for source in plan.data],
    )


def class_counts(faces: Faces, names: Sequence[str]) -> dict[str, int]:
    """How many faces are of each class, or have each attribute."""
    if faces.targets.ndim == 1:
        return {name: int((faces.targets == number).sum()) for number, name in enumerate(names)}
    return {name: int((faces.targets[:, number] == 1).sum()) for number, name in enumerate(names)}


def division(request: Request) -> list[str]:
    """Who is forgotten, kept and measured by, a line for each split: to be read before anything is trained."""
    lines = []
    for split, faces in request.faces.items():
        count, people = sum(faces.values()), sum(request.people[split].values())
        mix = [f"{name} {share / count:.0%}" for name, share in request.class_mix.get(split, {}).items()]
        lines.append(f"{split}: {count:,} faces of {people:,} people{'; ' if mix else ''}{', '.join(mix)}")
    return lines


def warnings_of(plan: Plan, task: Task) -> list[str]:
    """What a reader must know before believing a number."""
    said = [
        f"“{name}” was trained on the non-members that the attack is scored with: its attack says nothing."
        for name, stage in plan.methods.items()
        if stage.public == "strangers"
    ]
    if plan.reference.reweight:
        said.append(
            "The reference was retrained with its faces reweighted (REWEIGHT), so that every group counts as "
            "much as before the forgetting: it is the goal of a group-robust method, not of plain retraining."
        )
    if any(source.group_file for source in plan.data):
        said.append("Groups were predicted by a classifier, not known: where it errs, so do all measures by group.")
    if any(source.group_clusters for source in plan.data):
        said.append(
            "Groups are clusters of the pictures themselves, not of people who belong together: they say who "
            "looks alike to a camera, and nothing of anybody's background."
        )
    if plan.model.pretrained is not None and plan.model.pretrained_for == "original":
        said.append(
            f"The original started from {plan.model.pretrained.name}, the reference from random weights: what "
            "differs between them is the recipe as well as the forgotten."
        )
    if plan.forget.first is not None:
        said.append(
            f"The first {plan.forget.first:,} photos were forgotten, wherever that cut: of one person some "
            "photos may be retained."
        )
    if plan.audit is not None and plan.split.held_back and task.outputs == "embeddings":
        said.append(
            f"{plan.split.held_back} photos of each trained person are held back and none of a stranger's: the "
            "forgotten and strangers differ in how many photos they have, and an attack may see that; for an "
            "audit leave out split.held_back."
        )
    return said


def doubtful_names(parts: Sequence[tuple[str, Faces]]) -> list[str]:
    """What is doubtful about the names of people, if anything; none stands in it."""
    groups = spelt_alike({name for _, faces in parts for name in faces.identities.tolist()})
    if not groups:
        return []
    return [
        f"{len(groups):,} {'name has' if len(groups) == 1 else 'names have'} several spellings (as 1 and 1.0 are two), "
        "each of which counts as somebody else: whoever is meant, only photos under the spelling that was asked for "
        "are forgotten."
    ]


def source_card(source: Source) -> dict[str, str]:
    """Whose faces these are and under which terms."""
    if source.path is not None and source.name == "packed":
        manifest = read_manifest(source.path)
        return {field: str(manifest.get(field, "")) for field in ("name", "title", "licence", "home")}
    card = (GENERATORS.get(source.name) or READERS[source.name]).card
    return {"name": card.name, "title": card.title, "licence": card.licence, "home": card.home}


NAMES = ("person", "key", "path", "photo", "name", "identity")
"""Columns of a table of faces that name somebody."""


def without_names(filled: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """The arms of a plan, with people that it names in `forget.where` and `data.only` under their pseudonyms."""

    def hidden(columns: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            column: [pseudonym(str(value), key) for value in values] if column in NAMES else values
            for column, values in (columns or {}).items()
        }

    def arm(plain: dict[str, Any]) -> dict[str, Any]:
        forget = plain["forget"] | ({"where": hidden(plain["forget"]["where"])} if plain["forget"].get("where") else {})
        sources = [
            source | ({"only": hidden(source["only"])} if source.get("only") else {}) for source in plain["data"]
        ]
        return plain | {"forget": forget, "data": sources}

    return {name: arm(plain) for name, plain in filled.items()}


def write_pseudonyms(arms: Sequence[Arm], out: Path, key: bytes) -> None:
    """`OUT/pseudonyms.csv`: who is meant by which pseudonym, readable by its owner only. The one file with names."""
    import pandas as pd

    people = sorted({name for arm in arms for _, faces in arm.splits.items() for name in faces.identities.tolist()})
    table = pd.DataFrame({"pseudonym": [pseudonym(name, key) for name in people], "person": people})
    write_csv(out / "pseudonyms.csv", table, private=True)
