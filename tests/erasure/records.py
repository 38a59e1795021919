"""Records of invented requests, one for each verdict."""

from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

from efface.erasure.record import (
    NO_PROOF_OF_ORIGIN,
    Controller,
    Cost,
    Criterion,
    CriterionResult,
    Deletion,
    Estimate,
    Evidence,
    GroupMeasurements,
    Measurement,
    Method,
    ModelFile,
    Outcome,
    Record,
    Request,
    Scope,
    Tried,
    fix_criteria,
)
from efface.results import Environment

BEFORE, AFTER = b"weights before " * 50, b"weights after " * 50
VERDICTS = ("forgotten", "do not ship", "nothing to unlearn in the weights", "delete from gallery and block")
ASKED = [
    Criterion(measure="re-enrolled rank-1 of the forgotten", asked="at most the strangers' upper limit"),
    Criterion(measure="false match rate at the threshold in use", asked="at most the original's upper limit"),
]


def model(name: str, content: bytes) -> ModelFile:
    contract: dict[str, Any] = {"size": [112, 96], "template": "sphereface", "mean": 127.5, "colour": "RGB"}
    return ModelFile(
        name=name,
        sha256=sha256(content).hexdigest(),
        bytes=len(content),
        architecture="mobilefacenet",
        contract=contract,
    )


def record_of(verdict: str = "forgotten", **changed: Any) -> Record:
    """A record with this verdict; changed: parts of it to put in the place of others."""
    made = verdict in ("forgotten", "do not ship")
    results: list[Any] = {"forgotten": ["pass", "pass"], "do not ship": ["fail", "not enough data"]}.get(verdict, [])
    deletions = [
        Deletion(store="photos", where="photo store", count=14, state="deleted", day=date(2026, 11, 20)),
        Deletion(store="crops", where="training crops", count=14, state="deleted", day=date(2026, 11, 20)),
        Deletion(store="caches", where="thumbnails", state="nothing found"),
        Deletion(store="gallery", where="door system", count=1, state="deleted", day=date(2026, 11, 19)),
        Deletion(store="backups", where="nightly backups", state="expires", day=date(2027, 2, 18)),
        Deletion(
            store="recipients", where="the company that runs the doors", count=1, state="told", day=date(2026, 11, 21)
        ),
    ]
    if verdict == "delete from gallery and block":
        deletions.append(
            Deletion(
                store="block list",
                where="door system",
                count=1,
                state="kept",
                why="without it the doors could name them",
            )
        )
    rank = Measurement(
        name="re-enrolled rank-1 of the forgotten",
        before=Estimate(value=0.97, low=0.93, high=0.99),
        after=Estimate(value=0.61, low=0.52, high=0.7) if made else None,
        about="how often a held-back photo of theirs is told from everybody else's, after enrolling them again",
        smallest_effect=0.08,
    )
    parts: dict[str, Any] = {
        "controller": Controller(
            name="Example Doors Ltd",
            contact="privacy@example.org",
            authority="the Data Protection Office, office@example.net",
        ),
        "request": Request(
            reference="2026-0042",
            subjects=["ab" * 32],
            received=date(2026, 11, 3),
            due=date(2026, 12, 3),
            answered=date(2026, 11, 24),
            ground="consent withdrawn",
            identity_check="account",
            status="RequestUnfulfilled" if verdict == "do not ship" else "RequestFulfilled",
        ),
        "scope": Scope(people=1, photos=14, held_back=4),
        "deletions": deletions,
        "model_before": model("backbone.pth", BEFORE),
        "model_after": model("backbone-after.pth", AFTER) if made else None,
        "evidence": Evidence(
            conclusion="no sign of training" if verdict.startswith("nothing") else "trained on",
            about="their held-back photos against those of 200 strangers",
            measurements=[rank],
        ),
        "goal": "removed from the gallery" if verdict.startswith("delete") else "influence removed",
        "method": Method(
            name="out_of_fold",
            settings={"epochs": 3, "rate": 0.001, "layers": ["last"]},
            tried=[Tried(method="finetune", passed=False, why="still told apart")],
        )
        if made
        else None,
        "criteria": fix_criteria(ASKED, datetime(2026, 11, 10, 9, 30, tzinfo=UTC)) if made else None,
        "outcome": Outcome(
            verdict=verdict,  # type: ignore[arg-type]
            reasons=["on held-back photos"],
            results=[
                CriterionResult(measure=one.measure, verdict=word) for one, word in zip(ASKED, results, strict=False)
            ],
            re_enrol=True if verdict == "forgotten" else None,
            in_use_since=date(2026, 11, 22) if verdict == "forgotten" else None,
            next_step="train again without them" if verdict == "do not ship" else None,
            next_step_by=date(2027, 1, 31) if verdict == "do not ship" else None,
        ),
        "measurements": [rank] if made else [],
        "groups": [GroupMeasurements(group="50 or older", people=20, measurements=[rank])] if made else [],
        "cost": Cost(seconds=140.5, cpu_seconds=90.25, faces=6000, peak_memory_mib=512.0),
        "limits": [NO_PROOF_OF_ORIGIN, "photos that the request did not bring were not measured"],
        "tool": "efface 0.1",
        "machine": Environment(
            efface="0.1",
            python="3.11",
            platform="Linux",
            processor="x",
            versions={},
            device="cpu",
            threads=2,
            deterministic=True,
        ),
    }
    return Record(**(parts | changed))
