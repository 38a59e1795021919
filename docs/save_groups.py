"""Saves the tables of runs where requests lean to one group, as results/groups.json.

efface run plans/skew_eyes.toml --out runs/skew_eyes --jobs 2           (and whole_group_eyes)
python docs/save_groups.py COMMIT runs/skew_eyes runs/whole_group_eyes

Two tables for each arm: every row with its intervals over people and seeds, under the headroom of each measure that has
one; and what was changed by reweighting or by a repair, paired by seed, with Student's 95% interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from efface.report import wording
from efface.results import REFERENCE, Request, Results, read_results
from save_eyes import columns_of
from saving import Table, commit_and_runs, differences, machine_of, model_rows, save, seeds_of

CAPTIONS = {
    "skew_eyes": {
        "one source, skew 10%": "One source, a tenth of the forgotten East Asian",
        "one source, skew 90%": "One source, nine tenths of the forgotten East Asian",
        "two sources, skew 10%": "Two sources, a tenth of the forgotten East Asian",
        "two sources, skew 90%": "Two sources, nine tenths of the forgotten East Asian",
    },
    "whole_group_eyes": {"": "Every East Asian person is forgotten"},
}
REWEIGHTED, FRESH = ", reweighted", "group_distillation, fresh"
RETRAINED = "retrained"
LIMITS = [
    "Networks and pictures are small (32 pixels, 20 epochs), and eyes are a detector's (YuNet).",
    "Three seeds: differences paired by seed have wide intervals, and where one holds 0 nothing is said.",
    "A change is in percent of the original's error on test faces; “beyond retraining” is what the method added to "
    "the retrained model's.",
    "Attack and tug of war are by photos that the methods were handed, as a membership question is. Settings were "
    "searched on the people of `val`, seed by seed, and “faces seen” counts every setting.",
]


def pairs_of(results: Results, request: Request) -> list[tuple[str, str]]:
    """Rows that differ in one thing: reweighted or not, repaired or not, taught or retrained."""
    methods = [one.method for one in results.summaries if one.arm == request.arm]
    plain = {one: one.removesuffix(REWEIGHTED) for one in methods if one.endswith(REWEIGHTED)}
    plain = {one: REFERENCE if before == RETRAINED else before for one, before in plain.items()}
    repaired = {
        one: before for one in methods for before in methods if one.startswith(f"{before}, ") and one not in plain
    }
    taught = {FRESH: REFERENCE} if FRESH in methods else {}
    return [(one, before) for one, before in (plain | repaired | taught).items() if before in methods]


def changes(results: Results, request: Request) -> Table:
    """What reweighting or a repair changed, row by row."""
    families = ("membership", "distance", "score", "disparity_points")
    columns = [one for one in columns_of(request, request.task.error) if one[1].family in families]
    pairs = pairs_of(results, request)
    head, rows = differences(results, request.arm, pairs, columns, "model")
    named = [[row[0], wording.row_title(other), *row[1:]] for row, (_, other) in zip(rows, pairs, strict=True)]
    return ["model", "less", *head[1:]], named


def main(commit: str, folders: Sequence[Path]) -> None:
    """Write results/groups.json from finished runs."""
    tables = []
    for folder in folders:
        results = read_results(folder)
        machine = machine_of(results.environment)
        for request in results.requests:
            columns = columns_of(request, request.task.error)
            name = f"{folder.name}, {request.arm}".removesuffix(", ")
            for ending, about, (head, rows) in (
                ("", "", model_rows(results, request.arm, columns, results.headroom_of(request.arm))),
                (", changes", ": what reweighting and repairs changed", changes(results, request)),
            ):
                tables.append(
                    {
                        "name": f"{name}{ending}",
                        "caption": f"{CAPTIONS[folder.name][request.arm]}{about}",
                        "command": [
                            f"efface run plans/{folder.name}.toml --out runs/{folder.name} --jobs 2",
                            f"python docs/save_groups.py {commit} {' '.join(f'runs/{one.name}' for one in folders)}",
                        ],
                        "plan": f"plans/{folder.name}.toml",
                        "seeds": seeds_of(results),
                        "columns": head,
                        "rows": rows,
                    }
                )
    save(
        "groups",
        "Groups: requests that lean to one group",
        commit=commit,
        machine=machine,
        limits=LIMITS,
        tables=tables,
    )


if __name__ == "__main__":
    main(*commit_and_runs(__doc__))
