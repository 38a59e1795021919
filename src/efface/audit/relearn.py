"""How soon does a model know the forgotten again? What was only hidden comes back in a few steps.

AIN, the anamnesis index: Chundawat et al., Zero-shot machine unlearning, 2023, arXiv:2201.05629; steps to within 5% of
the original's loss, over the steps that the retrained reference takes. Far below 1: something was left.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from efface.data.batches import BatchLoader, inference_batch
from efface.data.faces import Faces
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import make_optimizer, training_step

WITHIN = 1.05
"""Times the original's loss, at which a model counts as knowing them again."""


def loss_on(model: nn.Module, task: Task, faces: Faces, loader: BatchLoader) -> float:
    """Mean loss of some faces in evaluation mode."""
    model.eval()
    batch, total = inference_batch(loader.device), 0.0
    with torch.no_grad():
        for start in range(0, len(faces), batch):
            rows = range(start, min(start + batch, len(faces)))
            total += float(task.loss(model, loader.fetch(faces, torch.arange(rows.start, rows.stop).numpy())).sum())
    return total / len(faces)


def steps_to_relearn(
    model: nn.Module,
    task: Task,
    forget: Faces,
    loader: BatchLoader,
    goal: float,
    *,
    lr: Positive = 5e-4,
    batch: Count = 64,
    every: Count = 2,
    most: Count = 1000,
) -> int | None:
    """Steps of AdamW on the forgotten until their mean loss is at most `goal`, looked at after `every` so many; None
    where that takes more than `most`."""
    optimizer = make_optimizer("adamw", model, lr, 0.0)
    if loss_on(model, task, forget, loader) <= goal:
        return 0
    for step, faces in enumerate(itertools.islice(loader.endless(forget, batch=batch), most), start=1):
        model.train()
        training_step(optimizer, task.loss(model, faces).mean())
        if step % every == 0 and loss_on(model, task, forget, loader) <= goal:
            return step
    return None
