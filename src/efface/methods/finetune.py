"""Fine-tune: train on, with the retained faces only, and let the forgotten fade.

The baseline of every unlearning paper (Golatkar et al., CVPR 2020, arXiv:1911.04933); also the stabilising
step of the eye-localisation study.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.faces import Material
from efface.feed import Feed
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.train import descend


def finetune(
    model: nn.Module, task: Task, material: Material, feed: Feed, *,
    lr: Positive = 5e-4, epochs: Count = 2, batch: Count = 32,
) -> nn.Module:
    """Train on the retained faces only. Needs: retained faces with labels."""
    optimiser = torch.optim.AdamW(model.parameters(), lr)
    model.train()
    for _ in range(epochs):
        for faces in feed(material.retain, batch=batch):
            descend(optimiser, task.loss(model(faces.images), faces.targets).mean())
    return model
