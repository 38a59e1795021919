"""Saves the tables of runs where a recogniser forgets people without labels, as results/recognition.json.

efface run plans/recognition.toml --out runs/recognition --jobs 2       (and cure_ablation, quality_aware)
python docs/save_recognition.py COMMIT runs/recognition

Of the methods three tables: every row with its intervals over people and seeds, under the headroom of each measure
that has one; and every method less CURE, and less the retrained model, paired by seed, with Student's 95% interval. Of
CURE's variants one: every row. Of photos of low quality one: what verification each request leaves. Tables of runs that
are not given stay as they are, with the commit that made them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.results import ORIGINAL, REFERENCE, RESERVED, Results, read_results
from saving import ROOT, Table, commit_and_runs, differences, entries, machine_of, model_rows, save

CURE = "cure"
PAIRS = "LFW pairs"
COLUMNS = [
    ("forgotten, through the head", MeasureKey.parse("head/accuracy/forget")),
    ("retained, through the head", MeasureKey.parse("head/accuracy/retain")),
    ("UES", MeasureKey.parse("head/ues")),
    ("UES, rows deleted", MeasureKey.parse("rows deleted/ues")),
    ("UES, fresh head", MeasureKey.parse("fresh head/ues")),
    ("forgotten found (rank 1)", MeasureKey.parse("identification/rank1/forget")),
    ("retained found (rank 1)", MeasureKey.parse("identification/rank1/retain")),
    ("strangers found (rank 1)", MeasureKey.parse("identification/rank1/strangers")),
    ("compactness of the forgotten", MeasureKey.parse("compactness/forget/all")),
    ("the same, held-back photos", MeasureKey.parse("compactness/forget_unseen/all")),
    ("verification, balanced", MeasureKey.parse(f"verification/{PAIRS}/balanced_accuracy")),
    ("attack AUC", wording.ATTACK_AUC),
    ("ToW", MeasureKey.parse("distance/tow")),
]
PAIRED = (
    "UES, fresh head",
    "forgotten found (rank 1)",
    "strangers found (rank 1)",
    "compactness of the forgotten",
    "the same, held-back photos",
    "verification, balanced",
    "attack AUC",
    "ToW",
)
"""Columns of the differences."""
LOW, RANDOM = "photos of low quality", "people at random"
"""The arms of plans/quality_aware.toml."""
VERIFIED = [
    ("all pairs, balanced", MeasureKey.parse(f"verification/{PAIRS}/balanced_accuracy")),
    ("pairs of low quality", MeasureKey.parse(f"verification/{PAIRS}/balanced_accuracy/low quality")),
    ("pairs of high quality", MeasureKey.parse(f"verification/{PAIRS}/balanced_accuracy/high quality")),
]
LIMITS = [
    "A narrow network on small pictures (48 pixels), and a fifth of the people forgotten: whatever trains on the "
    "retained does well here. Where few of many are forgotten stands in [where methods differ](regimes.md).",
    "Three seeds: differences paired by seed have wide intervals, and where one holds 0 nothing is ranked.",
    "Attack and tug of war are by photos that the methods were handed, as a membership question is; “found” and "
    "verification are by photos that no model was trained on.",
    "Variants of CURE and the table of low quality have one seed: intervals there are over people alone, and values of "
    "two rows stand side by side without a test of their difference.",
]


def methods(results: Results) -> dict[str, tuple[str, Table]]:
    """Every row, and what CURE and retraining are ahead of it."""
    arm = results.requests[0].arm
    names = [one.method for one in results.summaries if one.method not in RESERVED]
    less_cure = [(one, CURE) for one in [ORIGINAL, *names] if one != CURE]
    less_retrained = [(one, REFERENCE) for one in [ORIGINAL, *names]]
    paired = [(title, key) for title, key in COLUMNS if title in PAIRED]
    caption = "Label-free methods and retraining"
    return {
        "methods": (caption, model_rows(results, arm, COLUMNS, results.headroom_of(arm))),
        "methods, less cure": (
            f"{caption}: less CURE",
            differences(results, arm, less_cure, paired, "model, less CURE"),
        ),
        "methods, less retraining": (
            f"{caption}: less the retrained model",
            differences(results, arm, less_retrained, paired, "model, less the retrained"),
        ),
    }


def variants(results: Results) -> dict[str, tuple[str, Table]]:
    """CURE with a part of it changed."""
    table = model_rows(results, results.requests[0].arm, COLUMNS, {})
    return {"ablation": ("Variants of CURE on one request", table)}


def quality(results: Results) -> dict[str, tuple[str, Table]]:
    """Verification after photos of low quality are forgotten, and after people at random are."""
    photos = {one.arm: f"{sum(one.faces['forget'].values()):,}" for one in results.requests}
    measured = {(one.arm, one.method): one.measures for one in results.summaries}
    made = [(LOW, ORIGINAL), *((arm, method) for arm in (LOW, RANDOM) for method in (REFERENCE, CURE))]
    rows = [
        [
            wording.row_title(method) if method == ORIGINAL else f"{wording.row_title(method)}, {arm}",
            "–" if method == ORIGINAL else photos[arm],
            *(wording.interval(measured[arm, method].get(key)) for _, key in VERIFIED),
        ]
        for arm, method in made
    ]
    titles = [title for title, _ in VERIFIED]
    caption = "Verification after photos of low quality, or people at random, are forgotten"
    return {"quality": (caption, (["model, and what is forgotten", "photos forgotten", *titles], rows))}


TABLES = {"recognition": methods, "cure_ablation": variants, "quality_aware": quality}
"""What is made of the run of each plan."""
SCORED_FIRST = (
    "efface run plans/recognition.toml --out runs/recognition --jobs 2",
    "efface quality runs/recognition/faces/lfw-* --weights runs/recognition/models/original-seed0-*.safetensors "
    "--pairs ../shared/faces/lfw/pairs.txt --out runs/quality",
)
"""Commands that score the photos for plans/quality_aware.toml."""
IN_ORDER = ("methods", "methods, less cure", "methods, less retraining", "ablation", "quality")


def main(commit: str, folders: Sequence[Path]) -> None:
    """Write results/recognition.json from finished runs."""
    before = json.loads((ROOT / "results" / "recognition.json").read_text(encoding="utf-8"))
    origin = {"commit": before["commit"], "machine": before["machine"]}
    tables = {one["name"]: origin | one for one in before["tables"]}
    machine = ""
    for folder in folders:
        results = read_results(folder)
        machine = machine_of(results.environment)
        made = entries("save_recognition.py", commit, folder, results, TABLES[folder.name](results))
        if folder.name == "quality_aware":
            made = [one | {"command": [*SCORED_FIRST, *one["command"]]} for one in made]
        tables |= {one["name"]: {"commit": commit, "machine": machine} | one for one in made}
    save(
        "recognition",
        "Face recognition: forgetting without labels",
        commit=commit,
        machine=machine,
        limits=LIMITS,
        tables=[tables[name] for name in IN_ORDER],
    )


if __name__ == "__main__":
    main(*commit_and_runs(__doc__))
