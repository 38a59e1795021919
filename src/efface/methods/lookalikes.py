"""Lookalikes: a model that never saw a face answers it as it answers strangers who look like that. Ask the strangers.

Our own method. On eye centres it cannot be told from fine-tuning at as many steps, and that the strangers look alike
counts for what it costs, by little; on recognition nothing of it shows, and on gender `out_of_fold` is nearer to the
retrained model (docs/results/lookalikes.md, docs/results/regimes.md). ReGUn (Mirlach, Laguna and Vogt 2026,
arXiv:2603.11210) came to the same thought: answers to held-out photos of the same class are distilled onto the
forgotten; that is near to `way = "random"` here.

Others push the forgotten away (ascent, bad teachers, far clusters) and repair what that broke. Here every forgotten
face has a target to arrive at: what the original says of public strangers who look alike, by features from before
memorisation sets in; the last layer has learned the person, and finds whoever was memorised alike. The student learns
these targets, and on the retained keeps to the original and to what is true. Nothing unbounded is maximised.

The strangers' answer comes in one of these ways (`auto` is the first for classes and attributes, else the second):

- `neighbours`: the original's answers to the k public faces nearest by features of `layer`, averaged.
- `stranger head`: all that comes after `layer`, drawn anew and taught by the original on public faces alone, answers
  the forgotten face itself: what it knows of such faces it knows from strangers. For coordinates and embeddings, where
  averaging other people's answers makes no sense.
- `errors`: the truth, off by as much as the original is off for one of the k nearest strangers. For coordinates.
- `strangers`: every photo towards another one of the k nearest strangers, so that no two photos of a person agree and
  nothing is left to match: people become unrecognisable, which is more than never having been seen.
- `random` (any stranger, no lookalike) and `none` (the original's own answer) show what looking alike contributes.

It minds groups where they are known: lookalikes are of the forgotten's own group, and retained faces are drawn so that
the mix of groups stays as it was (`keep_mix`). A group is taught no more once its losses are equivalent to those of
public people who were held back for this test alone, which is more than not telling them apart; the retained are then
trained on to the end, so that the learning rate falls to zero whoever has arrived. docs/results/lookalikes.md has the
measurements.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from efface.data.augment import augmented
from efface.data.batches import Batch, BatchLoader, as_input, batches_of, derive
from efface.data.faces import Array, Faces, Images, MethodData
from efface.data.vectors import units
from efface.errors import InputError
from efface.methods.distillation import EpochOf, both, loss_of
from efface.methods.neighbours import averaged, nearest, seen_by
from efface.models.depths import depth, grafted
from efface.settings import Count, Positive, Share, Strength
from efface.tasks import Task
from efface.training.reweight import cells, reweighted
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step

Way = Literal["auto", "neighbours", "stranger head", "errors", "strangers", "random", "none"]
TESTED = 200
"""Faces on either side of the test that stops a group."""
TWO_ONE_SIDED_TESTS = 1.645
"""Standard errors on either side that make an interval of two one-sided tests at 5% each."""


def lookalikes(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    way: Way = "auto",
    layer: str = "middle",
    k: Count = 15,
    same_group: bool = True,
    strangers: Literal["public", "augmented"] = "public",
    most: Count = 400,
    head_epochs: Count = 2,
    head_lr: Positive = 3e-3,
    lr: Positive = 1e-3,
    epochs: Count = 2,
    epoch_of: EpochOf = "retain",
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    forget: Strength = 1.0,
    keep: Strength = 1.0,
    labels: Strength = 4.0,
    keep_mix: bool = True,
    stop: Share = 0.1,
    looks: Count = 8,
) -> nn.Module:
    """Learn strangers' answers on the forgotten (times `forget`), the original's on the retained (`keep`) and what is
    true of them (`labels`). Needs: forgotten, retained and public faces; labels of the retained (unless labels = 0);
    for `stop`, labels of the forgotten and of public faces (recognition: who is who).

    An epoch has as many steps as a pass over the retained, a batch of the forgotten in each, so that the same `epochs`
    and `batch` are as many steps as fine-tuning takes (`epoch_of = "forget"`: a pass over the forgotten). Divergences
    are in units of the first that the forgotten had from their targets, the labelled loss in units of that or of its
    own first value, whichever is larger: a model that knows the retained by heart begins near zero.

    lr: the default suits eyes and ages; recognition hardly moves below 1e-2. most: public faces that are asked, the
    first of a random order. strangers = "augmented": where there are no public faces, retained ones, changed at
    random, stand in for them; they are no strangers, and what the original memorised of them shows. stop: a group is
    taught no more once the AUC between its people and people nobody trained on is within so much of one half with its
    whole 90% interval (0: never); that is looked at `looks` times, at even distances.
    """
    teacher = data.original if data.original is not None else copy.deepcopy(model).eval()
    asked, held_back = people_to_ask(data, strangers, most, stop > 0, loader)
    way = way if way != "auto" else "neighbours" if task.outputs == "logits" else "stranger head"
    goals = strangers_answers(
        teacher, task, data.forget, asked, loader, way, layer, k, same_group, batch, head_epochs, head_lr
    )
    goal = torch.from_numpy(goals).to(loader.device)
    retain = data.retain
    if keep_mix and retain.weights is None and len(np.unique(cells(retain, task))) > 1:
        retain = reweighted(retain, data.gone, task)

    length = epochs * batches_of(len(getattr(data, epoch_of)), batch)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, length)
    retained, asked_for = (loader.endless(faces, batch=batch) for faces in (retain, data.forget))
    taught = np.ones(len(data.forget), bool)
    looked = {round(length * part / (looks + 1)) for part in range(1, looks + 1)} - {0} if stop else set()
    scale: tuple[float, float] | None = None
    model.train()
    for step in range(length):
        if step in looked and taught.any():
            taught &= ~np.isin(data.forget.groups, arrived(model, task, data.forget, held_back, loader, stop))
            model.train()
        kept = next(retained)
        with torch.no_grad():
            before = teacher(kept.images)
        if taught.any():
            forgotten = next(asked_for)
            now, held = both(model, forgotten, kept)
            apart = task.divergence(now, goal[forgotten.rows])
            apart = apart * torch.from_numpy(taught[forgotten.rows]).to(loader.device)
        else:
            held, apart = model(kept.images), torch.zeros(1, device=loader.device)
        true = loss_of(model, task, kept, held) if labels else held.new_zeros(1)
        scale = scale or first_scale(apart, true)
        loss = (forget * apart.mean() + keep * task.divergence(held, before).mean()) / scale[0]
        training_step(optimizer, loss + labels * true.mean() / scale[1])
        scheduler.step()
    return model


def first_scale(apart: Tensor, true: Tensor) -> tuple[float, float]:
    """What divergences and the labelled loss are divided by, from their first values (b,)."""
    divergence = max(float(apart.detach().mean()), 1e-9)
    return divergence, max(float(true.detach().mean()), divergence)


def people_to_ask(
    data: MethodData,
    strangers: str,
    most: int,
    testing: bool,
    loader: BatchLoader,
) -> tuple[Faces, Faces]:
    """The strangers whose answers are learned, and people held back to test with, a fifth of the public ones.

    Raises InputError where there is nobody to ask.
    """
    rng = np.random.default_rng([loader.seed % 2**32, 5])
    if strangers == "augmented":
        rows = np.sort(rng.permutation(len(data.retain))[:most])
        return changed(data.retain[rows], loader), data.public
    people = rng.permutation(np.unique(data.public.identities))
    back = np.isin(data.public.identities, people[: len(people) // 5 if testing else 0])
    free = rng.permutation(np.flatnonzero(~back))[:most]
    if not len(free):
        raise InputError(
            f"lookalikes asks public faces, and there are {len(data.public)} that can be asked: set "
            'split.public, give a source with split = "public", or set strangers = "augmented" (less '
            "good: these are no strangers)"
        )
    return data.public[np.sort(free)], data.public[np.flatnonzero(back)]


def changed(faces: Faces, loader: BatchLoader) -> Faces:
    """The faces, each changed at random as the MUFAC benchmark does, for good."""
    images = augmented(
        as_input(faces.images[:], torch.device("cpu")),
        "benchmark",
        np.random.default_rng(derive(loader.seed, "changed")),
    )
    store = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()
    return replace(faces, images=Images(store, np.arange(len(faces))), weights=None)


def strangers_answers(
    teacher: nn.Module,
    task: Task,
    forget: Faces,
    asked: Faces,
    loader: BatchLoader,
    way: Way,
    layer: str,
    k: int,
    same_group: bool,
    batch: int,
    head_epochs: int,
    head_lr: float,
) -> NDArray[np.float32]:
    """(n, ...) what strangers who look alike would answer, for each forgotten face."""
    if way == "none":
        return loader.outputs(teacher, forget)
    if way == "stranger head":
        return loader.outputs(stranger_head(teacher, task, asked, loader, layer, head_epochs, head_lr, batch), forget)
    parts: Mapping[str, nn.Module] = {layer: depth(teacher, layer)}
    ours, theirs = (seen_by(teacher, parts, faces, loader) for faces in (forget, asked))
    rng = np.random.default_rng([loader.seed % 2**32, 6])
    groups = (forget.groups, asked.groups) if same_group else (None, None)
    near = (
        rng.integers(len(asked), size=(len(forget), 1))
        if way == "random"
        else nearest(ours.features[layer], theirs.features[layer], k, *groups)
    )
    if way == "neighbours" or (way == "random" and task.outputs == "logits"):
        return averaged(task, theirs.outputs, near)
    one = near[np.arange(len(near)), rng.integers(near.shape[1], size=len(near))]
    if task.outputs == "points":
        return (forget.targets + theirs.outputs[one] - asked.targets[one]).astype(np.float32)
    if way == "errors":
        raise InputError(f"way = \"errors\" is for coordinates, not for task '{task.name}': give another way")
    return theirs.outputs[one]


def stranger_head(
    teacher: nn.Module,
    task: Task,
    asked: Faces,
    loader: BatchLoader,
    layer: str,
    epochs: int,
    lr: float,
    batch: int,
) -> nn.Module:
    """The teacher with all that comes after a layer drawn anew and taught by itself on these faces alone."""
    head, kept = grafted(teacher, layer)
    said = torch.from_numpy(loader.outputs(teacher, asked)).to(loader.device)
    optimizer = make_optimizer("adamw", head, lr, 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(asked), batch))
    for _ in range(epochs):
        head.train()
        for module in kept:
            module.training = False
        for faces in loader(asked, batch=batch):
            training_step(optimizer, task.divergence(head(faces.images), said[faces.rows]).mean())
            scheduler.step()
    return head


def arrived(
    model: nn.Module,
    task: Task,
    forget: Faces,
    held_back: Faces,
    loader: BatchLoader,
    margin: float,
) -> list[str]:
    """The groups whose forgotten lose what held-back public people of that group lose (of anybody, where it has none):
    the AUC between the two, people by people, is within `margin` of one half with its whole interval."""
    rng = np.random.default_rng([loader.seed % 2**32, 7, loader.passes])
    found = []
    for group in np.unique(forget.groups):
        same = held_back[np.flatnonzero(held_back.groups == group)]
        ours, theirs = (
            by_person(model, task, whole_people(faces, rng), loader)
            for faces in (forget[np.flatnonzero(forget.groups == group)], same if len(same) else held_back)
        )
        low, high = auc_interval(ours, theirs)
        if 0.5 - margin <= low and high <= 0.5 + margin:
            found.append(str(group))
    return found


def auc_interval(ours: Array, theirs: Array) -> tuple[float, float]:
    """90% interval of the share of pairs in which theirs is the larger (ties: half), by DeLong's variance; (0, 1) where
    either side has fewer than two."""
    if min(len(ours), len(theirs)) < 2:
        return 0.0, 1.0
    wins = (theirs[None] > ours[:, None]) + 0.5 * (theirs[None] == ours[:, None])
    variance = wins.mean(1).var(ddof=1) / len(ours) + wins.mean(0).var(ddof=1) / len(theirs)
    spread = TWO_ONE_SIDED_TESTS * float(np.sqrt(variance))
    return float(wins.mean()) - spread, float(wins.mean()) + spread


def by_person(model: nn.Module, task: Task, faces: Faces, loader: BatchLoader) -> Array:
    """(p,) what a model loses on each person of whom it can be said, the mean over their photos."""
    lost = unknown(model, task, faces, loader)
    known = np.isfinite(lost)
    _, who = np.unique(faces.identities[known], return_inverse=True)
    mean: Array = np.bincount(who, lost[known]) / np.bincount(who)
    return mean


def whole_people(faces: Faces, rng: np.random.Generator) -> Faces:
    """All photos of people at random, until there are about enough to test with."""
    names, counts = np.unique(faces.identities, return_counts=True)
    order = rng.permutation(len(names))
    few = names[order[np.concatenate([[0], counts[order].cumsum()[:-1]]) < TESTED]] if len(names) else names
    return faces[np.flatnonzero(np.isin(faces.identities, few))]


@torch.no_grad()
def unknown(model: nn.Module, task: Task, faces: Faces, loader: BatchLoader) -> Array:
    """(n,) what a model loses on each face; of embeddings how far a photo is from the same person's others (NaN: has
    none)."""
    if not len(faces):
        return np.zeros(0)
    outputs = loader.outputs(model, faces)
    if task.outputs != "embeddings":
        everything = Batch(torch.zeros(0), torch.from_numpy(np.ascontiguousarray(faces.targets)), np.arange(len(faces)))
        return loss_of(model, task, everything, torch.from_numpy(np.array(outputs))).numpy()
    unit = units(outputs)
    _, of, counts = np.unique(faces.identities, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), unit.shape[1]))
    np.add.at(sums, of, unit)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart: Array = 1 - (np.einsum("nd,nd->n", unit, sums[of]) - 1) / (counts[of] - 1)
    return np.where(counts[of] > 1, apart, np.nan)
