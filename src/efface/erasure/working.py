"""What is planned before the first candidate, and what a killed run goes on from: a folder of its own within the
request's, which goes when the run ends."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from safetensors.torch import load as load_tensors

from efface.data.faces import MethodData
from efface.erasure.candidates import (
    BATCH_FORGET,
    BATCH_RETAIN,
    ENOUGH,
    ENOUGH_STEPS,
    FEWEST_STEPS,
    LOOKS,
    Attempt,
    Bench,
    Candidate,
    candidates_for,
    rank,
    seconds_of_step,
    steps_of,
    steps_within,
)
from efface.erasure.contract import ContractedNetwork
from efface.erasure.criteria import Checked, Verdict
from efface.erasure.judge import Judge
from efface.erasure.record import fix_criteria
from efface.erasure.request import ErasureRequest
from efface.erasure.second import save_private
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.files import make_folder, read_text, sha256_of, write_private
from efface.methods.leace import MOST_PHOTOS
from efface.settings import Precision
from efface.tasks import TASKS


def planned_run(
    request: ErasureRequest,
    network: ContractedNetwork,
    data: MethodData,
    judge: Judge,
    device: torch.device,
    closed_form: bool,
    making: float,
) -> dict[str, Any]:
    """Candidates and steps that the budget allows, and the criteria, before the first candidate is made.

    making: seconds until the second model is there, whose answers candidates are taught. Raises InputError for a budget
    that is too short.
    """
    batch = min(BATCH_FORGET, len(data.forget)) + min(BATCH_RETAIN, len(data.retain))
    step = seconds_of_step(network, data.retain, batch, device, request.trained_in)
    start = time.perf_counter()
    some = judge.photos.faces[np.arange(min(64, len(judge.photos.faces)))]
    outputs(network, some.images, device)
    photo = (time.perf_counter() - start) / len(some)
    check = photo * len(judge.choosing_rows)
    every = candidates_for(TASKS[request.task], request.goal, FEWEST_STEPS, data, closed_form)
    trained = sum(steps_of(one, data) > 0 for one in every)
    answered = photo * (min(len(data.retain), MOST_PHOTOS) + len(data.forget))
    at_once = (len(every) - trained) * (check + answered)
    left = request.budget - at_once - making
    fitting = [(count, steps_within(left, step, check, count)) for count in range(trained, 0, -1)]
    alone = fitting[-1] if fitting[-1][1] >= FEWEST_STEPS else (0, 0)
    count, steps = next((one for one in fitting if one[1] >= ENOUGH_STEPS), alone)
    if not count and (not at_once or at_once > request.budget):
        least = making + FEWEST_STEPS * step + LOOKS * check
        raise InputError(
            f"budget of {request.budget:.0f} s is too short: one candidate of {FEWEST_STEPS} steps takes about "
            f"{least / 60:.1f} min here; give --budget {max(1, np.ceil(2 * least / 60)):.0f}min"
        )
    return {
        "candidates": len(every) - trained + count,
        "steps": max(steps, FEWEST_STEPS),
        "seconds": at_once + count * (steps * step + LOOKS * check) + (making if count else 0.0),
        "criteria": fix_criteria(judge.asked(), datetime.now(UTC)).model_dump(mode="json"),
    }


DECIDED = {"signature", "precision"}
"""Files of a run that has made nothing yet."""


@contextmanager
def cleared_if_refused(folder: Path) -> Iterator[None]:
    """Meanwhile a run begins in a folder; where it is refused before it made anything, the folder goes again."""
    fresh = not folder.exists()
    try:
        yield
    except InputError:
        if fresh and folder.exists() and {one.name for one in folder.iterdir()} <= DECIDED:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def begin(folder: Path, signature: str) -> None:
    """Make the folder of a run that is not finished, or go on in it.

    Raises InputError for that of another request: what it had made would be taken for this one's.
    """
    path = make_folder(folder) / "signature"
    if not path.exists():
        write_private(path, signature.encode())
    elif read_text(path, "signature of the run") != signature:
        raise InputError(
            f"{folder.parent} holds another request that was begun and not finished: give another --out, or delete "
            f"{folder}"
        )


@dataclass(frozen=True)
class Working:
    """What a killed run goes on from."""

    folder: Path

    def plan(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was planned before the first candidate."""
        path = self.folder / "plan.json"
        if not path.exists():
            write_private(path, json.dumps(make()).encode())
        planned: dict[str, Any] = json.loads(read_text(path, "plan of the run"))
        return planned

    def precision(self, decide: Callable[[], Precision]) -> Precision:
        """What candidates are taught with; on another machine, too."""
        path = self.folder / "precision"
        if not path.exists():
            write_private(path, decide().encode())
        decided = read_text(path, "precision of the run")
        if decided not in get_args(Precision):
            raise InputError(f"{path} says '{decided}', which is no precision: delete {self.folder}")
        return cast("Precision", decided)

    def best_of(self, bench: Bench, candidates: Sequence[Candidate]) -> Attempt:
        """Try candidates in order until one passes by enough, and return the best."""
        for number, candidate in enumerate(candidates):
            done = self.kept(bench, candidate, number) or self.keep(bench.attempt(candidate), number)
            if done.verdict.passed and done.verdict.margin >= ENOUGH:
                break
        return min(bench.attempts, key=lambda one: rank(one.verdict))

    def keep(self, done: Attempt, number: int) -> Attempt:
        """Write down an attempt, its weights first."""
        weights = self.folder / f"attempt-{number}.safetensors"
        save_private(done.network, weights)
        about = {
            "sha256": sha256_of(weights),
            "checked": [[one.name, one.value, one.low, one.high, one.aim] for one in done.verdict.checked],
            "steps": done.steps,
            "faces": done.faces,
            "seconds": done.seconds,
            "cpu_seconds": done.cpu_seconds,
            "about": done.about,
        }
        write_private(self.folder / f"attempt-{number}.json", json.dumps(about).encode())
        return done

    def kept(self, bench: Bench, candidate: Candidate, number: int) -> Attempt | None:
        """An attempt of an earlier run, where its files are whole."""
        about, weights = self.folder / f"attempt-{number}.json", self.folder / f"attempt-{number}.safetensors"
        if not about.exists() or not weights.exists():
            return None
        plain = json.loads(read_text(about, "candidate of the run"))
        if plain["sha256"] != sha256_of(weights):
            return None
        network = copy.deepcopy(bench.network.network)
        network.load_state_dict(load_tensors(weights.read_bytes()))
        checked = tuple(Checked(*one) for one in plain["checked"])
        took = (plain["seconds"], plain["cpu_seconds"])
        done = Attempt(candidate, network, Verdict(checked), plain["steps"], plain["faces"], plain["about"], *took)
        bench.attempts.append(done)
        bench.earlier.append(done)
        return done
