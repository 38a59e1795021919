"""`efface forget`: a request served on somebody's own model, top to bottom, and the folder it leaves.

What stands in the folder: `outcome.json` and `report.html`; where the request has them asked, a signed record and a
letter; and the weights, as the file they came in, only where every criterion was met that was fixed before the run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import efface
from efface.data.batches import BatchLoader, as_input
from efface.data.faces import Array, Images
from efface.erasure.blocking import OTHERS_STOPPED, STOPPED
from efface.erasure.candidates import (
    Attempt,
    Bench,
    candidates_for,
    method_data,
    steps_of,
)
from efface.erasure.checkpoint import write_checkpoint
from efface.erasure.contract import ContractedNetwork
from efface.erasure.contract_check import check, pairs_of_people, refuse_mistaken
from efface.erasure.criteria import Checked, Verdict
from efface.erasure.forget_page import write_page
from efface.erasure.inspect import opened_pairs
from efface.erasure.judge import Judge, RecognitionJudge, heads_of
from efface.erasure.labels import answers_of
from efface.erasure.letter import write_letter
from efface.erasure.measuring import evidence_of
from efface.erasure.onnx_file import MOST, check_onnx, write_onnx
from efface.erasure.opened import Opened, open_model
from efface.erasure.photos import RequestPhotos, read_request_photos
from efface.erasure.precision import notes_on, precision_for
from efface.erasure.prediction_check import measure_prediction_contract
from efface.erasure.prediction_judge import PredictionJudge
from efface.erasure.record import (
    NO_PROOF_OF_ORIGIN,
    Cost,
    Criteria,
    CriterionResult,
    Measurement,
    Method,
    ModelFile,
    Outcome,
    Tried,
)
from efface.erasure.reference import check_beside, of_same_network, reference_of
from efface.erasure.request import ErasureRequest
from efface.erasure.result import (
    OUTCOME,
    Allowed,
    ErasureResult,
    model_file,
    read_result,
    record_of,
    write_result,
)
from efface.erasure.second import second_predictor, second_recogniser, seconds_to_train
from efface.erasure.shadow_attack import shadow_attack
from efface.erasure.signing import default_key, write_record
from efface.erasure.trained_on import TrainedOn
from efface.erasure.verification_sets import verification_of
from efface.erasure.working import Working, begin, cleared_if_refused, planned_run
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.files import exclusive, folder_for, sha256_of
from efface.models.last_layer import last_layer
from efface.progress import Say
from efface.results import Environment
from efface.tasks import TASKS, Task
from efface.training.environment import Meter, check_threads, deterministic_torch, device_named, environment

NOTHING = Outcome(
    verdict="nothing to unlearn in the weights",
    reasons=[
        "there is no sign that the model was trained on these people: delete them from gallery and stores, and leave "
        "the weights as they are"
    ],
)
WORKING = "unfinished"
"""Folder of what a killed run goes on from; it goes when the run ends."""
SETTINGS = (
    "goal",
    "threshold",
    "at_most_fmr",
    "at_most_fnmr",
    "budget",
    "without_evidence",
    "seed",
    "head_rows",
    "task",
    "label",
    "classes",
    "at_most_error",
    "onnx",
    "reference",
    "shadows",
)
"""Of a request, beside its files, what its result follows from."""
SHARED_PHOTOS = (
    "the held-back photos of the people who asked chose between candidates and judge the chosen one: they are too few "
    "to be divided; strangers and everybody else are others in the choice and in the verdict"
)

LAST_LAYER = (
    "only the last layer was changed: what the layers before it know of these people can be read there by whoever has "
    "the file, and comes back when the model is trained on their photos again"
)


def forget(
    request: ErasureRequest,
    out: Path,
    *,
    device: str = "auto",
    threads: int = 2,
    key: Path | None = None,
    say: Say = lambda _line: None,
) -> ErasureResult:
    """Serve a request, and return what then stands in `out/outcome.json`.

    A run that was killed goes on; one that is finished is read. key: of the private key that signs the record.
    Raises InputError for a request that cannot be served, and for a folder of another one.
    """
    here = device_named(device)
    check_threads(threads)
    check_beside(request)
    busy = f"another run is at work in {out}: wait for it, or give another --out"
    with folder_for(out), exclusive(out / ".lock", busy), deterministic_torch(here, threads, request.seed):
        model = open_model(request.model, request.arch, request.contract, request.size, answers_of(request))
        photos = read_request_photos(request, model.contract)
        signature = signature_of(request, model, photos)
        if (out / OUTCOME).exists():
            return finished(out, signature)
        if request.onnx:
            check_onnx()
        if not model.measured:
            measure_contract(model, request, here, say)
        with Meter(here) as meter, cleared_if_refused(out / WORKING):
            served = serve(request, model, photos, signature, out, here, say)
        result = served.result(signature, meter, environment(here, threads))
        write_page(result, out)
        if request.answer is not None:
            names = photos.people(np.concatenate([photos.forget, photos.forget_held])).tolist()
            record = record_of(result, request.answer, names, out.with_name(f"{out.name}-subject.key"))
            files = [result.model_before, *([result.model_after] if result.model_after else []), *result.exported]
            write_record(record, out, key or default_key(), {one.name: one.sha256 for one in files}, names=names)
            write_letter(record, out)
        write_result(result, out)
        shutil.rmtree(out / WORKING, ignore_errors=True)
    return result


def measure_contract(model: Opened, request: ErasureRequest, device: torch.device, say: Say) -> None:
    """Whether the model tells public people apart, or answers what is asked of them, by its contract; InputError where
    another fits better, or none."""
    if not request.recognises:
        say(measure_prediction_contract(model.network.network, model.contract, request, device))
        return
    pairs = pairs_of_people(request.public, request.detector, request.skip_unreadable)
    measured = check(model.network.network, model.contract, pairs, device)
    refuse_mistaken(measured, model.contract, str(request.model))
    say(f"the input contract was measured by {measured.pairs:,} pairs of public people")


@dataclass
class Served:
    """What a request came to, before it is written down."""

    request: ErasureRequest
    model: Opened
    photos: RequestPhotos
    judge: Judge
    evidence: TrainedOn
    outcome: Outcome = NOTHING
    answers_after: Array | None = None
    criteria: Criteria | None = None
    method: Method | None = None
    file_after: ModelFile | None = None
    exported: Sequence[ModelFile] = ()
    emptied: int = 0
    faces: int = 0
    earlier: Sequence[Attempt] = ()
    allowed: Sequence[Allowed] = ()
    limits: Sequence[str] = ()
    notes: Sequence[str] = ()
    extra: list[Measurement] = field(default_factory=list)

    def bill(self, meter: Meter) -> dict[str, float]:
        """What it took, with candidates that a run which was killed had made."""
        bill = dict(meter.bill)
        for one in self.earlier:
            bill["seconds"] += one.seconds
            bill["cpu_seconds"] += one.cpu_seconds
        return bill

    def result(self, signature: str, meter: Meter, machine: Environment) -> ErasureResult:
        """Everything in one."""
        measurements, re_enrol = self.judge.measurements(self.answers_after)
        asked = np.concatenate([self.photos.forget, self.photos.forget_held])
        shipped = self.file_after is not None
        return ErasureResult(
            goal=self.request.goal,
            people=len(self.photos.people(asked)),
            photos=len(asked),
            held_back=len(self.photos.forget_held),
            threshold=self.judge.threshold,
            model_before=model_file(
                self.request.model, self.model.checkpoint.digest, self.model.architecture, self.model.contract.plain()
            ),
            model_after=self.file_after,
            exported=list(self.exported),
            evidence=evidence_of(self.evidence),
            method=self.method,
            criteria=self.criteria,
            allowed=list(self.allowed),
            outcome=self.outcome.model_copy(update={"re_enrol": re_enrol if shipped else None}),
            measurements=[*measurements, *self.judge.blocking(), *self.extra],
            groups=self.judge.groups(self.answers_after),
            emptied_rows=self.emptied,
            stale=list(self.model.checkpoint.stale) if shipped else [],
            notes=[*self.photos.notes, *self.notes],
            limits=[NO_PROOF_OF_ORIGIN, *self.limits, *([SHARED_PHOTOS] if self.method else [])],
            cost=Cost(**self.bill(meter), faces=self.faces),
            tool=f"efface {efface.__version__}",
            machine=machine,
            signature=signature,
        )


def serve(
    request: ErasureRequest,
    model: Opened,
    photos: RequestPhotos,
    signature: str,
    out: Path,
    device: torch.device,
    say: Say,
) -> Served:
    """From the evidence to the verdict; signature: of the request, whose unfinished work is gone on with."""
    network = model.network.to(device)
    before = outputs(network, photos.faces.images, device)
    judge, task = judge_of(request, photos, before), TASKS[request.task]
    served = Served(request, model, photos, judge, judge.evidence(before, heads_of(model.checkpoint)))
    say(f"evidence that they were trained on: {served.evidence.conclusion}")
    if request.goal == "removed from the gallery":
        served.outcome = blocked(judge.blocking())
        return served
    no_sign = served.evidence.conclusion == "no sign of training"
    if no_sign and not request.without_evidence and request.goal == "influence removed":
        return served

    begin(out / WORKING, signature)
    working = Working(out / WORKING)
    precision = working.precision(partial(precision_for, network, photos.faces, device, request.precision, say))
    request = replace(request, precision=precision)
    served.notes = [*served.notes, *notes_on(precision)]
    served.extra += reference_of(request, model, photos, judge, device, say)
    loader = BatchLoader(device, request.seed)
    second, cache = None, working.folder / "second.safetensors"
    if request.goal == "influence removed":
        make = second_recogniser if request.recognises else second_predictor
        second = make(request, photos, device, cache, loader, say)
    data = method_data(photos, second, network, judge.directions(model.checkpoint))

    def chosen_by(one: nn.Module) -> Verdict:
        rows, now = judge.choosing_rows, np.zeros(before.shape, np.float32)
        now[rows] = outputs(one, photos.faces[rows].images, device)
        return judge.choice(now)

    closed_form = request.recognises and ends_linear(network, photos, say)
    making = seconds_to_train(request, photos, cache, device) if request.goal == "influence removed" else 0.0
    planned = working.plan(lambda: planned_run(request, network, data, judge, device, closed_form, making))
    served.criteria = Criteria.model_validate_json(json.dumps(planned["criteria"]))
    every = candidates_for(task, request.goal, planned["steps"], data, closed_form)
    candidates = every[: planned["candidates"]]
    say(f"{len(candidates)} candidates of up to {planned['steps']} steps: about {planned['seconds']:.0f} s at most")
    bench = Bench(network, task, data, device, request.seed, chosen_by, request.trained_in, say)
    chosen = working.best_of(bench, candidates)
    served.earlier = bench.earlier
    served.faces = loader.faces_used + sum(one.faces for one in bench.attempts)

    after = ContractedNetwork(chosen.network, model.contract).to(device)
    served.answers_after = outputs(after, photos.faces.images, device)
    verdict = judge.verdict(served.answers_after)
    say(f"verdict on photos that chose nothing: {verdict.summary()}")
    served.method = method_of(chosen, bench)
    served.limits = [LAST_LAYER] if not steps_of(chosen.candidate, data) else []
    pairs = opened_pairs(request.pairs, request.pair_photos, None, request.detector, request.skip_unreadable)
    served.extra += verification_of(pairs, network, after, device)
    served.extra += shadow_attack(
        request, model, photos, judge, served.answers_after, working.folder / "shadows", device, say
    )
    served.allowed = [allowed_of(one) for one in verdict.checked]
    results = [CriterionResult(measure=one.name, verdict=one.word) for one in verdict.checked]
    if verdict.passed and chosen.verdict.passed:
        rows = judge.rows_of_people(model.checkpoint)
        path = out / f"{request.model.stem}-after{request.model.suffix}"
        digest = write_checkpoint(model.checkpoint, chosen.network.cpu().state_dict(), path, emptied_rows=rows)
        served.file_after = model_file(path, digest, model.architecture, model.contract.plain())
        served.emptied = sum(map(len, rows.values()))
        if request.onnx:
            shipped = of_same_network(path, model).network
            served.exported, notes = exported(shipped, photos.faces.images, path, served.file_after)
            served.notes = [*served.notes, *notes]
        reason = every_criterion(judge.held_before(verdict))
        served.outcome = Outcome(verdict="forgotten", reasons=[reason], results=results)
    else:
        reasons = reasons_against(verdict, chosen, bench.attempts, task)
        served.outcome = Outcome(verdict="do not ship", reasons=reasons, results=results)
    return served


def exported(
    after: ContractedNetwork, images: Images, weights: Path, file: ModelFile
) -> tuple[list[ModelFile], list[str]]:
    """The model after as an ONNX file beside its weights, and what to know of it."""
    path = weights.with_suffix(".onnx")
    try:
        apart = write_onnx(after, images[np.arange(min(MOST, len(images)))], path)
    except InputError as error:
        return [], [f"no ONNX file: {error}"]
    about = (
        f"{path.name} answers {min(MOST, len(images))} photos as the weights do, to {apart:.0e} of the largest answer"
    )
    return [model_file(path, sha256_of(path), file.architecture, file.contract)], [about]


def every_criterion(held: Sequence[str]) -> str:
    """That all criteria were met, and which of them the model before met as well."""
    met = "every criterion was met, those about held-back photos by photos that no method was handed"
    return met if not held else f"{met}; the model before met {', '.join(held)} as well"


def blocked(measured: Sequence[Measurement]) -> Outcome:
    """The weights stay: what a block list does, and what it does not."""
    stopped, others = (
        f"{one.before.value:.0%}" if one.before else "an unknown share"
        for name in (STOPPED, OTHERS_STOPPED)
        for one in measured
        if one.name == name
    )
    return Outcome(
        verdict="delete from gallery and block",
        reasons=[
            f"the weights stay as they are; a block list stops {stopped} of the held-back photos of these people, and "
            f"{others} of everybody else's",
            "what the model learned from their photos is still in it, and a block list is a template of each of them",
        ],
    )


def judge_of(request: ErasureRequest, photos: RequestPhotos, before: Array) -> Judge:
    """What a model of the request's task is judged by."""
    return (RecognitionJudge if request.recognises else PredictionJudge)(request, photos, before)


def ends_linear(network: ContractedNetwork, photos: RequestPhotos, say: Say) -> bool:
    """Whether a network can be changed in closed form."""
    device = network.scale.device
    try:
        last_layer(network, as_input(photos.faces.images[np.arange(min(8, len(photos.faces)))], device))
    except InputError as error:
        say(f"leace is left out: {error}")
        return False
    return True


def allowed_of(one: Checked) -> Allowed:
    """A criterion in numbers."""
    low, high = (float(end) if np.isfinite(end) else None for end in (one.low, one.high))
    return Allowed(measure=one.name, low=low, high=high, value=one.value, verdict=one.word)


def method_of(chosen: Attempt, bench: Bench) -> Method:
    """What was tried, for the record."""
    tried = [
        Tried(
            method=one.candidate.name,
            settings=settings_of(one, bench),
            passed=one.verdict.passed,
            why=f"{one.about}; {one.verdict.summary()}",
        )
        for one in bench.attempts
    ]
    return Method(name=chosen.candidate.method, settings=settings_of(chosen, bench), tried=tried)


def settings_of(attempt: Attempt, bench: Bench) -> dict[str, Any]:
    """A candidate's settings, which method went before, and with how many bits it was taught."""
    candidate = attempt.candidate
    before = {} if candidate.first is None else {"first": candidate.first}
    taught = bench.precision != "fp32" and steps_of(candidate, bench.data) > 0
    return dict(candidate.settings) | before | ({"precision": bench.precision} if taught else {})


def reasons_against(verdict: Verdict, chosen: Attempt, attempts: Sequence[Attempt], task: Task) -> list[str]:
    """Why the weights must not be shipped, and what to do instead."""
    unmet, gallery = ", ".join(verdict.failed or chosen.verdict.failed), task.outputs == "embeddings"
    return [
        f"none of {len(attempts)} candidates met every criterion on the photos of the choice; the best missed: {unmet}"
        if not chosen.verdict.passed
        else f"the best candidate by the photos of the choice missed on those that chose nothing: {unmet}",
        f"the weights were not written: {'delete the gallery entries, keep a block list, and ' if gallery else ''}"
        "train again without them",
    ]


def signature_of(request: ErasureRequest, model: Opened, photos: RequestPhotos) -> str:
    """SHA-256 of all that a result follows from, but for the machine."""
    settings = {name: str(getattr(request, name)) for name in SETTINGS}
    if request.precision != "fp32":
        settings["precision"] = request.precision
    digest = hashlib.sha256(json.dumps([efface.__version__, settings, model.contract.plain()], sort_keys=True).encode())
    digest.update(model.checkpoint.digest.encode())
    for beside in (request.second, request.recipe):
        if beside is not None:
            digest.update(sha256_of(beside).encode())
    for start in range(0, len(photos.faces), 256):
        digest.update(np.ascontiguousarray(photos.faces.images[start : start + 256]).data)
    digest.update(np.ascontiguousarray(photos.faces.targets).data)
    digest.update("\0".join([*photos.faces.keys.tolist(), *photos.faces.identities.tolist()]).encode())
    return digest.hexdigest()


def finished(out: Path, signature: str) -> ErasureResult:
    """The result of an earlier run of the same request.

    Raises InputError where it is of another one.
    """
    result = read_result(out)
    if result.signature != signature:
        raise InputError(f"{out} holds the outcome of another request: give another --out")
    return result
