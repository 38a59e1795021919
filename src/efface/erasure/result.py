"""What came of a request: everything a record says but who asked whom, as `outcome.json` has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from efface.erasure.record import (
    Cost,
    Count,
    Criteria,
    Evidence,
    Goal,
    GroupMeasurements,
    Measurement,
    Method,
    ModelFile,
    Outcome,
    Part,
    Record,
    Request,
    Text,
    subject_hmac,
)
from efface.erasure.request import Answer
from efface.errors import InputError
from efface.files import read_text, write_private
from efface.results import Environment, VerdictWord

OUTCOME = "outcome.json"


class Threshold(Part):
    """The cosine from which on two photos are taken for one person's."""

    value: float
    about: Text
    """Where it comes from."""


class Allowed(Part):
    """A criterion in numbers."""

    measure: Text
    low: float | None
    """The values that are allowed, from here ..."""
    high: float | None
    """... to here; nothing where there is no such end."""
    value: float | None
    """What the model after has."""
    verdict: VerdictWord


class ErasureResult(Part):
    """A request served, or an audit of what somebody else made."""

    goal: Goal
    people: Count
    photos: Count
    held_back: Count
    threshold: Threshold | None
    """Of a recogniser."""
    model_before: ModelFile
    model_after: ModelFile | None
    exported: list[ModelFile] = Field(default_factory=list)
    """The model after in other formats."""
    evidence: Evidence
    method: Method | None
    criteria: Criteria | None
    allowed: list[Allowed]
    outcome: Outcome
    measurements: list[Measurement]
    groups: list[GroupMeasurements]
    emptied_rows: Count
    """Rows of heads that held a direction of the people who asked, now zeros."""
    stale: list[Text]
    """Parts of the file that are of the weights before, such as an optimiser's state."""
    notes: list[Text]
    """What was left out, and what to know of the photos."""
    limits: Annotated[list[Text], Field(min_length=1)]
    cost: Cost
    tool: Text
    machine: Environment
    signature: Text
    """Of everything the result follows from."""


def write_result(result: ErasureResult, out: Path) -> None:
    """Write `outcome.json`, readable by its owner alone."""
    write_private(out / OUTCOME, (result.model_dump_json(indent=1) + "\n").encode())


def read_result(out: Path) -> ErasureResult:
    """What `write_result` wrote."""
    path = out / OUTCOME
    try:
        return ErasureResult.model_validate_json(read_text(path, "outcome"))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"{path} is no outcome of efface forget: {where}: {error.errors()[0]['msg']}") from None


def record_of(result: ErasureResult, answer: Answer, names: list[str], key: Path) -> Record:
    """The record of a result; names: of the people, who stand in it as an HMAC under the key in a file."""
    verdict, today = result.outcome.verdict, datetime.now(UTC).date()
    to_do = any(one.state == "to do" for one in answer.deletions)
    status = (
        ("RequestActionDelayed" if answer.request.get("extended") else "RequestUnfulfilled")
        if verdict == "do not ship"
        else "RequestAccepted"
        if verdict == "forgotten" or to_do
        else "RequestFulfilled"
    )
    due = answer.request.get("extended") or answer.request["due"]
    outcome = result.outcome
    if verdict == "do not ship":
        outcome = outcome.model_copy(update={"next_step": answer.next_step, "next_step_by": due})
    asked = {"subjects": [subject_hmac(name, key) for name in names], "status": status, "answered": today}
    try:
        return Record(
            controller=answer.controller,
            request=Request.model_validate(dict(answer.request) | asked),
            scope={"people": len(names), "photos": result.photos, "held_back": result.held_back},  # type: ignore[arg-type]
            deletions=list(answer.deletions),
            model_before=result.model_before,
            model_after=result.model_after,
            exported=result.exported,
            evidence=result.evidence,
            goal=result.goal,
            method=result.method,
            criteria=result.criteria,
            outcome=Outcome.model_validate(outcome.model_dump()),
            measurements=result.measurements,
            groups=result.groups,
            cost=result.cost,
            limits=result.limits,
            tool=result.tool,
            machine=result.machine,
        )
    except ValidationError as error:
        raise InputError(f"the record contradicts itself: {error.errors()[0]['msg']}") from None


def model_file(path: Path, digest: str, architecture: str, contract: Mapping[str, object]) -> ModelFile:
    """A file of weights as a record names it."""
    return ModelFile(
        name=path.name,
        sha256=digest,
        bytes=path.stat().st_size,
        architecture=architecture,
        contract=dict(contract),  # type: ignore[arg-type]
    )
