"""The networks, by name. A factory takes the shape of one image, the number of classes, and its own settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from efface.functions import Functions

if TYPE_CHECKING:
    from torch import nn

MODELS: Functions[Callable[..., nn.Module]] = Functions(
    {
        "eyenet": "efface.models.eyenet",
        "iresnet": "efface.models.recogniser",
        "mobilefacenet": "efface.models.recogniser",
        "own_backbone": "efface.models.recogniser",
        "resnet18": "efface.models.resnet",
    }
)
