"""Bad Teacher: learn the forgotten from a teacher that knows nothing, and everybody else from the original.

Chundawat et al., AAAI 2023, arXiv:2205.08096. No label is used. Ours differs: outputs are compared as the task
compares them (embeddings by their angle; the paper: softmax by its divergence), both in every step, and the learning
rate falls to zero. The incompetent teacher is the same network with its weights drawn anew, as published.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.methods.distillation import both, paired_batches, steps_of, teacher_of
from efface.models.reset import reinitialise
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def bad_teacher(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 4e-3,
    epochs: Count = 15,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
) -> nn.Module:
    """Follow an untrained network on the forgotten and the original on the retained. Needs: both, without labels."""
    teacher = teacher_of(model, data, loader)
    incompetent = torch.from_numpy(loader.outputs(reinitialise(copy.deepcopy(model)), data.forget)).to(loader.device)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, steps_of(data, epochs=epochs, batch=batch))
    model.train()
    for _, forgotten, retained in paired_batches(loader, data, epochs=epochs, batch=batch):
        now, held = both(model, forgotten, retained)
        astray = task.divergence(now, incompetent[forgotten.rows]).mean()
        training_step(optimizer, astray + task.divergence(held, teacher.of_retained(retained)).mean())
        scheduler.step()
    return model
