"""Saves the tables of a run where one group asks to be forgotten, as results/eyes.json.

efface run plans/eyes.toml --out runs/eyes --jobs 2
python docs/save_eyes.py COMMIT runs/eyes

Two tables for each arm: every row with its intervals over people and seeds, under the headroom of each measure that has
one; and what rebalancing changed, paired by seed, with Student's 95% interval. COMMIT is of the code that made the run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from efface.measure_key import ALL, MeasureKey
from efface.report import wording
from efface.report.paired import cell_of
from efface.results import NONMEMBERS, SECOND_REFERENCE, Request, Results, read_results
from saving import machine_of, save

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


def columns_of(request: Request, error: str) -> list[tuple[str, MeasureKey]]:
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


def table(results: Results, request: Request) -> tuple[list[str], list[list[str]]]:
    """Titles of an arm's table, and the rows under them: headroom first, then every model."""
    columns, room = columns_of(request, request.task.error), results.headroom_of(request.arm)
    bills = {one.method: one.cost for one in results.evaluations if one.arm == request.arm}
    rooms = [f"{value:.1f}" if (value := room.get(key)) is not None else "–" for _, key in columns]
    rows = [["*headroom*", *rooms, ""]]
    for one in results.summaries:
        if one.arm == request.arm and one.method != NONMEMBERS:
            cells = [wording.interval(one.measures.get(key)).replace("-", "−") for _, key in columns]
            cost = bills.get(one.method)
            faces = cost.faces_of_retraining if cost else None
            rows.append([wording.row_title(one.method), *cells, f"{faces:.0%}" if faces else "–"])
    return ["model", *(title for title, _ in columns), "faces seen, of retraining"], rows


def after_rebalancing(results: Results, request: Request) -> tuple[list[str], list[list[str]]]:
    """What rebalancing changed in each row that has it: the row less the one before it, seed by seed."""
    rows = {(one.method, one.seed): one.measures for one in results.evaluations if one.arm == request.arm}
    families = ("membership", "distance", "score")
    columns = [one for one in columns_of(request, request.task.error) if one[1].family in families]

    def changed(after: str, before: str, key: MeasureKey) -> list[float]:
        both = [
            (rows[after, seed][key].value, rows[before, seed][key].value) for method, seed in rows if method == after
        ]
        return [one - other for one, other in both if one is not None and other is not None]

    endings = [(one, one.removesuffix(REBALANCED)) for one, _ in rows if one.endswith(REBALANCED)]
    return ["model, less the one before", *(title for title, _ in columns)], [
        [after, *(cell_of(changed(after, before, key))[0] for _, key in columns)]
        for after, before in dict.fromkeys(endings)
    ]


def main(commit: str, folder: Path) -> None:
    """Write results/eyes.json from a finished run."""
    results = read_results(folder)
    tables = []
    for request in results.requests:
        for ending, about, (columns, rows) in (
            ("", "", table(results, request)),
            (", rebalanced", ": what rebalancing changed", after_rebalancing(results, request)),
        ):
            tables.append(
                {
                    "name": f"{request.arm}{ending}",
                    "caption": f"{CAPTIONS[request.arm]}{about}",
                    "command": [
                        "efface run plans/eyes.toml --out runs/eyes --jobs 2",
                        f"python docs/save_eyes.py {commit} runs/eyes",
                    ],
                    "plan": "plans/eyes.toml",
                    "seeds": sorted({one.seed for one in results.evaluations if one.method != SECOND_REFERENCE}),
                    "columns": columns,
                    "rows": rows,
                }
            )
    saved = {
        "title": "Eye centres: one group asks to be forgotten",
        "commit": commit,
        "note": "Saved from the run's results by the command beside each table.",
        "machine": machine_of(results.environment),
        "known": "Limits of these numbers:",
        "limits": LIMITS,
        "tables": tables,
    }
    save("eyes", saved)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
