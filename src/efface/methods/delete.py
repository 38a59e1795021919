"""DELETE: answer the forgotten as the original did, less their own class.

Zhou et al., Decoupled Distillation to Erase, CVPR 2025, arXiv:2503.23751. The original's logits with the face's own
class taken out are the target; no retained face is needed. Made for forgetting whole classes: where others of the class
are kept, an answer that never names the right class is itself a trace. Ours keeps the statistics of batch
normalisation as they are, which is an option of theirs.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import MethodData
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def delete(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-3,
    epochs: Count = 5,
    batch: Count = 64,
    optimiser: Optimiser = "sgd",
    anneal: bool = True,
    hold_statistics: bool = True,
) -> nn.Module:
    """Distil the original without the face's own class into the forgotten. Needs: the forgotten alone, with labels."""
    outputs = torch.from_numpy(loader.outputs(model, data.forget)).to(loader.device)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(data.forget), batch), anneal)
    model.train(not hold_statistics)
    for _ in range(epochs):
        for faces in loader(data.forget, batch=batch):
            without = outputs[faces.rows].scatter(1, faces.targets[:, None], -1e10)
            training_step(optimizer, task.divergence(model(faces.images), without).mean())
            scheduler.step()
    return model
