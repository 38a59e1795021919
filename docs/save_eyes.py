"""Saves the tables of a run where one group asks to be forgotten, as results/eyes.json.

efface run plans/eyes.toml --out runs/eyes --jobs 2
python docs/save_eyes.py COMMIT runs/eyes

Two tables for each arm: every row with its intervals over people and seeds, under the headroom of each measure that has
one; and what rebalancing changed, paired by seed, with Student's 95% interval. COMMIT is of the code that made the run.
"""

from __future__ import annotations

from pathlib import Path

from efface.measure_key import ALL, MeasureKey
from efface.report import wording
from efface.results import Request, Results, read_results
from saving import Columns, Table, commit_and_runs, differences, entries, machine_of, model_rows, save

CAPTIONS = {
    "one source": "One source: both groups from FairFace",
    "two sources": "Two sources: East Asian faces from FairFace, everyone else from LFW",
}
REBALANCED = ", rebalanced"
LIMITS = [
    "Networks and pictures are small (48 pixels, 20 epochs), and eyes are a detector's (YuNet).",
    "Every method has its defaults, and their steps differ: rows show what each costs whom, they rank nobody.",
    "A change is in percent of the original's error on test faces; “beyond retraining” is what the method added to "
    "the retrained model's. Intervals are over people and five seeds together.",
    "Attack and tug of war are by photos that the methods were handed, as a membership question is.",
]


def columns_of(request: Request, error: str) -> Columns:
    """What stands in an arm's table: (title, measure)."""
    groups = sorted(
        (one for one in request.faces["test"] if one != ALL), key=lambda one: one != request.forgotten_group
    )
    named = error.replace("_", " ")
    apart = MeasureKey("disparity_points", error, against="original")
    return [
        ("attack AUC", wording.ATTACK_AUC),
        ("ToW", MeasureKey("distance", "tow")),
        *((f"{named}, {one}", MeasureKey("score", error, split="test", group=one)) for one in groups),
        *((f"change, {one}, %", MeasureKey("increase", error, against="original", group=one)) for one in groups),
        (f"change, {groups[0]} less others, points", apart),
        *((f"beyond retraining, {one}, %", MeasureKey("harm of method", error, group=one)) for one in groups),
    ]


def rebalanced(results: Results, request: Request) -> Table:
    """What rebalancing changed in each row that has it: the row less the one before it, seed by seed."""
    families = ("membership", "distance", "score")
    columns = [one for one in columns_of(request, request.task.error) if one[1].family in families]
    methods = [one.method for one in results.summaries if one.arm == request.arm]
    pairs = [(one, one.removesuffix(REBALANCED)) for one in methods if one.endswith(REBALANCED)]
    return differences(results, request.arm, pairs, columns, "model, less the one before")


def main(commit: str, folder: Path) -> None:
    """Write results/eyes.json from a finished run."""
    results = read_results(folder)
    made = {}
    for request in results.requests:
        arm, caption = request.arm, CAPTIONS[request.arm]
        columns = columns_of(request, request.task.error)
        made[arm] = (caption, model_rows(results, arm, columns, results.headroom_of(arm)))
        made[f"{arm}, rebalanced"] = (f"{caption}: what rebalancing changed", rebalanced(results, request))
    save(
        "eyes",
        "Eye centres: one group asks to be forgotten",
        commit=commit,
        machine=machine_of(results.environment),
        limits=LIMITS,
        tables=entries("save_eyes.py", commit, folder, results, made),
    )


if __name__ == "__main__":
    made_at, (run,) = commit_and_runs(__doc__)
    main(made_at, run)
