"""MIU: forget by making features say less of their group, and keep what they said of it on everybody else.

De Min et al., Group-robust Machine Unlearning, TMLR 2025, arXiv:2503.09330. A small network (MINE: Belghazi, ICML
2018, arXiv:1801.04062) estimates how much the last features tell of the group. In the first epochs that is lowered on
the forgotten; on the retained the loss is lowered, and the estimate is kept where the original's was. The paper uses
`reweight = true` with it; here that is the plan's choice, as with any method. As there, a group is one of a class where
classes are answered, and the other side of the estimate draws groups evenly. Ours differs: fewer epochs, the learning
rate falls to zero, and what the original's features tell is estimated once, before the first step.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.data.batches import Batch, BatchLoader, batches_of, derive
from efface.data.faces import MethodData
from efface.errors import InputError
from efface.models.depths import Tap, depth, flattened, tapped
from efface.models.recogniser import Recogniser
from efface.settings import Count, Limit, Number, Positive, Strength
from efface.tasks import Task
from efface.training.reweight import cells
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def miu(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    forget_epochs: Number = 1,
    batch: Count = 32,
    optimiser: Optimiser = "adamw",
    weight: Strength = 1.0,
    mine_lr: Positive = 1e-3,
    tuning: Count = 100,
    hidden: Count = 512,
    clip: Limit = 10.0,
) -> nn.Module:
    """Lower what features of the forgotten tell of their group, in the first `forget_epochs`; train on the retained
    with `weight` times the squared change of that. tuning: steps of the estimator before the first epoch, a tenth of
    them before each later one. Needs: both, with groups; retained faces with labels."""
    groups, forgotten_group, retained_group = numbered(data, task, loader.device)
    original = data.original if data.original is not None else copy.deepcopy(model).eval()
    stream = loader.endless(data.retain, batch=batch)
    with tapped(features_of(original)) as theirs, tapped(features_of(model)) as ours:
        before, now = (
            Estimator(one, tap, groups, hidden, mine_lr, derive(loader.seed, "mine", place))
            for place, (one, tap) in enumerate(((original, theirs), (model, ours)))
        )
        before.tune(itertools.islice(stream, tuning), retained_group)
        optimizer = make_optimizer(optimiser, model, lr, 0.01 if optimiser == "adamw" else 0.0)
        scheduler = linear_decay(optimizer, epochs * batches_of(len(data.retain), batch))
        for epoch in range(epochs):
            now.tune(itertools.islice(stream, tuning if epoch == 0 else math.ceil(tuning / 10)), retained_group)
            model.train()
            if epoch < forget_epochs:
                for forgotten in loader(data.forget, batch=batch):
                    model(forgotten.images)
                    training_step(optimizer, now.told(forgotten_group[forgotten.rows]), clip)
            for retained in loader(data.retain, batch=batch):
                loss, group = task.loss(model, retained).mean(), retained_group[retained.rows]
                with torch.no_grad():
                    original(retained.images)
                    kept = before.told(group)
                training_step(optimizer, loss + weight * (now.told(group) - kept).square(), clip)
                scheduler.step()
    return model


def numbered(data: MethodData, task: Task, device: torch.device) -> tuple[int, Tensor, Tensor]:
    """How many groups there are, and the group of each forgotten and each retained face as a number.

    Raises InputError where there is one group alone: features cannot tell anything of it.
    """
    every = np.concatenate([cells(data.forget, task), cells(data.retain, task)])
    names, of = np.unique(every, return_inverse=True)
    if len(names) < 2:
        raise InputError(
            "miu keeps what features tell of groups, and all faces are of one group: set data.group_by, "
            "data.group_file or data.group_clusters"
        )
    forgotten, retained = np.split(of, [len(data.forget)])
    return len(names), torch.from_numpy(forgotten).to(device), torch.from_numpy(retained).to(device)


def features_of(model: nn.Module) -> nn.Module:
    """The part that makes the features which the answer is made of; a recogniser's answer is itself features."""
    return model if isinstance(model, Recogniser) else depth(model, "last")


class Estimator:
    """How much the features that pass a tap tell of the group, in nats: a lower bound (Donsker and Varadhan) that a
    small network makes as tight as it can."""

    def __init__(self, model: nn.Module, tap: Tap, groups: int, hidden: int, lr: float, seed: int) -> None:
        self.model, self.tap, self.groups, self.hidden, self.lr = model, tap, groups, hidden, lr
        self.random = torch.Generator().manual_seed(seed)
        self.network: nn.Module | None = None

    def told(self, group: Tensor) -> Tensor:
        """The bound for the features that passed last and their groups (b,)."""
        assert self.network is not None
        features = flattened(self.tap.out, grid=1)
        evenly = torch.randint(self.groups, group.shape, generator=self.random).to(group.device)
        together, apart = (
            self.network(torch.cat([features, functional.one_hot(one, self.groups)], 1))[:, 0]
            for one in (group, evenly)
        )
        return together.mean() - (apart.logsumexp(0) - math.log(len(group)))  # type: ignore[no-any-return]

    def tune(self, batches: Iterable[Batch], group: Tensor) -> None:
        """Tighten the bound, a step a batch; group: of every face that a batch may be of."""
        self.model.eval()
        steps: torch.optim.Optimizer | None = None
        for faces in batches:
            with torch.no_grad():
                self.model(faces.images)
            if self.network is None:
                self.network = self.built(flattened(self.tap.out, grid=1))
            steps = steps or torch.optim.SGD(self.network.parameters(), self.lr, momentum=0.9)
            training_step(steps, -self.told(group[faces.rows]), clip=10.0)

    def built(self, features: Tensor) -> nn.Module:
        """The network for features of this width."""
        width = features.shape[1] + self.groups
        return nn.Sequential(nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1)).to(features.device)
