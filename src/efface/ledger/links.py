"""What is put to a request: files of models, places of data, and runs with what came of them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from efface.erasure.result import OUTCOME, read_result
from efface.errors import InputError
from efface.files import sha256_of
from efface.ledger.cases import Linked


def linked(
    case: str, day: date, *, model: Path | None = None, store: str | None = None, run: Path | None = None
) -> list[Linked]:
    """An event for each thing given; of a run the verdict and the digest of its outcome.json.

    Raises InputError for a file that is not there, and for a folder that no run finished in.
    """
    events = []
    if model is not None:
        if not model.is_file():
            raise InputError(f"no file {model}: give the model's file")
        events.append(Linked(case=case, day=day, what="model", name=model.name, sha256=sha256_of(model)))
    if store is not None:
        events.append(Linked(case=case, day=day, what="store", name=store))
    if run is not None:
        outcome = run / OUTCOME
        verdict = read_result(run).outcome.verdict
        events.append(Linked(case=case, day=day, what="run", name=run.name, sha256=sha256_of(outcome), verdict=verdict))
    return events
