"""Saves what bf16 changes in whole runs, as results/bf16.json.

efface run plans/bf16_eyes.toml --out runs/bf16_eyes --jobs 2
python docs/save_precision.py COMMIT runs/bf16_eyes      (and bf16_people)

A table for each run: of every row the verdict with 32 bits and with 16, each measure with 32 bits, what 16 bits change
of it, paired by seed (Student's 95% interval), and what making the models took. COMMIT is of the code that made them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.report.paired import cell_of
from efface.results import NONMEMBERS, Results, read_results
from saving import ROOT, Table, by_seed, commit_and_runs, entries, machine_of, save

WIDE, NARROW = "32 bits", "16 bits"
"""The arms of the plans."""
CAPTIONS = {
    "bf16_eyes": "Eye centres: a tenth of one group, in 32 and in 16 bits",
    "bf16_people": "Recognition: 15 of 250 people, in 32 and in 16 bits",
}
LIMITS = [
    "Verdicts are by thresholds that the plans fix: the attack within .1 of the retrained model's, the error of test "
    "faces within .05.",
    "Narrow networks on small pictures, five seeds, and a CPU with instructions for bf16.",
    "16 bits start from the same weights and see the same batches; a training that begins to differ in the last digits "
    "ends elsewhere, as one of another seed does.",
    "Rows of an arm share its retrained model: where that moves, distances to it move together.",
]


def beside(results: Results) -> Table:
    """Every row with 32 bits, and what 16 change."""
    error = MeasureKey("score", results.requests[0].task.error, split="test", group="all")
    named = results.requests[0].task.error.replace("_", " ")
    columns = [("attack AUC", wording.ATTACK_AUC), ("ToW", MeasureKey("distance", "tow")), (f"{named}, test", error)]
    mean = {(one.arm, one.method): one.measures for one in results.summaries}
    verdicts = {(one.arm, one.method): one.verdict for one in results.verdicts}
    head = ["model", *(f"verdict, {arm}" for arm in (WIDE, NARROW))]
    head += [cell for title, _ in columns for cell in (f"{title}, {WIDE}", "16 less 32")] + ["CPU seconds, of 32 bits"]
    rows = []
    for method in dict.fromkeys(one.method for one in results.evaluations if one.method != NONMEMBERS):
        cells = [verdicts.get((arm, method), "–") for arm in (WIDE, NARROW)]
        for _, key in columns:
            moved = by_seed(results, (NARROW, method), (WIDE, method), key)
            cells += [wording.interval(mean[WIDE, method].get(key)), cell_of(moved)[0]]
        wide, narrow = (cpu_seconds(results, arm, method) for arm in (WIDE, NARROW))
        rows.append([wording.row_title(method), *cells, f"{narrow / wide:.2f}" if wide else "–"])
    return head, rows


def cpu_seconds(results: Results, arm: str, method: str) -> float:
    """What making a row's models took, all seeds together."""
    made = [one for one in results.evaluations if (one.arm, one.method) == (arm, method)]
    return sum(one.cost.cpu_seconds or 0.0 for one in made if one.cost is not None)


def main(commit: str, folders: Sequence[Path]) -> None:
    """Write results/bf16.json from finished runs; tables of runs that are not given stay as they are."""
    path, machine = ROOT / "results" / "bf16.json", ""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tables": []}
    tables = {one["name"]: {"commit": before["commit"], "machine": before["machine"]} | one for one in before["tables"]}
    for folder in folders:
        results = read_results(folder)
        machine = machine_of(results.environment)
        made = {folder.name: (CAPTIONS[folder.name], beside(results))}
        for one in entries("save_precision.py", commit, folder, results, made):
            tables[one["name"]] = {"commit": commit, "machine": machine} | one
    save(
        "bf16",
        "What bf16 changes in a run",
        commit=commit,
        machine=machine,
        limits=LIMITS,
        tables=list(tables.values()),
    )


if __name__ == "__main__":
    main(*commit_and_runs(__doc__))
