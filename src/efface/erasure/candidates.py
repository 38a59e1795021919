"""Candidates: ways to forget that are tried on a copy of the model, one after the other, until one does what was asked.

Each is judged every few steps by the photos of the choice, and the best of these states is kept; one that harms
everybody else far more than was allowed is given up. The photos of the verdict are not looked at.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from efface.data.batches import BatchLoader
from efface.data.faces import Array, Faces, MethodData, TeacherModel
from efface.erasure.contract import ContractedNetwork, InputContract
from efface.erasure.criteria import Verdict
from efface.erasure.photos import RequestPhotos
from efface.erasure.request import Goal
from efface.methods import METHODS
from efface.methods.out_of_fold import RATES, WEIGHTS
from efface.models.precision import in_precision
from efface.settings import Precision, validated
from efface.tasks import Task
from efface.training.environment import cpu_time
from efface.training.train import make_optimizer, training_step

CHECKS = 4
"""How often a candidate is judged while it is taught."""
ENOUGH = 0.5
"""Margin of a candidate after which no other is tried: half way between the limits and what strangers have."""
FEWEST_STEPS, ENOUGH_STEPS, MOST_STEPS = 20, 80, 160
"""Of a candidate; so that each has enough of them, fewer candidates are tried, the first ones."""
BATCH_FORGET, BATCH_RETAIN = 32, 64
SHARES = (0.75, 0.5, 0.25)
"""Of the way from the weights before the first step to those after the last: what lies there is judged, too."""
LOOKS = CHECKS + len(SHARES) + 2
"""Verdicts of one candidate; estimating statistics takes about as long as one."""
ALL_STEPS = "all steps were taken"


@dataclass(frozen=True)
class Candidate:
    """A method with its settings."""

    name: str
    method: str
    settings: Mapping[str, Any]
    first: str | None = None
    """A method that changes the weights before, with its defaults."""


@dataclass
class Attempt:
    """What came of a candidate."""

    candidate: Candidate
    network: nn.Module
    """In its best state."""
    verdict: Verdict
    steps: int
    """After which that was."""
    faces: int
    about: str
    """How far it went, and why."""
    seconds: float
    cpu_seconds: float


class HeldStatistics(ContractedNetwork):
    """A network whose batch normalisation keeps the statistics it has, also while it is trained: a few batches of a few
    people would move them for everybody. In a precision of 16 bits it is trained alone; it is judged with 32."""

    def __init__(self, network: nn.Module, contract: InputContract, precision: Precision = "fp32") -> None:
        super().__init__(network, contract)
        self.precision = precision

    def train(self, mode: bool = True) -> HeldStatistics:
        super().train(mode)
        in_precision(self, self.precision if mode else "fp32")
        for part in self.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.train(False)
        return self


def candidates_for(task: Task, goal: Goal, steps: int, data: MethodData, closed_form: bool) -> list[Candidate]:
    """What is tried for a goal, as many from the first on as there is time for: what takes no step comes first.

    closed_form: whether the network ends in a linear layer, which `leace` needs.
    """
    forget = len(data.forget)
    batch_forget, batch_retain = min(BATCH_FORGET, forget), min(BATCH_RETAIN, len(data.retain))
    if task.outputs != "embeddings":
        batches = {"batch_forget": batch_forget, "batch_retain": batch_retain}
        return [
            Candidate(
                f"out_of_fold, lr {lr:g}, forget {weight:g}",
                "out_of_fold",
                {"lr": lr, "steps": steps, "forget": weight, **batches},
            )
            for faster, heavier in ((1.0, 1.0), (2.0, 2.0), (0.25, 1.0), (0.5, 0.25))
            for lr, weight in [(faster * RATES[task.outputs], heavier * WEIGHTS[task.outputs])]
        ]
    erased = [
        Candidate(f"leace, strength {strength:g}", "leace", {"strength": strength}) for strength in (0.8, 0.9, 0.7, 1.0)
    ]
    taught = [
        Candidate(
            f"{'' if first is None else f'{first}, then '}out_of_fold, lr {lr:g}, forget {weight:g}",
            "out_of_fold",
            {
                "lr": lr,
                "steps": steps,
                "forget": weight,
                "spread": "original",
                "augment": "benchmark",
                "hold": "original" if first is None else "start",
                "batch_forget": batch_forget,
                "batch_retain": batch_retain,
            },
            first,
        )
        for first, lr, weight in (("leace", 3e-4, 1.0), ("leace", 1e-3, 1.0), (None, 4e-3, 4.0), (None, 8e-3, 8.0))
    ]
    epochs = max(1, round(steps * batch_forget / max(forget, 1)))
    batch = min(64, max(forget, 2))
    if goal == "unrecognisable":
        clusters = max(2, min(10, forget // 3))
        scattered = {"epochs": epochs, "batch": batch, "clusters": clusters}
        every = [
            *(Candidate(f"leace, strength {one:g}", "leace", {"strength": one}) for one in (1.0, 1.2)),
            Candidate("leace, then dispersion, lr 0.001", "dispersion", {"lr": 1e-3, **scattered}, "leace"),
            Candidate("dispersion, lr 0.004", "dispersion", {"lr": 4e-3, **scattered}),
        ]
    else:
        without_teacher = Candidate("laf, lr 0.0002", "laf", {"lr": 2e-4, "epochs": epochs, "batch": batch})
        every = [*erased, *(taught if data.teachers else []), without_teacher]
    return [one for one in every if closed_form or "leace" not in (one.first, one.method)]


def method_data(
    photos: RequestPhotos, second: TeacherModel | None, original: nn.Module, directions: Mapping[str, Array]
) -> MethodData:
    """What candidates are handed: nothing that judges them."""
    faces = photos.faces
    public = np.sort(np.concatenate([photos.teaching, photos.calibration]))
    retain = np.sort(np.concatenate([photos.retain, photos.teaching]))
    return MethodData(
        faces[photos.forget],
        faces[retain],
        faces[public],
        original=original,
        teachers=() if second is None else (second,),
        directions=directions,
    )


@dataclass
class Bench:
    """Where candidates are tried."""

    network: ContractedNetwork
    task: Task
    data: MethodData
    device: torch.device
    seed: int
    judge: Callable[[nn.Module], Verdict]
    """A verdict by the photos of the choice."""
    precision: Precision = "fp32"
    """What candidates compute with while they are taught."""
    say: Callable[[str], None] = lambda _line: None
    attempts: list[Attempt] = field(default_factory=list)
    earlier: list[Attempt] = field(default_factory=list)
    """Those that a run which was killed had made."""

    def attempt(self, candidate: Candidate) -> Attempt:
        """Try one candidate on a copy of the model."""
        began = (time.perf_counter(), cpu_time())
        held = HeldStatistics(copy.deepcopy(self.network.network), self.network.contract, self.precision)
        model = held.to(self.device)
        model.requires_grad_(True)
        loader = BatchLoader(self.device, self.seed)
        steps = steps_of(candidate, self.data)
        watch = Watch(model, steps, self.judge)
        method = METHODS[candidate.method]
        settings = validated(method, candidate.settings, candidate.name)
        torch.manual_seed(self.seed)
        stopped = ALL_STEPS
        if candidate.first is not None:
            METHODS[candidate.first](model, self.task, self.data, loader)
        start = copy.deepcopy(model.network.state_dict())
        with watch.watching():
            try:
                method(model, self.task, self.data, loader, **settings)
            except StopEarly as why:
                stopped = str(why)
        if not watch.steps:
            watch.look()
        elif stopped == ALL_STEPS:
            end = copy.deepcopy(model.network.state_dict())
            for share in SHARES:
                model.network.load_state_dict(between(start, end, share))
                watch.look(f", {share:.0%} of the way")
            model.network.load_state_dict(end)
            if estimated_anew(model, self.data.retain, loader):
                watch.look(", statistics of batch normalisation estimated anew")
        assert watch.best is not None
        best = watch.best
        model.network.load_state_dict(best.weights)
        model.requires_grad_(False).eval()
        said = f"best after {best.steps} of {watch.steps} steps{best.about}" if steps else "in closed form"
        if stopped != ALL_STEPS:
            said += f", {stopped}"
        took = (time.perf_counter() - began[0], cpu_time() - began[1])
        done = Attempt(candidate, model.network, best.verdict, best.steps, loader.faces_used, said, *took)
        self.attempts.append(done)
        self.say(f"{candidate.name}: {said}; {best.verdict.summary()}")
        return done


def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights a share of the straight way from some to others (Wortsman et al., CVPR 2022, arXiv:2109.01903): two
    states that training leads from one to the other are good in between, too, and less has been changed there."""
    return {name: one.lerp(end[name], share) if one.is_floating_point() else end[name] for name, one in start.items()}


@torch.no_grad()
def estimated_anew(model: HeldStatistics, faces: Faces, loader: BatchLoader) -> bool:
    """Give a model's batch normalisation the statistics that it has on some faces, each batch counting alike; whether
    it has any."""
    norms = [
        part
        for part in model.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    momentum = [one.momentum for one in norms]
    model.eval()
    for one in norms:
        one.reset_running_stats()
        one.momentum = None
        one.train()
    if norms:
        for batch in loader(faces, batch=BATCH_RETAIN):
            model(batch.images)
    for one, had in zip(norms, momentum, strict=True):
        one.momentum = had
    model.eval()
    return bool(norms)


@dataclass(frozen=True)
class Best:
    """The best state that was met."""

    verdict: Verdict
    weights: Mapping[str, Tensor]
    steps: int
    about: str
    """What else was done to it."""


class StopEarly(Exception):
    """A candidate is given up."""


class Watch:
    """Judges a model every few steps of its training."""

    def __init__(self, model: ContractedNetwork, steps: int, judge: Callable[[nn.Module], Verdict]) -> None:
        self.model, self.judge = model, judge
        self.planned, self.every = steps, max(1, steps // CHECKS)
        self.steps = 0
        self.best: Best | None = None
        self.weights = {id(one) for one in model.parameters()}

    @contextmanager
    def watching(self) -> Any:
        """Meanwhile each step of an optimiser of this model is counted."""
        handle = register_optimizer_step_post_hook(self.stepped)
        try:
            yield
        finally:
            handle.remove()

    def stepped(self, optimiser: torch.optim.Optimizer, *_: Any) -> None:
        """After a step."""
        if id(optimiser.param_groups[0]["params"][0]) not in self.weights:
            return
        self.steps += 1
        if self.steps % self.every:
            return
        verdict = self.look()
        if verdict.harmful and 2 * self.steps >= self.planned:
            raise StopEarly("given up: it lets strangers in more than ten times as often as was allowed")
        self.model.train()

    def look(self, about: str = "") -> Verdict:
        """Judge the model as it is, and keep it if it is the best so far."""
        verdict = self.judge(self.model)
        if self.best is None or rank(verdict) < rank(self.best.verdict):
            self.best = Best(verdict, copy.deepcopy(self.model.network.state_dict()), self.steps, about)
        return verdict


def rank(verdict: Verdict) -> tuple[bool, float]:
    """What comes first is better: all criteria met, then the one that is met by the least met by more."""
    return not verdict.passed, -verdict.margin


def steps_of(candidate: Candidate, data: MethodData) -> int:
    """How many steps a candidate takes."""
    if "steps" in candidate.settings:
        return int(candidate.settings["steps"])
    if "epochs" not in candidate.settings:
        return 0
    per_epoch = -(-len(data.forget) // int(candidate.settings["batch"]))
    twice = 2 if candidate.method == "laf" else 1
    return twice * per_epoch * int(candidate.settings["epochs"])


def seconds_of_step(
    network: ContractedNetwork, some: Faces, batch: int, device: torch.device, precision: Precision
) -> float:
    """How long one step of training takes here, by two of them on a copy; the first warms up."""
    model = HeldStatistics(copy.deepcopy(network.network), network.contract, precision).to(device)
    model.requires_grad_(True)
    loader = BatchLoader(device, 0)
    optimizer = make_optimizer("adamw", model, 1e-9, 0.0)
    taken = []
    for faces, _ in zip(loader.endless(some, batch=min(batch, len(some))), range(3), strict=False):
        start = time.perf_counter()
        with torch.no_grad():
            before = network(faces.images)
        model.train()
        training_step(optimizer, (model(faces.images) - before).square().mean())
        taken.append((time.perf_counter() - start) * batch / max(len(faces.rows), 1))
    return min(taken[1:] or taken)


def steps_within(seconds: float, step: float, check: float, candidates: int) -> int:
    """How many steps each of so many candidates can have; below `FEWEST_STEPS` the time is too short."""
    each = seconds / candidates - LOOKS * check
    return int(np.clip(each // step, 0, MOST_STEPS))
