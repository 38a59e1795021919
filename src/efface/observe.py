"""One pass of a model over the splits: Outcomes, a row per face."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from efface.faces import Array, Faces, Splits
from efface.feed import as_input
from efface.measures.outcomes import Outcomes
from efface.measures.utility import SPLITS


def observe(model: nn.Module, splits: Splits, device: torch.device) -> Outcomes:
    """What `model` answers to every face that evaluation looks at."""
    parts = [(name, faces) for name, faces in splits.items() if name in SPLITS and len(faces)]
    return Outcomes(
        split=np.concatenate([np.full(len(faces), name) for name, faces in parts]),
        key=np.concatenate([faces.keys for _, faces in parts]),
        identity=np.concatenate([faces.identities for _, faces in parts]),
        group=np.concatenate([faces.groups for _, faces in parts]),
        answers=np.concatenate([answers(model, faces, device) for _, faces in parts]),
        truth=np.concatenate([faces.targets for _, faces in parts]),
    )


@torch.no_grad()
def answers(model: nn.Module, faces: Faces, device: torch.device, batch: int = 256) -> Array:
    """(n, ...) the model's outputs in evaluation mode."""
    model.eval()
    return np.concatenate([model(as_input(faces.images[start:start + batch], device)).cpu().numpy()
                           for start in range(0, len(faces), batch)])
