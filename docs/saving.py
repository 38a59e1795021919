"""What the commands that save results/*.json share: what they are asked, their tables, and the file."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.report.paired import cell_of, nearer_to_retraining
from efface.results import NONMEMBERS, SECOND_REFERENCE, Environment, Results

ROOT = Path(__file__).parents[1]
Columns = Sequence[tuple[str, MeasureKey]]
"""Of a table: (title, measure)."""
Table = tuple[list[str], list[list[str]]]
"""Titles, and the rows under them."""


def commit_and_runs(about: str | None) -> tuple[str, list[Path]]:
    """Of the command line COMMIT RUN...: the commit that made the runs, and their folders."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", type=_commit, help="40 hexadecimal digits, of the code that made the runs")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs, named like their plans")
    asked = parser.parse_args()
    return asked.commit, asked.runs


def _commit(given: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", given):
        raise argparse.ArgumentTypeError(f"'{given}' is not the 40 hexadecimal digits of a commit")
    return given


def machine_of(made: Environment) -> str:
    """The machine of a run in words."""
    threads = f"{made.threads} thread{'s' * (made.threads > 1)}"
    return f"{made.processor}, {threads}, Python {made.python}, torch {made.versions['torch']}"


def seeds_of(results: Results) -> list[int]:
    """The seeds of a run, the second reference's own aside."""
    return sorted({one.seed for one in results.evaluations if one.method != SECOND_REFERENCE})


def model_rows(
    results: Results,
    arm: str,
    columns: Columns,
    room: Mapping[MeasureKey, float | None],
    bills: Mapping[str, str] | None = None,
) -> Table:
    """Every model of an arm under each measure that any of them has, headroom first, and what it took.

    bills: for each column of costs the field of the bill that is a share of retraining's.
    """
    bills = bills or {"faces seen, of retraining": "faces_of_retraining"}
    summaries = [one for one in results.summaries if one.arm == arm and one.method != NONMEMBERS]
    known = [(title, key) for title, key in columns if any(key in one.measures for one in summaries)]
    costs = {one.method: one.cost for one in results.evaluations if one.arm == arm}

    def share(method: str, field: str) -> str:
        value = getattr(costs.get(method), field, None)
        return f"{value:.0%}" if value else "–"

    rooms = [f"{value:.1f}" if (value := room.get(key)) is not None else "–" for _, key in known]
    rows = [["*headroom*", *rooms, *("" for _ in bills)]] if room else []
    rows += [
        [
            wording.row_title(one.method),
            *(wording.interval(one.measures.get(key)).replace("-", "−") for _, key in known),
            *(share(one.method, field) for field in bills.values()),
        ]
        for one in summaries
    ]
    return ["model", *(title for title, _ in known), *bills], rows


def by_seed(results: Results, first: tuple[str, str], second: tuple[str, str], key: MeasureKey) -> list[float]:
    """A measure of one row, an (arm, method), less that of another, of each seed in which both were measured; none at
    all where it could not be told of one of them in some seed."""
    rows = {(one.arm, one.method, one.seed): one.measures for one in results.evaluations}
    seeds = [seed for arm, method, seed in rows if (arm, method) == first and (*second, seed) in rows]
    records = [[one for row in (first, second) if (one := rows[*row, seed].get(key))] for seed in seeds]
    measured = [[one.value for one in pair] for pair in records if len(pair) == 2]
    values = [[value for value in pair if value is not None] for pair in measured]
    return [one - other for one, other in values] if values == measured else []


def differences(results: Results, arm: str, pairs: Sequence[tuple[str, str]], columns: Columns, about: str) -> Table:
    """For each pair of rows the first less the second, seed by seed, with Student's 95% interval over seeds."""
    return [about, *(title for title, _ in columns)], [
        [
            wording.row_title(first),
            *(cell_of(by_seed(results, (arm, first), (arm, second), key))[0] for _, key in columns),
        ]
        for first, second in pairs
    ]


def nearer(results: Results, arm: str, columns: Columns, pairs: Mapping[str, tuple[str, str]], about: str) -> Table:
    """For each row how much nearer to retraining the first of its methods is (below 0) than the second; paired too."""
    return [about, *(title for title, _ in columns)], [
        [
            wording.row_title(name),
            *(cell_of(nearer_to_retraining(results, arm, key, first, second))[0] for _, key in columns),
        ]
        for name, (first, second) in pairs.items()
    ]


def entries(
    script: str, commit: str, folder: Path, results: Results, made: Mapping[str, tuple[str, Table]]
) -> list[Any]:
    """A run's tables as they stand in a file. made: under each name its caption and itself; script: what saves them."""
    plan = f"plans/{folder.name}.toml"
    common = {
        "command": [
            f"efface run {plan} --out runs/{folder.name} --jobs 2",
            f"python docs/{script} {commit} runs/{folder.name}",
        ],
        "plan": plan,
        "seeds": seeds_of(results),
    }
    return [
        {"name": name, "caption": caption, **common, "columns": head, "rows": rows}
        for name, (caption, (head, rows)) in made.items()
    ]


def save(
    name: str,
    title: str,
    *,
    commit: str,
    machine: str,
    limits: Sequence[str],
    tables: Sequence[Mapping[str, Any]],
) -> None:
    """Write results/NAME.json: tables, with the commit and the machine of those that name none of their own."""
    saved = {
        "title": title,
        "commit": commit,
        "note": "Saved by the command beside each table.",
        "machine": machine,
        "known": "Limits of these numbers:",
        "limits": list(limits),
        "tables": list(tables),
    }
    path = ROOT / "results" / f"{name}.json"
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
