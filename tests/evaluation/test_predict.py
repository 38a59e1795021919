"""What a model answers, against a loop over single faces, and the memory that takes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.data.batches import as_input
from efface.data.faces import Images
from efface.evaluation.predict import outputs

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (200, 1, 6, 5), dtype=np.uint8)


class LeftHalf(nn.Module):
    """Answers the mean of each picture's left columns, once per dimension: a mirror image has another answer."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, :, :2].mean((1, 2))[:, None].expand(-1, 1024)


def test_answers_are_those_to_each_face_alone_and_a_mirror_image_is_added() -> None:
    rows = np.arange(200)[::-1].copy()
    images, model = Images(PIXELS, rows), LeftHalf()
    alone = np.concatenate([model(as_input(PIXELS[row : row + 1], CPU)).numpy() for row in rows])
    mirrored = np.concatenate([model(as_input(PIXELS[row : row + 1, ..., ::-1], CPU)).numpy() for row in rows])
    assert outputs(model, images, CPU) == pytest.approx(alone)
    assert outputs(model, images, CPU, with_mirror=True) == pytest.approx(alone + mirrored)
    assert not np.allclose(alone, mirrored)


def test_answering_takes_memory_for_the_answers_alone() -> None:
    images = Images(np.broadcast_to(PIXELS[:1], (20_000, *PIXELS.shape[1:])), np.arange(20_000))
    tracemalloc.start()
    found = outputs(LeftHalf(), images, CPU)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < found.nbytes + 2**22
