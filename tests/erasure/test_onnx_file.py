"""The model after as an ONNX file: it answers as the weights do, and tells nothing of where it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from conftest import refusal
from efface.erasure.contract import ContractedNetwork, InputContract
from efface.erasure.onnx_file import answered, as_the_contract_has_them, write_onnx
from efface.models.iresnet import IResNet

pytest.importorskip("onnxruntime")

SIDE = 24


@pytest.fixture(scope="module")
def model() -> ContractedNetwork:
    torch.manual_seed(0)
    contract = InputContract((SIDE, SIDE), "whole", (0.0,), (255.0,), "bgr")
    return ContractedNetwork(IResNet((3, SIDE, SIDE), 10, 4, 16), contract).eval()


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (9, 3, SIDE, SIDE), np.uint8)


def test_it_answers_any_number_of_images_as_the_weights_do(
    model: ContractedNetwork, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Its input is as the contract has it: here blue first, from 0 to 1."""
    path = tmp_path / "after.onnx"
    assert write_onnx(model, images, path) < 1e-5
    shown = np.ascontiguousarray(images[:, ::-1], np.float32) / np.float32(255)
    np.testing.assert_allclose(as_the_contract_has_them(model, images).numpy(), shown, atol=1e-6)
    for count in (1, 9):
        with torch.no_grad():
            meant = model(torch.from_numpy(images[:count]).float() / 127.5 - 1)
        np.testing.assert_allclose(answered(path, shown[:count]), meant.numpy(), atol=1e-4)


def test_no_path_of_this_machine_stands_in_it(
    model: ContractedNetwork, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "after.onnx"
    write_onnx(model, images, path)
    content = path.read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content
    assert path.stat().st_mode & 0o777 == 0o600


class Otherwise(nn.Module):
    """Answers otherwise once it is exported."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :4] * (
            2.0 if torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting() else 1.0
        )


def test_a_file_that_answers_otherwise_is_not_left(images: NDArray[np.uint8], tmp_path: Path) -> None:
    model = ContractedNetwork(Otherwise(), InputContract((SIDE, SIDE), "whole"))
    path = tmp_path / "after.onnx"
    assert "otherwise than the weights" in refusal(lambda: write_onnx(model, images, path))
    assert not list(tmp_path.iterdir())


class Untraceable(nn.Module):
    """What comes out hangs on what came in, step by step."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.mean() > 0 else images.flatten(1)[:, :4]


def test_a_network_that_cannot_be_written_is_one_line(images: NDArray[np.uint8], tmp_path: Path) -> None:
    model = ContractedNetwork(Untraceable(), InputContract((SIDE, SIDE), "whole"))
    assert "cannot be written as ONNX" in refusal(lambda: write_onnx(model, images, tmp_path / "after.onnx"))
    assert not list(tmp_path.iterdir())
