"""Saves the tables of an audit with shadow models, as results/audit.json.

efface run plans/audit.toml --out runs/audit --jobs 2
python docs/save_audit.py COMMIT runs/audit

Three tables: what every attack makes of each model; how much more it makes of it than of the retrained one, on the same
people, with the verdict; and what methods cost beside the retrained model and a constant prediction, paired by seed.
The file's other tables stay as they are, with the commit that made them.
"""

from __future__ import annotations

from pathlib import Path

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.report.paired import cell_of
from efface.results import CONSTANT, NONMEMBERS, REFERENCE, RESERVED, Results, read_results
from saving import Columns, Table, commit_and_runs, differences, entries, machine_of, model_rows, save

PHOTO = {"level": "photo"}
ATTACKS = {
    "loss": "loss/auc",
    "forest": "forest/auc",
    "RMIA": "rmia/auc",
    "LiRA": "lira/auc",
    "U-LiRA": "u-lira/auc",
}
COLUMNS: Columns = [
    *((title, MeasureKey("attack", metric, **PHOTO)) for title, metric in ATTACKS.items()),
    ("LiRA, TPR at 1% FPR", MeasureKey("attack", "lira/tpr_at_1%_fpr", **PHOTO)),
    ("relearning, of the reference's steps", MeasureKey.parse("relearn/ain")),
    ("ToW", MeasureKey.parse("distance/tow")),
    ("error, forgotten", MeasureKey.parse("normalised_error/forget/all")),
    ("error, test", MeasureKey.parse("normalised_error/test/all")),
]
LIMITS = [
    "A small network and small pictures (32 pixels), where much is memorised; eyes are a detector's (YuNet).",
    "Three seeds; methods have their defaults, and their steps differ: rows show what attacks see, they rank nobody.",
    "U-LiRA is made for the ways to forget whose shadows forgot too, fine-tuning and SCRUB.",
]


def beside_retrained(results: Results, arm: str) -> Table:
    """How much more each attack makes of a model than of the retrained one, on the same people; and the verdict."""
    keys = [(title, MeasureKey("attack", metric, against="reference", **PHOTO)) for title, metric in ATTACKS.items()]
    said = {one.method: one.verdict for one in results.verdicts if one.arm == arm}
    rows = [
        [
            wording.row_title(one.method),
            *(wording.interval(one.measures.get(key)) for _, key in keys),
            cell_of(more_by_lira(results, arm, one.method))[0],
            said.get(one.method, "–"),
        ]
        for one in results.summaries
        if one.arm == arm and one.method != NONMEMBERS and any(key in one.measures for _, key in keys)
    ]
    head = [f"{title}, less the retrained's" for title, _ in keys]
    return ["model", *head, "LiRA less loss, by seed", "verdict"], rows


def more_by_lira(results: Results, arm: str, method: str) -> list[float]:
    """How much higher LiRA's AUC is than a threshold's on the loss, for each seed."""
    keys = [MeasureKey("attack", ATTACKS[one], **PHOTO) for one in ("LiRA", "loss")]
    rows = [one.measures for one in results.evaluations if (one.arm, one.method) == (arm, method)]
    both = [[row[key].value for key in keys] for row in rows]
    return [lira - loss for lira, loss in both if lira is not None and loss is not None]


def costs(results: Results, arm: str) -> Table:
    """Errors, relearning and tug of war of each method, less the retrained model's and less a constant prediction's."""
    methods = [one.method for one in results.summaries if one.method not in RESERVED]
    pairs = [(one, other) for one in methods for other in (REFERENCE, CONSTANT)]
    columns = [(title, key) for title, key in COLUMNS if key.family != "attack"]
    head, rows = differences(results, arm, pairs, columns, "model")
    named = [[row[0], wording.row_title(other), *row[1:]] for row, (_, other) in zip(rows, pairs, strict=True)]
    return ["model", "less", *head[1:]], named


def main(commit: str, folder: Path) -> None:
    """Write results/audit.json from a finished run."""
    results = read_results(folder)
    arm, machine = results.requests[0].arm, machine_of(results.environment)
    people = results.requests[0].people
    asked, trained = (sum(people[split].values()) for split in ("forget", "retain"))
    caption = f"Eye centres: {asked:,} of {asked + trained:,} trained people of FairFace are forgotten"
    made = {
        "eyes": (caption, model_rows(results, arm, COLUMNS, results.headroom_of(arm))),
        "eyes, beside": ("How much more an attack sees than in the retrained model", beside_retrained(results, arm)),
        "eyes, costs": ("What methods cost, paired by seed", costs(results, arm)),
    }
    save(
        "audit",
        "Audit with shadow models",
        commit=commit,
        machine=machine,
        limits=LIMITS,
        tables=entries("save_audit.py", commit, folder, results, made),
    )


if __name__ == "__main__":
    made_at, (run,) = commit_and_runs(__doc__)
    main(made_at, run)
