"""Saves the tables of a run where a recogniser forgets people without labels, as results/recognition.json.

efface run plans/recognition.toml --out runs/recognition --jobs 2
python docs/save_recognition.py COMMIT runs/recognition

Three tables: every row with its intervals over people and seeds, under the headroom of each measure that has one; and
every method less CURE, and less the retrained model, paired by seed, with Student's 95% interval. The file's other
tables stay as they are, with the commit that made them.
"""

from __future__ import annotations

import json
from pathlib import Path

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.results import ORIGINAL, REFERENCE, RESERVED, read_results
from saving import ROOT, commit_and_runs, differences, machine_of, model_rows, save, seeds_of

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
LIMITS = [
    "A narrow network on small pictures (48 pixels), and a fifth of the people forgotten: whatever trains on the "
    "retained does well here. Where few of many are forgotten stands in [where methods differ](regimes.md).",
    "Three seeds: differences paired by seed have wide intervals, and where one holds 0 nothing is ranked.",
    "Attack and tug of war are by photos that the methods were handed, as a membership question is; “found” and "
    "verification are by photos that no model was trained on.",
    "The ablation and the table of low quality were made at `da0c003`, on one seed, by another machine, and were not "
    "run again; their verification is of unbalanced pairs (a constant prediction is right on 57.3%).",
]


def main(commit: str, folder: Path) -> None:
    """Write results/recognition.json from a finished run."""
    results = read_results(folder)
    arm = results.requests[0].arm
    methods = [one.method for one in results.summaries if one.method not in RESERVED]
    less_cure = [(one, CURE) for one in [ORIGINAL, *methods] if one != CURE]
    less_retrained = [(one, REFERENCE) for one in [ORIGINAL, *methods]]
    paired = [(title, key) for title, key in COLUMNS if title in PAIRED]
    machine = machine_of(results.environment)
    common = {
        "command": [
            "efface run plans/recognition.toml --out runs/recognition --jobs 2",
            f"python docs/save_recognition.py {commit} runs/recognition",
        ],
        "commit": commit,
        "machine": machine,
        "plan": "plans/recognition.toml",
        "seeds": seeds_of(results),
    }
    made = {
        "methods": ("", model_rows(results, arm, COLUMNS, results.headroom_of(arm))),
        "methods, less cure": (": less CURE", differences(results, arm, less_cure, paired, "model, less CURE")),
        "methods, less retraining": (
            ": less the retrained model",
            differences(results, arm, less_retrained, paired, "model, less the retrained"),
        ),
    }
    tables = [
        {"name": name, "caption": f"Label-free methods and retraining{about}", **common, "columns": head, "rows": rows}
        for name, (about, (head, rows)) in made.items()
    ]
    before = json.loads((ROOT / "results" / "recognition.json").read_text(encoding="utf-8"))
    origin = {"commit": before["commit"], "machine": before["machine"]}
    save(
        "recognition",
        "Face recognition: forgetting without labels",
        commit=commit,
        machine=machine,
        limits=LIMITS,
        tables=[*tables, *(origin | one for one in before["tables"] if one["name"] not in made)],
    )


if __name__ == "__main__":
    made_at, (run,) = commit_and_runs(__doc__)
    main(made_at, run)
