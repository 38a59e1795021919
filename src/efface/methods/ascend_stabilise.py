"""Ascend, then stabilise: the two steps of the eye-localisation study, gradient ascent and a fine-tune.

Both steps are baselines of Golatkar et al., CVPR 2020, arXiv:1911.04933. The study (Team12 SafeAI, not published as a
paper) gives neither steps nor learning rates; ours were chosen on synthetic faces, and the ascent is bounded.
A plan that wants to see the two steps apart writes them as two stages: `neggrad`, and `finetune` after it.
"""

from __future__ import annotations

from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.methods.finetune import finetune
from efface.methods.neggrad import neggrad
from efface.settings import Count, Factor, Positive
from efface.tasks import Task


def ascend_stabilise(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    ascent_lr: Positive = 2e-5,
    ascent_epochs: Count = 1,
    ceiling: Factor = 4.0,
    clip: Positive = 1.0,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    batch: Count = 32,
) -> nn.Module:
    """Climb the loss of the forgotten, then fine-tune on the retained. Needs: both, with labels."""
    model = neggrad(
        model, task, data, loader, lr=ascent_lr, epochs=ascent_epochs, batch=batch, ceiling=ceiling, clip=clip
    )
    return finetune(model, task, data, loader, lr=lr, epochs=epochs, batch=batch)
