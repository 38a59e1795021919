"""PIU-FR: leave the original on the forgotten, hold to it on public faces of the same classes, in turns; then repair.

PIU-FR, ACIIDS 2025 (CCIS). Stage 1: public faces are put in an order in which each has the class of the forgotten face
in its place; batches alternate, up the divergence from the original on a forgotten batch, down it on the public one.
Stage 2: repair by the labelled loss on the retained. Learning rate, batch, epochs, optimiser, clipping and what exactly
repairs are not published; repair is read from the figure.

Traps of the published form, and what is done about them here:
* The student starts as the teacher, where the divergence and its gradient are zero, so nothing moves until something
  else does: the weights are nudged at random by a thousandth.
* The ascent has no upper bound: a face counts only until its divergence reaches `ceiling`, and the gradient's norm is
  clipped (`ceiling = inf`, `clip = inf`: unbounded).
* The published public faces are those the attack is scored with, so that training moves both sides of the score: here
  they are others. A plan gets the published protocol with `public = "strangers"`, and its row says so.

A forgotten face whose class no public face has is paired with any.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.batches import BatchLoader, batches_of, derive
from efface.data.faces import MethodData
from efface.errors import InputError
from efface.methods.distillation import perturb
from efface.methods.matched_public_faces import matched_public
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
    epochs: Count = 2,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    ceiling: Limit = 1.0,
    clip: Limit = 1.0,
    repair_epochs: Number = 1,
    repair_lr: Positive = 5e-4,
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
    on_forgotten, on_public = (
        torch.from_numpy(loader.outputs(model, faces)).to(loader.device) for faces in (data.forget, matched)
    )
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, 2 * epochs * batches_of(len(matched), batch), anneal)
    perturb(model, derive(loader.seed, "nudge"))
    model.train()
    for _ in range(epochs):
        for forgotten in loader(data.forget, batch=batch):
            away = task.divergence(model(forgotten.images), on_forgotten[forgotten.rows]).clamp(max=ceiling)
            training_step(optimizer, -away.mean(), clip)
            scheduler.step()
            same_classes = loader.fetch(matched, forgotten.rows)
            held = task.divergence(model(same_classes.images), on_public[same_classes.rows])
            training_step(optimizer, held.mean(), clip)
            scheduler.step()
    if repair_epochs:
        fit(model, task, data.retain, loader, lr=repair_lr, epochs=repair_epochs, batch=batch, optimiser=optimiser)
    return model
