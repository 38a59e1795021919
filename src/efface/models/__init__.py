"""The networks, by name. A factory takes the shape of one image, the number of classes, and its own settings."""

from collections.abc import Callable

from torch import nn

from efface.models.eyenet import eyenet
from efface.models.recogniser import iresnet, mobilefacenet, own_backbone
from efface.models.resnet import resnet18

MODELS: dict[str, Callable[..., nn.Module]] = {
    "eyenet": eyenet,
    "iresnet": iresnet,
    "mobilefacenet": mobilefacenet,
    "own_backbone": own_backbone,
    "resnet18": resnet18,
}
