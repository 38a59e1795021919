"""A model of somebody's own as a function from photos to embeddings or features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor, nn

from efface.data.batches import as_input
from efface.data.faces import Array
from efface.data.vectors import units
from efface.erasure.architecture import network_of
from efface.erasure.checkpoint import open_checkpoint
from efface.erasure.contract import InputContract, as_face
from efface.erasure.opened import open_model
from efface.errors import InputError
from efface.files import sha256_of
from efface.models.factory import untrained_answer
from efface.models.load import outputs_of, read_record, recorded_network
from efface.models.recogniser import Recogniser
from efface.preparation.detect import Detector
from efface.quality.network import inputs_of

SIZE = (112, 112)
"""Width and height of faces where neither the file nor the user says another: what most recognisers take."""


@dataclass(frozen=True)
class Embedder:
    """A network in evaluation mode, and what it is to be shown."""

    network: nn.Module
    """Images (b, c, h, w) in [-1, 1] to (b, d)."""
    shape: tuple[int, int, int]
    """(channels, height, width) of a face."""
    recognises: bool
    """Whether its answers are embeddings, by whose angles people are told apart."""
    sha256: str
    """Of the file of weights."""
    contract: InputContract | None = None
    """How a photo becomes what the network is shown; None: all of it, shrunk to `shape`."""
    detector: Detector | None = None
    """Finds the face in a photo that is not aligned, where the contract wants it aligned."""

    def face(self, photo: Image.Image) -> NDArray[np.uint8]:
        """(c, h, w) what the network is shown of a photo. Raises `Unusable` where no face is found."""
        if self.contract is not None:
            return as_face(photo, "photo", self.contract, self.detector)
        channels, height, width = self.shape
        small = photo.convert("L" if channels == 1 else "RGB").resize((width, height), Resampling.BOX)
        return np.atleast_3d(np.array(small)).transpose(2, 0, 1)

    @torch.no_grad()
    def features(self, images: Array) -> NDArray[np.float32]:
        """(b, d) of images (b, c, h, w) uint8, each answered alone: its bits do not hang on what is beside it."""
        batch = as_input(images, torch.device("cpu"))
        return np.concatenate([self.network(one[None]).float().numpy() for one in batch])

    @torch.no_grad()
    def embeddings(self, images: Array) -> NDArray[np.float32]:
        """(b, d) of length one, each photo's and its mirror image's summed."""
        batch = as_input(images, torch.device("cpu"))
        return units((self.network(batch) + self.network(batch.flip(3))).float().numpy())


def load_embedder(
    weights: Path, arch: str | None = None, size: tuple[int, int] | None = None, contract: Path | None = None
) -> Embedder:
    """The embedder of a file of weights.

    Of a recogniser that a run trained it is the backbone; of a run's other networks, what enters their last linear
    layer. Any other file is read as `efface.erasure.checkpoint` reads it; arch: "module:function" that makes its
    network, where that is not of this package. size: width and height of its faces, where no record says them.
    contract: what `efface inspect --out` wrote of it.
    """
    if contract is not None:
        if size is not None:
            raise InputError(f"the size of faces stands in {contract}: leave out --size")
        model = open_model(weights, arch, contract)
        return Embedder(model.network, model.contract.shape, True, sha256_of(weights), model.contract)
    record = read_record(weights)
    if "model" in record:
        network = recorded_network(weights, arch)
        shape = tuple(record["shape"])
        if size is not None and (shape[2], shape[1]) != size:
            raise InputError(f"{weights} is of faces of {shape[2]}x{shape[1]}: leave out --size {size[0]} {size[1]}")
        recognises = outputs_of(record) == "embeddings"
        network = network.backbone if isinstance(network, Recogniser) else LastFeatures(network)
    else:
        width, height = size or SIZE
        shape, recognises = (3, height, width), True
        network = network_of(weights, arch, shape)
        answer = untrained_answer(network, shape)
        if not isinstance(answer, Tensor) or answer.ndim != 2:
            raise InputError(f"the network of {weights} does not answer two images with a vector each, (2, d)")
        network.load_state_dict(open_checkpoint(weights, network, dimensions=answer.shape[1]).weights)
    return Embedder(network.eval().requires_grad_(False), shape, recognises, sha256_of(weights))


class LastFeatures(nn.Module):
    """Of a network whose answer is a linear layer's: images (b, c, h, w) to what enters that layer, (b, d)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise InputError(f"{type(network).__name__} has no linear layer to take features before")
        self.network, self.layers = network, layers[-1:]

    def forward(self, images: Tensor) -> Tensor:
        with inputs_of(self.network, self.layers) as seen:
            self.network(images)
        return seen[0][1].flatten(1)
