"""Saves the tables of the run where every method that works on classes forgets people's ages, as results/ages.json.

efface run plans/attributes.toml --out runs/attributes --jobs 2
python docs/save_ages.py COMMIT runs/attributes

Three tables: every row with its intervals over people and seeds, under the headroom of each measure that has one; every
row less a constant prediction and less the retrained model, paired by seed with Student's 95% interval; and how much
nearer to retraining each method is than fine-tuning, by the measures that have room for that.
"""

from __future__ import annotations

from pathlib import Path

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.results import CONSTANT, LEAST_HEADROOM, ORIGINAL, REFERENCE, RESERVED, Results, read_results
from saving import Columns, Table, commit_and_runs, differences, entries, machine_of, model_rows, nearer, save

RIVAL = "finetune"
COLUMNS: Columns = [
    ("test accuracy", MeasureKey.parse("accuracy/test/all")),
    ("accuracy on the retained", MeasureKey.parse("accuracy/retain/all")),
    ("accuracy on the forgotten", MeasureKey.parse("accuracy/forget/all")),
    ("attack AUC", wording.ATTACK_AUC),
    ("the same, of the same class", MeasureKey("attack", "class-matched/auc", level="photo")),
    ("benchmark's attack", MeasureKey.parse("benchmark/attack")),
    ("NoMUS", MeasureKey.parse("benchmark/nomus")),
    ("JS of losses, forgotten and strangers", MeasureKey.parse("benchmark/js")),
    ("ToW", MeasureKey.parse("distance/tow")),
]
BILLS = {"faces seen, of retraining": "faces_of_retraining", "CPU seconds, of retraining": "cpu_of_retraining"}
LIMITS = [
    "A narrow network and small pictures (36 pixels), a sixth of the people forgotten after a short training: whatever "
    "trains on the retained does well. Where few of many are forgotten stands in [where methods differ](regimes.md).",
    "Three seeds: differences paired by seed have wide intervals, and where one holds 0 nothing is ranked.",
    "Attacks and tug of war are by photos that methods were handed, as a membership question is. Each photo is its own "
    "person, so nobody has photos that were held back.",
    "Accuracies, the benchmark's scores and JS have no headroom here: they are set beside retraining and a constant "
    "prediction, and no method is ranked by them.",
    "Settings were chosen by NoMUS on another request, on one seed; how many were tried for each stands in the plan.",
    "Row `scrub, gamma 0` uses no label (published: gamma about 1), and “ceiling 4” bounds the ascent at four times "
    "the forgotten's mean loss: both are milder than published.",
]


def beside(results: Results, arm: str) -> Table:
    """Every row less a constant prediction, and less the retrained model."""
    methods = [ORIGINAL, *(one.method for one in results.summaries if one.arm == arm and one.method not in RESERVED)]
    pairs = [*((one, CONSTANT) for one in [REFERENCE, *methods]), *((one, REFERENCE) for one in methods)]
    head, rows = differences(results, arm, pairs, COLUMNS, "model")
    named = [[row[0], wording.row_title(other), *row[1:]] for row, (_, other) in zip(rows, pairs, strict=True)]
    return ["model", "less", *head[1:]], named


def beside_rival(results: Results, arm: str) -> Table:
    """How much nearer to retraining each method is (below 0) than fine-tuning."""
    room = results.headroom_of(arm)
    known = [(title, key) for title, key in COLUMNS if (room.get(key) or 0.0) >= LEAST_HEADROOM]
    methods = [ORIGINAL, *(one.method for one in results.summaries if one.arm == arm and one.method not in RESERVED)]
    return nearer(results, arm, known, {one: (one, RIVAL) for one in methods if one != RIVAL}, "model")


def main(commit: str, folder: Path) -> None:
    """Write results/ages.json from a finished run."""
    results = read_results(folder)
    arm = results.requests[0].arm
    caption = "Every method that works on classes"
    made = {
        "methods": (caption, model_rows(results, arm, COLUMNS, results.headroom_of(arm), BILLS)),
        "beside constant and retrained": (
            f"{caption}: less a constant prediction, less the retrained model",
            beside(results, arm),
        ),
        "nearer than fine-tuning": (
            f"{caption}: how much nearer to retraining than fine-tuning (below 0)",
            beside_rival(results, arm),
        ),
    }
    save(
        "ages",
        "Ages: forgetting people from a classifier",
        commit=commit,
        machine=machine_of(results.environment),
        limits=LIMITS,
        tables=entries("save_ages.py", commit, folder, results, made),
    )


if __name__ == "__main__":
    made_at, (run,) = commit_and_runs(__doc__)
    main(made_at, run)
