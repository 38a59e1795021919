"""NegGrad+: ascent on the forgotten and descent on the retained in the same step.

Kurmanji et al., Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv:2302.09880 (there alpha = .95, and the
descent also pulls the weights towards the original's). Ours differs: no pull on the weights, and each forgotten
face counts only until its loss reaches `ceiling` times the forgotten's mean loss before (infinity: as published);
the learning rate falls to zero. Without labels, as CURE's paper wants it, how far the answers are from the original's
takes the place of the loss on both sides, and there is no ceiling.

The MUFAC benchmark's Advanced NegGrad is alpha = 0.5 with twice its learning rate (its sum has no factor of a half), no
ceiling and plain SGD.
"""

from __future__ import annotations

from torch import Tensor, nn

from efface.data.augment import Augment
from efface.data.batches import Batch, BatchLoader, batches_of, derive
from efface.data.faces import MethodData
from efface.methods.distillation import perturb, teacher_of
from efface.methods.neggrad import mean_loss
from efface.settings import Count, Factor, Positive, Share
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def neggrad_plus(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    batch: Count = 32,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    alpha: Share = 0.95,
    ceiling: Factor = 4.0,
    labels: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Descend on alpha of the retained loss minus (1 - alpha) of the forgotten's. Needs: both, with labels unless
    `labels = false`."""
    if labels:
        limit = ceiling * mean_loss(model, task, data, loader, batch)

        def losses(forgotten: Batch, retained: Batch) -> tuple[Tensor, Tensor]:
            return task.loss(model, retained), task.loss(model, forgotten).clamp(max=limit)
    else:
        teacher = teacher_of(model, data, loader, augment)
        perturb(model, derive(loader.seed, "nudge"))

        def losses(forgotten: Batch, retained: Batch) -> tuple[Tensor, Tensor]:
            return (
                task.divergence(model(retained.images), teacher.of_retained(retained)),
                task.divergence(model(forgotten.images), teacher.of_forgotten(forgotten)),
            )

    optimizer = make_optimizer(optimiser, model, lr, 0.01 if optimiser == "adamw" else 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(data.retain), batch), anneal)
    model.train()
    for _ in range(epochs):
        for retained, forgotten in zip(
            loader(data.retain, batch=batch, augment=augment),
            loader.endless(data.forget, batch=batch, augment=augment),
            strict=False,
        ):
            kept, climbed = losses(forgotten, retained)
            training_step(optimizer, alpha * kept.mean() - (1 - alpha) * climbed.mean())
            scheduler.step()
    return model
