"""PIU-FR: leave the original on the forgotten, hold to it on public faces of the same classes, in turns; then repair.

PIU-FR, ACIIDS 2025 (CCIS). Stage 1: public faces are put in an order in which each has the class of the forgotten face
in its place; batches alternate, up the divergence from the original on a forgotten batch, down it on the public one.
Stage 2: repair by the labelled loss on the retained. Learning rate, batch, epochs, optimiser, clipping and what exactly
repairs are not published; repair is read from the figure.

Traps of the published form, and what is done about them here:
* The student starts as the teacher, where the divergence and its gradient are zero, so nothing moves until something
  else does: the weights are nudged at random by a thousandth.
* The ascent has no upper bound: here each face has one, is climbed until its divergence reaches that, and is brought
  back where it went beyond; and the gradient's norm is clipped (published: `ceiling = inf`, `clip = inf`). By default
  the forgotten of a class are to lose what public faces of that class lose under the original, rank by rank: the bound
  of a face is how much it lacks to its rank's loss. A number is a bound for all.
* The published public faces are those the attack is scored with, so that training moves both sides of the score: here
  they are others. A plan gets the published protocol with `public = "strangers"`, and its row says so.

A forgotten face whose class no public face has is paired with any. MUFAC's augmentation while unlearning is `augment =
"benchmark"`; the original then answers the same changed faces.

How the defaults of stage 1 were chosen (`efface run plans/piu_fr.toml --out runs/piu_fr`: networks of 8 channels, one
seed, 820 faces to forget, of the drawn faces 210): by the attack against people of `val`, which is below one half where
the forgotten have come to lose more than people nobody trained on. Without the way back, ten epochs at 1e-3 carried it
to .43 [.40, .46] on memorised ages. With it:

| rate 1e-3 | original | 10 epochs | 20 epochs | at 2e-3, 20 epochs |
|---|---|---|---|---|
| ages, memorised | .78 | .56 [.53, .58] | .50 [.47, .53] | .469 [.445, .495] |
| ages, mirrored | .55 | .50 [.48, .52] | .50 [.48, .52] | .50 [.47, .52] |
| gender, memorised | .68 | .59 [.56, .62] | .58 [.55, .61] | .57 [.54, .61] |
| attributes of drawn faces | .96 | .73 [.67, .79] | .58 [.50, .66] | .51 [.43, .59] |

So 1e-3 and 10 epochs: twice as many steps do not go too far on any of these either. The column "original" is the attack
against strangers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of, derive, inference_batch
from efface.data.faces import Array, Faces, MethodData
from efface.errors import InputError
from efface.methods.distillation import perturb, teacher_of
from efface.methods.matched_public_faces import matched_public, numbered
from efface.settings import Count, Limit, Number, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, fit, linear_decay, make_optimizer, training_step


def piu_fr(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-3,
    epochs: Count = 10,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    ceiling: Limit | None = None,
    clip: Limit = 1.0,
    repair_epochs: Number = 1,
    repair_lr: Positive = 5e-4,
    augment: Augment = "none",
) -> nn.Module:
    """Climb the divergence from the original on the forgotten, descend it on public faces of their classes, then train
    on the retained for `repair_epochs`. Needs: the forgotten and public faces with labels; for the repair, retained
    faces with labels."""
    if not len(data.public):
        raise InputError(
            "piu_fr needs public faces, and there are none: set split.public, or (as published, and with "
            'an attack that then says nothing) public = "strangers"'
        )
    matched = matched_public(data)
    limits = (
        ceilings(model, task, data.forget, data.public, loader)
        if ceiling is None
        else np.full(len(data.forget), ceiling, np.float32)
    )
    limit = torch.from_numpy(limits).to(loader.device)
    teacher = teacher_of(model, replace(data, retain=matched), loader, augment)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, 2 * epochs * batches_of(len(matched), batch), anneal)
    perturb(model, derive(loader.seed, "nudge"))
    model.train()
    for _ in range(epochs):
        for place, forgotten in enumerate(loader(data.forget, batch=batch, augment=augment)):
            away = task.divergence(model(forgotten.images), teacher.of_forgotten(forgotten))
            training_step(optimizer, torch.where(away < limit[forgotten.rows], -away, away).mean(), clip)
            scheduler.step()
            same_classes = loader.fetch(matched, forgotten.rows)
            same_classes = loader.changed(same_classes, augment, loader.passes, len(matched) + place)
            held = task.divergence(model(same_classes.images), teacher.of_retained(same_classes))
            training_step(optimizer, held.mean(), clip)
            scheduler.step()
    if repair_epochs:
        fit(
            model,
            task,
            data.retain,
            loader,
            lr=repair_lr,
            epochs=repair_epochs,
            batch=batch,
            optimiser=optimiser,
            augment=augment,
        )
    return model


def ceilings(model: nn.Module, task: Task, forget: Faces, public: Faces, loader: BatchLoader) -> Array:
    """(n,) how much each forgotten face would have to lose for the forgotten of a class to lose what public faces of
    that class lose, rank by rank: its place's quantile of their losses, less its own loss; at least 0."""
    mine, theirs = (losses(model, task, faces, loader) for faces in (forget, public))
    of, others = numbered(forget, public)
    goal = np.zeros(len(forget))
    for label in np.unique(of):
        rows, same = np.flatnonzero(of == label), others == label
        ranks = (mine[rows].argsort().argsort() + 0.5) / len(rows)
        goal[rows] = np.quantile(theirs[same] if same.any() else theirs, ranks)
    lacking: Array = np.maximum(goal - mine, 0).astype(np.float32)
    return lacking


@torch.no_grad()
def losses(model: nn.Module, task: Task, faces: Faces, loader: BatchLoader) -> Array:
    """(n,) what a model in evaluation mode loses on each face, in order."""
    model.eval()
    batch = inference_batch(loader.device)
    rows = (np.arange(start, min(start + batch, len(faces))) for start in range(0, len(faces), batch))
    return np.concatenate([task.loss(model, loader.fetch(faces, some)).cpu().numpy() for some in rows])
