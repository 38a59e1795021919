"""Saves the tables of the run that takes lookalikes apart, as results/lookalikes.json.

efface run plans/lookalikes.toml --out runs/lookalikes --jobs 2
python docs/save_lookalikes.py COMMIT runs/lookalikes

Four tables for each task: every row with its intervals over people and seeds, under the headroom of each measure that
has one; and, paired by seed with Student's 95% interval, how much nearer to retraining `lookalikes` is than each other
row, and each row less the retrained model; and what each rate came to.
"""

from __future__ import annotations

from pathlib import Path

from efface.results import ORIGINAL, REFERENCE, RESERVED, read_results
from save_results import columns_of, searched
from saving import commit_and_runs, differences, entries, machine_of, model_rows, nearer, save

OURS = "lookalikes"
CAPTIONS = {"eyes": "Eye centres: a tenth of one group", "recognition": "Recognition: 15 of 250 people"}
LIMITS = [
    "Networks and pictures are small (32 pixels), and trained until they know their faces by heart; that is what gives "
    "methods room to differ.",
    "Attack and tug of war are by photos that the methods were handed, as a membership question is; only “found by "
    "held-back photos” is by photos no method saw.",
    "Every row has four rates, chosen by the people of `val`, and as many steps; “faces seen” counts all four.",
    "Differences are paired by seed; their intervals are over five seeds alone, not over people.",
]


def main(commit: str, folder: Path) -> None:
    """Write results/lookalikes.json from a finished run."""
    results = read_results(folder)
    made = {}
    for arm, caption in CAPTIONS.items():
        rows = {one.method: one.measures for one in results.evaluations if one.arm == arm}
        known = [(title, key) for title, key in columns_of(results, arm) if key in rows[OURS]]
        models = [one for one in rows if one == ORIGINAL or one not in RESERVED]
        bills = {"faces seen, of retraining": "faces_of_retraining"}
        made[arm] = (caption, model_rows(results, arm, known, results.headroom_of(arm), bills))
        made[f"{arm}, paired"] = (
            f"{caption}: how much nearer to retraining lookalikes is (below 0) than each other row",
            nearer(results, arm, known, {one: (OURS, one) for one in models if one != OURS}, "other row"),
        )
        made[f"{arm}, less retraining"] = (
            f"{caption}: less the retrained model",
            differences(results, arm, [(one, REFERENCE) for one in models], known, "model, less the retrained"),
        )
        made[f"{arm}, searched"] = (
            f"{caption}: what was tried on people of val, means over seeds",
            searched(results, arm),
        )
    save(
        "lookalikes",
        "Lookalikes, taken apart",
        commit=commit,
        machine=machine_of(results.environment),
        limits=LIMITS,
        tables=entries("save_lookalikes.py", commit, folder, results, made),
    )


if __name__ == "__main__":
    made_at, (run,) = commit_and_runs(__doc__)
    main(made_at, run)
