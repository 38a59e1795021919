"""EyeNet answers in pixels of whatever picture it is shown."""

import pytest
import torch
from torch import nn

from efface.models import MODELS


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 286, 384), (3, 48, 48), (1, 8, 8), (1, 24, 40)])
def test_any_size_and_colour(channels: int, height: int, width: int) -> None:
    model = MODELS["eyenet"]((channels, height, width))
    assert model(torch.zeros(2, channels, height, width)).shape == (2, 2, 2)


def test_coordinates_are_normalised_inside_and_reported_in_pixels() -> None:
    """With all weights zero but the last bias, the answer is that fraction of any picture."""
    model = MODELS["eyenet"]((1, 16, 16))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    model.get_parameter("head.3.bias").data = torch.tensor([0.2, -0.1, -0.2, -0.1])
    for width, height in ((16, 16), (384, 286)):
        (answer,) = model(torch.zeros(1, 1, height, width))
        expected = [[0.7 * width, 0.4 * height], [0.3 * width, 0.4 * height]]
        assert torch.allclose(answer, torch.tensor(expected))


def test_it_is_the_network_it_says_it_is() -> None:
    model = MODELS["eyenet"]((1, 48, 48))
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32, 64, 128]
    (pool,) = [layer for layer in model.modules() if isinstance(layer, nn.AdaptiveAvgPool2d)]
    assert pool.output_size == (4, 6)
    assert sum(parameter.numel() for parameter in model.parameters()) == (
        32 * 9 + 32 + 64 * 32 * 9 + 64 + 128 * 64 * 9 + 128 + 128 * 24 * 256 + 256 + 256 * 4 + 4
    )
