"""What a run saved, read for a report: this version's results, and those of `efface.results/1` in today's words."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.evaluation.evidence import Evidence, evidence_path
from efface.files import load_columns
from efface.results import RENAMED_ROWS, SCHEMA, Results, read_plain, results_of
from efface.tasks import task_named

RENAMED_COLUMNS = {"answers": "outputs", "truth": "targets", "suspicion": "membership_score"}
"""Columns of evidence in runs that left `efface.results/1`, and what they are called now."""


def read(folder: Path) -> Results:
    """The results of a folder; InputError where there are none, or none that can be read."""
    plain = read_plain(folder)
    if isinstance(plain, dict) and plain.get("schema") == "efface.results/1":
        plain = _in_todays_words(plain)
    return results_of(plain, folder)


def read_evidence(folder: Path, arm: str) -> Evidence:
    """The evidence of one arm."""
    path = evidence_path(folder, arm)
    earlier = path.with_name(f"{re.sub(r'[^a-z0-9]+', '-', arm.lower()).strip('-') or 'run'}.npz")
    path = path if path.exists() else earlier
    try:
        return load_columns(Evidence, path, RENAMED_COLUMNS)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run the plan again into {folder}") from None
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} is not what was written: run the plan again into {folder}") from None


def _in_todays_words(plain: dict[str, Any]) -> dict[str, Any]:
    """Results of the first format: rows and tasks as they are said today; measures are renamed as they are read."""

    def renamed(row: dict[str, Any]) -> dict[str, Any]:
        stages = {"stages": [RENAMED_ROWS.get(one, one) for one in row["stages"]]} if "stages" in row else {}
        return row | stages | {"method": RENAMED_ROWS.get(row["method"], row["method"])}

    rows = {name: [renamed(row) for row in plain.get(name, [])] for name in ("evaluations", "summaries", "verdicts")}
    requests = [one | {"task": task_named(one["task"]).card().model_dump()} for one in plain.get("requests", [])]
    return plain | rows | {"requests": requests, "schema": SCHEMA}
