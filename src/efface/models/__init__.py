"""The networks, by name. A factory takes the shape of one image and the network's own settings."""

from collections.abc import Callable

from torch import nn

from efface.models.eyenet import eyenet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "eyenet": eyenet,
}
