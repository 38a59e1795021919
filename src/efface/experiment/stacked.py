"""Several networks of one shape trained as one: their weights stacked, every step made for all of them at once.

On a GPU a small network leaves most of the machine idle, and stacks fill it; on a CPU the same is slower than one
network after the other (benchmarks/many_models.py). The models of a stack may have more or fewer faces; a pass is as
long as the longest, and the others begin their next one early.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from efface.data.augment import Augment
from efface.data.batches import Batch, BatchLoader, batches_of, derive
from efface.data.faces import Faces
from efface.experiment.resolve import ResolvedPlan
from efface.experiment.shadows import Shadow
from efface.experiment.store import ModelStore
from efface.models.load import start_from
from efface.tasks import Task
from efface.training.environment import Meter
from efface.training.train import Optimiser, optimizer_of, rate_at

TOGETHER = 16
"""Networks in one stack."""


class LossModule(nn.Module):
    """A model that answers with its loss, so that whatever a task does with the model's parts sees stacked weights."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.task.loss(self.model, Batch(images, targets, rows=None)).mean()  # type: ignore[arg-type]


def train_stacked(
    models: Sequence[nn.Module],
    task: Task,
    faces: Sequence[Faces],
    feeds: Sequence[BatchLoader],
    *,
    epochs: int,
    lr: float,
    batch: int,
    weight_decay: float,
    optimiser: Optimiser,
    milestones: Sequence[int],
    augment: Augment,
    accumulate: int = 1,
    keep: Sequence[int] = (),
) -> None:
    """Train every model on its own faces by the recipe of `train`, all of them in every step, in place; no stack is an
    original, so nothing is kept on the way (`keep`)."""
    losing = [LossModule(model, task).train() for model in models]
    weights, state = stack_module_state(losing)
    base = copy.deepcopy(losing[0])

    def loss(weights: dict[str, Tensor], state: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
        return functional_call(base, (weights, state), (images, targets))  # type: ignore[no-any-return]

    each = torch.vmap(loss, randomness="different")
    optimizer = optimizer_of(optimiser, list(weights.values()), lr, weight_decay)
    length = max(batches_of(len(one), batch) for one in faces)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(epoch, epochs, lr, milestones)
        streams = [whole_batches(loader, one, batch, augment) for loader, one in zip(feeds, faces, strict=True)]
        for batches in itertools.islice(zip(*streams, strict=False), length):
            images, targets = (torch.stack([getattr(one, name) for one in batches]) for name in ("images", "targets"))
            size = images.shape[1]
            parts = min(accumulate, max(1, size // 2))
            optimizer.zero_grad()
            for some, of in zip(images.tensor_split(parts, 1), targets.tensor_split(parts, 1), strict=True):
                share = some.shape[1] / size
                (share * each(weights, state, some, of).sum()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for place, one in enumerate(losing):
        one.load_state_dict({name: stack[place] for name, stack in {**weights, **state}.items()}, strict=False)


def whole_batches(loader: BatchLoader, faces: Faces, batch: int, augment: Augment) -> Iterator[Batch]:
    """Batches of one size, pass after pass: a stack has no room for a shorter last one."""
    batch = min(batch, len(faces))
    return (one for one in loader.endless(faces, batch=batch, augment=augment) if len(one.images) == batch)


def make_stacked(shadows: Sequence[Shadow], resolved: ResolvedPlan, store: ModelStore) -> None:
    """Train an arm's shadows in stacks of networks of one shape, and put each in the store. Which of them share a stack
    never depends on what stands there already: a stack of which one is missing is trained whole."""

    def classes(shadow: Shadow) -> int:
        return int(shadow.stage.network.about["classes"])

    for _, same in itertools.groupby(sorted(shadows, key=classes), classes):
        alike = list(same)
        for stack in (alike[start : start + TOGETHER] for start in range(0, len(alike), TOGETHER)):
            if all(store.has(shadow.stage) for shadow in stack):
                continue
            with Meter(store.device) as meter:
                models, feeds = zip(*(beginning(shadow, resolved, store) for shadow in stack), strict=True)
                faces = [shadow.faces for shadow in stack]
                train_stacked(models, resolved.task, faces, feeds, **resolved.train_settings)
            each = {name: value / len(stack) for name, value in meter.bill.items()}
            for shadow, model, loader in zip(stack, models, feeds, strict=True):
                store.put(shadow.stage, model, each | {"faces": loader.faces_used})


def beginning(shadow: Shadow, resolved: ResolvedPlan, store: ModelStore) -> tuple[nn.Module, BatchLoader]:
    """A shadow as it is before training, and what feeds it."""
    seed = derive(shadow.stage.seed, shadow.stage.name)
    torch.manual_seed(seed)
    model, pretrained = store.fresh(shadow.stage.network), resolved.plan.model.pretrained
    return start_from(model, pretrained) if pretrained else model, BatchLoader(store.device, seed, store.tick)
