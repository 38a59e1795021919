"""SalUn: random labels for the forgotten, learned by the weights that matter to them alone.

Fan et al., SalUn, ICLR 2024, arXiv:2310.12508. The `share` of all weights with the largest gradient of the forgotten's
loss may move; random labels on the forgotten and the right ones on the retained are learned with those. Ours differs:
both are mixed in every step (published: one after the other in each epoch), the learning rate falls to zero, and there
is no weight decay, which would move the others too.
"""

from __future__ import annotations

from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of, derive
from efface.data.faces import MethodData, together
from efface.methods.gradients import mean_gradient, strongest
from efface.methods.relabel import mislabelled
from efface.settings import Count, Positive, Share
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer


def salun(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    share: Share = 0.5,
    lr: Positive = 0.013,
    epochs: Count = 10,
    batch: Count = 64,
    optimiser: Optimiser = "sgd",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Learn random other labels of the forgotten and those of the retained with the most salient weights. Needs: both,
    with labels."""
    gradient = mean_gradient(model, task, data.forget, loader, batch)
    salient = strongest({name: values.abs() for name, values in gradient.items()}, share)
    mixed = together(mislabelled(data, derive(loader.seed, "labels")), data.retain)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(mixed), batch), anneal)
    model.train()
    for _ in range(epochs):
        for faces in loader(mixed, batch=batch, augment=augment):
            optimizer.zero_grad()
            task.loss(model, faces).mean().backward()  # type: ignore[no-untyped-call]
            for name, weight in model.named_parameters():
                if weight.grad is not None:
                    weight.grad.mul_(salient[name])
            optimizer.step()
            scheduler.step()
    return model
