"""The linear layer a network ends in, with another map in its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import refusal
from efface.erasure.contract import ContractedNetwork, InputContract
from efface.models.iresnet import IResNet
from efface.models.last_layer import WithLastLayer, last_layer
from efface.models.mobilefacenet import MobileFaceNet

SIDE = 24


class UnitLength(nn.Module):
    """A network whose answers have length one."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 6), nn.BatchNorm1d(6))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.inside(images))


def flipped() -> nn.Module:
    return ContractedNetwork(IResNet((3, SIDE, SIDE), 10, 4, 6), InputContract((SIDE, SIDE), "whole", flip=True))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "batch normalisation behind": lambda: IResNet((3, SIDE, SIDE), 10, 4, 6),
    "mobilefacenet": lambda: MobileFaceNet((3, SIDE, SIDE), 8, 6),
    "linear alone": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 6)),
    "a convolution of one pixel": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.Flatten()
    ),
}


def images(count: int = 5) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def ready(network: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics and scales that are not those of a new network."""
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            if part.weight is not None:
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.normal_(part.bias)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_it_becomes_any_affine_map_of_what_comes_out_and_goes_in(name: str) -> None:
    network = ready(NETWORKS[name]())
    layer = last_layer(network, images())
    before = network(images()).double().numpy()
    inputs = WithLastLayer(network, layer)(images()).double().numpy()[:, :-6]
    rng = np.random.default_rng(0)
    matrix, of_input, offset = rng.normal(size=(6, 6)), rng.normal(size=(6, inputs.shape[1])), rng.normal(size=6)
    layer.become(matrix, of_input, offset)
    meant = before @ matrix.T + inputs @ of_input.T + offset
    np.testing.assert_allclose(network(images()).numpy(), meant, rtol=1e-3, atol=1e-3 * np.abs(meant).max())


@torch.no_grad()
def test_what_has_no_weights_and_comes_after_is_left_alone() -> None:
    network = ready(UnitLength())
    assert isinstance(network, UnitLength)
    layer = last_layer(network, images())
    before = network.inside(images()).double().numpy()
    layer.become(np.diag([1.0, 2, 3, 4, 5, 6]), np.zeros((6, 3 * SIDE * SIDE)), np.ones(6))
    meant = before * np.arange(1, 7) + 1
    found = network(images()).numpy()
    np.testing.assert_allclose(found, meant / np.linalg.norm(meant, axis=1, keepdims=True), atol=1e-4)


@torch.no_grad()
def test_an_offset_is_added_once_where_images_pass_twice() -> None:
    """Beside its mirror image a photo passes twice, and the two answers are summed."""
    network = ready(flipped())
    layer = last_layer(network, images())
    before = network(images()).numpy()
    layer.become(np.eye(6), np.zeros((6, layer.linear.weight.shape[1])), np.ones(6))
    np.testing.assert_allclose(network(images()).numpy(), before + 2, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 6), nn.PReLU()), "PReLU"),
        (nn.Sequential(nn.Conv2d(3, 3, SIDE, groups=3), nn.Flatten()), "Conv2d"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 6, bias=False)), "no bias"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 6), nn.ReLU(), nn.BatchNorm1d(6)),
            "not one linear map",
        ),
        (nn.Flatten(), "Flatten"),
    ],
)
def test_a_network_that_ends_otherwise_is_refused(network: nn.Module, said: str) -> None:
    assert said in refusal(lambda: last_layer(network.eval(), images()))
