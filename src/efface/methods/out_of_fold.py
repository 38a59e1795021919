"""Out-of-fold targets: what a retrained model would say of the forgotten is what a model says that never met them.

Our own method. Cross-fitting gives such models cheaply: the trained people are dealt into folds, one model is trained
on each fold alone (`[folds]` in a plan), once for all requests, and each person is a stranger to every fold's model
but one. The student learns what such models answer to the forgotten, and on the retained keeps to the original. No
label of the forgotten or the retained is used, and nothing is maximised: every term is a distance to an answer that
exists.

Coordinates and logits: the mean answer of all models that never met the person. Embeddings: one model's, since a mean
of directions is tighter than any of them, turned into the original's space by orthogonal Procrustes on public faces.
An embedding's length betrays members as its direction does, so the logarithm of the length is a target too; the
teacher's lengths are brought to the original's mean and spread on public faces, of people neither network was trained
on. Where the original is much the stronger network, its strangers' photos lie closer together than the teacher's:
with `spread = "original"` each forgotten person's directions are drawn together, or apart, by the factor that gives the
same public people the original's compactness.

Logits: the forgotten weigh as much as the retained, where coordinates and embeddings have 4 times as much. A student
that is held to the original less firmly than to its targets grows less sure of strangers than its teachers are, and the
forgotten, of whom it is nearly as sure as they, stand out.

Nearest in print: datamodel matching (Georgiev et al., arXiv:2410.23232) predicts a retrained model's answers by a
linear model of which faces were trained on, fitted on many trained models, and fine-tunes to match it; here the
answers are those of a model, and one or two of them suffice. ReGUn (arXiv:2603.11210) takes as targets the original's
answers to held-out faces of the same class; here they are another model's answers to the forgotten faces themselves.

A fold's model was trained on other people who may be forgotten as well, and its answers may carry a trace of them; it
must be made again, without them, before it serves a later request. And the student answers the forgotten as its teacher
does: whoever has the teacher can tell who was forgotten (U-LiRA, docs/results/regimes.md), so it must be guarded as the
training data is.

`reference` learns from a retrained model of another seed: no way to forget, but an upper bound for tables, which tells
a fault of the teaching from one of the targets.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from efface.data.augment import Augment
from efface.data.batches import Batch, BatchLoader, derive
from efface.data.faces import Array, Faces, MethodData, TeacherModel
from efface.data.vectors import units
from efface.distributed import in_parallel
from efface.errors import InputError
from efface.methods.distillation import both
from efface.models.recogniser import Recogniser
from efface.models.reset import reinitialise
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, train, training_step

RATES = {"points": 1e-3, "logits": 5e-3, "embeddings": 8e-3}
WEIGHTS = {"points": 4.0, "logits": 1.0, "embeddings": 4.0}
"""Learning rates, and weights of the forgotten, by what a network answers with, where none is given."""


def out_of_fold(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    teacher: Literal["folds", "public", "reference"] = "folds",
    lr: Positive | None = None,
    steps: Count = 160,
    forget: Positive | None = None,
    length: Strength = 1.0,
    spread: Literal["teacher", "original"] = "teacher",
    hold: Literal["original", "start"] = "original",
    batch_forget: Count = 32,
    batch_retain: Count = 64,
    augment: Augment = "none",
    optimiser: Optimiser = "adamw",
    public_epochs: Count = 40,
    public_lr: Positive = 0.05,
    public_optimiser: Optimiser = "sgd",
) -> nn.Module:
    """Answer the forgotten as models do that never met them, and the retained as before. Needs: both, without labels;
    models of folds (`[folds]`); for embeddings public faces as well.

    teacher: the models of folds; or one trained here on the public faces and their labels, where no training data
    is left; or a reference of another seed, as an upper bound. lr, forget: the learning rate and the weight of the
    forgotten, by default as in `RATES` and `WEIGHTS`. length: weight of an embedding's log length beside its direction.
    spread: how far apart an embedding's targets lie, as the teacher's answers do or, "original": as compact as the
    original's on people the teacher never met. hold: whose answers the retained are held to, and in whose space targets
    are: the original's, or those that the model has before the first step, where another method changed it. augment:
    how the retained pictures are changed at random; the original answers what is shown, so that it is held in more
    places than there are photos.
    """
    if spread != "teacher" and task.outputs != "embeddings":
        raise InputError(
            f"spread = '{spread}' is of embeddings, and this network answers with {task.outputs}: leave it out"
        )
    held_to = model if hold == "start" or data.original is None else data.original
    original = copy.deepcopy(held_to).requires_grad_(False).eval()
    teachers = data.teachers
    if teacher == "public":
        trained = trained_on_public(
            model, task, data.public, loader, epochs=public_epochs, lr=public_lr, optimiser=public_optimiser
        )
        teachers = (TeacherModel(frozenset(data.public.identities.tolist()), lambda: trained),)
    if not teachers:
        raise InputError(
            "out_of_fold learns from models that never met the forgotten, and there are none: add [folds] to the plan, "
            "or give teacher = 'public'"
        )
    targets = torch.from_numpy(targets_of(original, teachers, task, data, loader, spread)).to(loader.device)
    weight = forget or WEIGHTS[task.outputs]
    optimizer = make_optimizer(optimiser, model, lr or RATES[task.outputs], 0.0)
    scheduler = linear_decay(optimizer, steps)
    forgotten_faces = loader.endless(data.forget, batch=batch_forget)
    retained_faces = loader.endless(data.retain, batch=batch_retain, augment=augment)

    def apart(faces: Batch, outputs: Tensor, others: Tensor) -> Tensor:
        distance = faces.mean(task.divergence(outputs, others))
        if task.outputs != "embeddings":
            return distance
        return distance + length * faces.mean(log_length_error(outputs, others))

    model.train()
    with in_parallel(model):
        for _ in range(steps):
            forgotten, retained = next(forgotten_faces), next(retained_faces)
            now, held = both(model, forgotten, retained)
            with torch.no_grad():
                before = original(retained.images)
            loss = weight * apart(forgotten, now, targets[forgotten.rows]) + apart(retained, held, before)
            training_step(optimizer, loss)
            scheduler.step()
    return model


def log_length_error(outputs: Tensor, others: Tensor) -> Tensor:
    """(b,) squared difference of the logarithms of two embeddings' lengths (b, d)."""
    ours, theirs = (one.norm(dim=1).clamp_min(1e-6).log() for one in (outputs, others))
    error: Tensor = (ours - theirs).square()
    return error


def targets_of(
    original: nn.Module,
    teachers: Sequence[TeacherModel],
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    spread: str = "teacher",
) -> Array:
    """(n, ...) float32: what the student is to answer to each forgotten face. No teacher answers for whom it met.

    Raises InputError for a face of somebody whom every teacher met, and for embeddings without public faces.
    """
    never_met = np.stack([one.never_met(data.forget) for one in teachers])
    if not never_met.any(0).all():
        who = data.forget.identities[~never_met.any(0)][0]
        raise InputError(f"every model that out_of_fold could learn from was trained on '{who}': none can answer")
    if task.outputs == "embeddings":
        return embeddings_of(original, teachers, never_met, data, loader, spread)
    return mean_answers(teachers, never_met, data.forget, loader)


def mean_answers(
    teachers: Sequence[TeacherModel], asked: NDArray[np.bool_], faces: Faces, loader: BatchLoader
) -> NDArray[np.float32]:
    """(n, ...) the mean over the teachers that are asked about each face; asked: (teachers, n)."""
    total: NDArray[np.float32] | None = None
    for one, mine in zip(teachers, asked, strict=True):
        rows = np.flatnonzero(mine)
        if len(rows):
            answers = loader.outputs(one.load(), faces[rows])
            total = np.zeros((len(faces), *answers.shape[1:]), np.float32) if total is None else total
            total[rows] += answers
    assert total is not None
    mean: NDArray[np.float32] = total / asked.sum(0, dtype=np.float32).reshape(-1, *[1] * (total.ndim - 1))
    return mean


def embeddings_of(
    original: nn.Module,
    teachers: Sequence[TeacherModel],
    never_met: NDArray[np.bool_],
    data: MethodData,
    loader: BatchLoader,
    spread: str = "teacher",
) -> Array:
    """(n, d) the embedding of each forgotten face by the first teacher that never met it, in the original's space."""
    public = data.public
    if not len(public):
        raise InputError("out_of_fold turns embeddings by public faces, and there are none: set split.public")
    theirs = loader.outputs(original, public)
    targets = np.zeros((len(data.forget), theirs.shape[1]), np.float32)
    answering = never_met.argmax(0)
    for place in np.unique(answering):
        network, rows = teachers[place].load(), np.flatnonzero(answering == place)
        on_public, answers = loader.outputs(network, public), loader.outputs(network, data.forget[rows])
        turned = rotation(units(on_public), units(theirs))
        direction = units(units(answers) @ turned)
        fresh = teachers[place].never_met(public)
        fresh |= ~fresh.any()
        if spread == "original":
            whose, who = data.forget.identities[rows], public.identities[fresh]
            wanted = mean_compactness(units(theirs[fresh]), who)
            factor = spreading(units(units(on_public[fresh]) @ turned), who, wanted)
            direction = spread_out(direction, whose, factor)
        lengths_now = calibrated(lengths(answers), lengths(on_public[fresh]), lengths(theirs[fresh]))
        targets[rows] = direction * lengths_now[:, None]
    return targets


def rotation(of: Array, to: Array) -> NDArray[np.float32]:
    """(d, e) with orthonormal rows or columns: the orthogonal Procrustes solution, `of` (n, d) times it is nearest to
    `to` (n, e)."""
    left, _, right = np.linalg.svd(np.asarray(of, np.float64).T @ np.asarray(to, np.float64), full_matrices=False)
    turned: NDArray[np.float32] = (left @ right).astype(np.float32)
    return turned


def spread_out(unit: NDArray[np.float32], who: Array, factor: float) -> NDArray[np.float32]:
    """Directions (n, d) whose deviations from their person's mean direction are multiplied."""
    _, of = np.unique(who, return_inverse=True)
    sums = np.zeros((of.max() + 1, unit.shape[1]))
    np.add.at(sums, of, unit)
    mean = units(sums)[of]
    return units(mean + factor * (unit - mean))


def mean_compactness(unit: NDArray[np.float32], who: Array) -> float:
    """Mean cosine of two photos of one person, each person counting once; NaN where nobody has two."""
    _, of, counts = np.unique(who, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), unit.shape[1]))
    np.add.at(sums, of, unit)
    several = counts > 1
    pairs = np.square(sums[several]).sum(1) - counts[several]
    return float((pairs / (counts[several] * (counts[several] - 1))).mean()) if several.any() else float("nan")


def spreading(unit: NDArray[np.float32], who: Array, wanted: float) -> float:
    """The factor of `spread_out` between 0 and 4 by which these people become as compact as wanted; 1 where it cannot
    be said."""
    if not np.isfinite(wanted) or not np.isfinite(mean_compactness(unit, who)):
        return 1.0
    low, high = 0.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        above = mean_compactness(spread_out(unit, who, middle), who) > wanted
        low, high = (middle, high) if above else (low, middle)
    return (low + high) / 2


def lengths(embeddings: Array) -> NDArray[np.float64]:
    """(n,) Euclidean."""
    norms: NDArray[np.float64] = np.linalg.norm(np.asarray(embeddings, np.float64), axis=1)
    return np.maximum(norms, 1e-6)


def calibrated(given: Array, of: Array, to: Array) -> Array:
    """Lengths on another scale: the line between logarithms that gives `of` the mean and spread of `to`."""
    logs, from_logs, to_logs = (np.log(one) for one in (given, of, to))
    slope = to_logs.std() / max(from_logs.std(), 1e-6)
    scaled: Array = np.exp(to_logs.mean() + slope * (logs - from_logs.mean()))
    return scaled


def trained_on_public(
    model: nn.Module, task: Task, public: Faces, loader: BatchLoader, *, epochs: int, lr: float, optimiser: Optimiser
) -> nn.Module:
    """A network like the model, trained on public people alone. Of a recogniser's head, made for the trained people, it
    uses as many directions as there are public people, or the other way round.

    Raises InputError without public people.
    """
    fresh = reinitialise(copy.deepcopy(model).requires_grad_(True))
    faces = public
    if isinstance(fresh, Recogniser):
        _, people = np.unique(public.identities, return_inverse=True)
        known = people < len(fresh.head.weight)
        faces = replace(public, targets=people.astype(np.int64))[np.flatnonzero(known)]
    if len(np.unique(faces.identities)) < 2:
        raise InputError("teacher = 'public' trains on public people, and there are fewer than two: set split.public")
    own = BatchLoader(loader.device, derive(loader.seed, "public"), loader.tick)
    train(fresh, task, faces, own, epochs=epochs, lr=lr, optimiser=optimiser)
    loader.faces_used += own.faces_used
    return fresh.requires_grad_(False).eval()
