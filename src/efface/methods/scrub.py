"""SCRUB: away from the original on the forgotten, back to it on the retained, in turns.

Kurmanji et al., Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv:2302.09880. Ours differs: outputs are
compared as the task compares them; a pass over the retained is as long as one over the forgotten; the learning rate
falls to zero; the gradient of a step away is clipped, since not every divergence is bounded; and `gamma`, the weight
of the labelled loss on the retained (published: 1), is 0, so that no label is used.
"""

from __future__ import annotations

import itertools

from torch import nn

from efface.faces import Material
from efface.feed import Feed, batches_of, derive
from efface.methods.teaching import nudge, teacher_of
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.train import Optimiser, descend, falling, make_optimiser


def scrub(
    model: nn.Module, task: Task, material: Material, feed: Feed, *,
    lr: Positive = 1e-3, epochs: Count = 15, max_epochs: Count = 10, batch: Count = 64, optimiser: Optimiser = "adamw",
    alpha: Strength = 1.0, gamma: Strength = 0.0, clip: Positive = 10.0,
) -> nn.Module:
    """In each of the first `max_epochs` epochs leave the original on the forgotten, and in every epoch return to it on
    the retained. Needs: both, without labels (with gamma > 0: labels of the retained)."""
    teacher = teacher_of(model, material, feed)
    length = batches_of(len(material.forget), batch)
    steps = make_optimiser(optimiser, model, lr, 0.0)
    fall = falling(steps, length * (epochs + min(max_epochs, epochs)))
    retained = feed.endless(material.retain, batch=batch)
    nudge(model, derive(feed.seed, "nudge"))
    model.train()
    for epoch in range(epochs):
        if epoch < max_epochs:
            for forgotten in feed(material.forget, batch=batch):
                away = task.divergence(model(forgotten.images), teacher.of_forgotten(forgotten))
                descend(steps, -away.mean(), clip)
                fall.step()
        for faces in itertools.islice(retained, length):
            loss = alpha * task.divergence(model(faces.images), teacher.of_retained(faces)).mean()
            if gamma:
                loss = loss + gamma * task.loss(model, faces).mean()
            descend(steps, loss)
            fall.step()
    return model
