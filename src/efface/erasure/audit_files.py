"""`efface audit`: two files of weights, before and after, judged by the measures of `efface forget`, whoever made them.

Criteria, photos and report are those of a request; no weights are written, and nothing is trained but a
reference and shadow models where they are asked for.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from efface.erasure.checkpoint import Checkpoint
from efface.erasure.criteria import Checked, Verdict
from efface.erasure.forget import (
    NOTHING,
    WORKING,
    Served,
    allowed_of,
    every_criterion,
    judge_of,
    measure_contract,
    signature_of,
)
from efface.erasure.forget_page import write_page
from efface.erasure.inspect import opened_pairs
from efface.erasure.judge import Judge, heads_of
from efface.erasure.labels import answers_of
from efface.erasure.opened import open_model
from efface.erasure.photos import read_request_photos
from efface.erasure.precision import notes_on, precision_for
from efface.erasure.record import Criterion, CriterionResult, Estimate, Measurement, Outcome, fix_criteria
from efface.erasure.reference import TRAIN, check_beside, of_same_network, reference_of
from efface.erasure.request import ErasureRequest
from efface.erasure.result import ErasureResult, model_file, write_result
from efface.erasure.shadow_attack import shadow_attack
from efface.erasure.verification_sets import verification_of
from efface.erasure.working import Working, begin, cleared_if_refused
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.files import exclusive, folder_for
from efface.progress import Say
from efface.training.environment import Meter, check_threads, deterministic_torch, device_named, environment

ROWS = "rows of heads that hold a direction of the people who asked"
UNKNOWN_PHOTOS = (
    "which photos whoever made the model after had handed to it is not known here: give photos it was not handed, or "
    "read the measures of held-back photos as lower bounds"
)


def audit(
    request: ErasureRequest,
    after: Path,
    out: Path,
    *,
    device: str = "auto",
    threads: int = 2,
    say: Say = lambda _line: None,
) -> ErasureResult:
    """Judge a model after beside the request's model, and write `outcome.json` and `report.html` into `out`.

    Raises InputError for files that are not of one network, and for a reference that knows the people who asked.
    """
    here = device_named(device)
    check_threads(threads)
    check_beside(request)
    if request.goal == "removed from the gallery":
        raise InputError("goal 'removed from the gallery' changes no weights: there are none to audit")
    busy = f"another run is at work in {out}: wait for it, or give another --out"
    with (
        folder_for(out),
        exclusive(out / ".lock", busy),
        deterministic_torch(here, threads, request.seed),
        Meter(here) as meter,
        cleared_if_refused(out / WORKING),
    ):
        model = open_model(request.model, request.arch, request.contract, request.size, answers_of(request))
        other = of_same_network(after, model)
        photos = read_request_photos(request, model.contract)
        signature = signature_of(request, model, photos)
        if not model.measured:
            measure_contract(model, request, here, say)
        images = photos.faces.images
        old, new = (outputs(one.network.to(here), images, here) for one in (model, other))
        judge = judge_of(request, photos, old)
        verdict, asked = judge.verdict(new), judge.asked()
        rows = rows_left(judge, model.checkpoint, other.checkpoint)
        notes: list[str] = []
        extra = list(
            verification_of(
                opened_pairs(request.pairs, request.pair_photos, None, request.detector, request.skip_unreadable),
                model.network,
                other.network,
                here,
            )
        )
        if rows is not None:
            verdict = Verdict((*verdict.checked, Checked(ROWS, float(rows), -np.inf, 0.0, 0.0)))
            asked.append(Criterion(measure=ROWS, asked="none"))
            about = "rows of a head nearer to one of them, by the model before, than any row is to any stranger"
            own = sum(map(len, judge.rows_of_people(model.checkpoint).values()))
            extra.append(Measurement(name=ROWS, before=Estimate(value=own), after=Estimate(value=rows), about=about))
        begin(out / WORKING, f"{signature} {other.checkpoint.digest}")
        if request.reference == TRAIN or request.shadows:
            decide = partial(precision_for, model.network, photos.faces, here, request.precision, say)
            precision = Working(out / WORKING).precision(decide)
            request, notes = replace(request, precision=precision), notes_on(precision)
        extra += reference_of(request, model, photos, judge, here, say)
        extra += shadow_attack(request, model, photos, judge, new, out / WORKING, here, say)
        say(f"verdict: {verdict.summary()}")
        served = Served(
            request,
            model,
            photos,
            judge,
            judge.evidence(old, heads_of(model.checkpoint)),
            answers_after=new,
            criteria=fix_criteria(asked, datetime.now(UTC)),
            file_after=model_file(after, other.checkpoint.digest, model.architecture, model.contract.plain()),
            allowed=[allowed_of(one) for one in verdict.checked],
            limits=[UNKNOWN_PHOTOS],
            notes=notes,
            extra=extra,
        )
        served.outcome = outcome_of(verdict, judge, served.evidence.conclusion)
    result = served.result(signature, meter, environment(here, threads))
    write_page(result, out, "Audit of a changed face model")
    write_result(result, out)
    shutil.rmtree(out / WORKING, ignore_errors=True)
    return result


def rows_left(judge: Judge, before: Checkpoint, after: Checkpoint) -> int | None:
    """How many rows of the heads of the file after still hold a direction of the people; None where it has no head."""
    if not after.heads:
        return None
    meant, found, heads = judge.rows_of_people(before), judge.rows_of_people(after), heads_of(after)
    left = {(name, row) for name, rows in found.items() for row in rows}
    left |= {(name, row) for name, rows in meant.items() if name in heads for row in rows}
    return sum(bool(np.any(heads[name][row])) for name, row in left)


def outcome_of(verdict: Verdict, judge: Judge, evidence: str) -> Outcome:
    """What the criteria come to: those that the model before met as well say nothing about what was forgotten."""
    results = [CriterionResult(measure=one.name, verdict=one.word) for one in verdict.checked]
    held = judge.held_before(verdict)
    told = [one.name for one in verdict.checked if one.name not in (*held, *judge.of_everybody)]
    if not verdict.passed:
        return Outcome(verdict="do not ship", reasons=[f"not met: {', '.join(verdict.failed)}"], results=results)
    if told:
        return Outcome(verdict="forgotten", reasons=[every_criterion(held)], results=results)
    if evidence == "no sign of training":
        return NOTHING.model_copy(update={"results": results})
    return Outcome(
        verdict="do not ship",
        reasons=[
            "these photos cannot tell whether anything was forgotten: the model before meets every criterion about "
            "these people, too; give photos that it was trained on, or more of them"
        ],
        results=results,
    )
