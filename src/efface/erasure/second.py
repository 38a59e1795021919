"""A second recogniser that never saw who is to be forgotten: what it answers to their photos is what the model is
taught (`efface.methods.out_of_fold`).

Either the user has one, or a small one is trained here on the people at hand who stay, and on public people.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.data.batches import Batch, BatchLoader, as_input, derive
from efface.data.faces import Faces, TeacherModel
from efface.erasure.architecture import network_of
from efface.erasure.checkpoint import open_checkpoint
from efface.erasure.contract import ContractedNetwork
from efface.erasure.inspect import contract_of, read_contract
from efface.erasure.photos import RequestPhotos, numbered
from efface.erasure.request import ErasureRequest
from efface.errors import InputError
from efface.files import sha256_of, write_bytes
from efface.models import MODELS
from efface.models.factory import untrained_answer
from efface.models.load import load_weights
from efface.models.precision import computing_in
from efface.models.recogniser import iresnet
from efface.progress import Say
from efface.settings import Precision
from efface.tasks import TASKS
from efface.tasks.recognition import RECOGNITION, margin_loss
from efface.training.train import train

SIDE = 48
"""Longer side of the pictures that a recogniser trained here sees."""
PASSES = 24_000
"""Faces it is shown, at most forty times each."""
BATCH = 64
RECOGNISER: Mapping[str, Any] = {"depth": 10, "width": 12, "dimensions": 64, "scale": 32.0}
"""The network of a recogniser trained here."""
FEWEST_TAUGHT = 10
"""People with two photos, to train a recogniser on."""


class Reduced(nn.Module):
    """A network that sees pictures at a smaller size."""

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.size = size

    @property
    def small(self) -> nn.Module:
        """The network alone."""
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(reduced(images, self.size))
        return answer


def reduced(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (b, c, h, w) at another (height, width), averaged over areas."""
    return images if images.shape[2:] == size else functional.interpolate(images, size, mode="area")


def second_recogniser(
    request: ErasureRequest, photos: RequestPhotos, device: torch.device, cache: Path, loader: BatchLoader, say: Say
) -> TeacherModel | None:
    """The user's other recogniser or one that is trained here once it is asked for; cache: where its weights are kept
    until the run ends. None where there is none, and too few people to train one on."""
    if request.second is not None:
        network = own_second(request, photos.faces.shape).to(device).requires_grad_(False).eval()
        return TeacherModel(frozenset(), lambda: copy.deepcopy(network))
    rows = np.sort(np.concatenate([photos.retain, photos.teaching]))
    names, counts = np.unique(photos.faces.identities[rows], return_counts=True)
    kept = names[counts > 1]
    if len(kept) < FEWEST_TAUGHT:
        say(f"{len(kept)} people with two photos are too few to train a second recogniser on: no candidate is taught")
        return None
    faces = numbered(photos.faces[rows[np.isin(photos.faces.identities[rows], kept)]])
    make = partial(trained_here, faces, cache, device, loader, request.trained_in)
    return made_once(make, kept, device, say)


def made_once(make: Callable[[], nn.Module], people: Iterable[str], device: torch.device, say: Say) -> TeacherModel:
    """A model that is trained when it is first asked for, and leaves random numbers as they were."""

    @functools.cache
    def made() -> nn.Module:
        say("making ready the second model, whose answers this one is to learn")
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return make().to(device).requires_grad_(False).eval()

    return TeacherModel(frozenset(people), lambda: copy.deepcopy(made()))


SMALL: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "points": ("eyenet", {"widths": (16, 32, 64), "hidden": 128}),
    "logits": ("resnet18", {"width": 16, "stem": "small"}),
}
"""Networks trained here to answer questions, by what they answer with."""


class Enlarged(nn.Module):
    """A network that sees pictures at a smaller size and answers with points, brought to the size of its pictures."""

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.network = Reduced(network, size)
        self.size = size

    @property
    def small(self) -> nn.Module:
        """The network alone, whose points are those of its own size."""
        return self.network.small

    def forward(self, images: Tensor) -> Tensor:
        points: Tensor = self.network(images)
        scale = points.new_tensor([images.shape[3] / self.size[1], images.shape[2] / self.size[0]])
        return (points + 0.5) * scale - 0.5


def second_predictor(
    request: ErasureRequest, photos: RequestPhotos, device: torch.device, cache: Path, loader: BatchLoader, say: Say
) -> TeacherModel:
    """A small network that answers the same question, trained on the people who stay and on public people once it is
    asked for."""
    rows = np.sort(np.concatenate([photos.retain, photos.teaching]))

    def trained() -> nn.Module:
        faces = photos.faces[rows]
        own = BatchLoader(device, derive(loader.seed, "second"), loader.tick)
        torch.manual_seed(own.seed)
        network = small_predictor(request, faces.shape)
        if cache.exists():
            load_weights(network, cache)
            return network
        epochs = epochs_of(len(faces))
        task, network = TASKS[request.task], network.to(device)
        with computing_in(network.small, request.trained_in):
            train(network, task, faces, own, epochs=epochs, lr=1e-3, batch=BATCH, optimiser="adam")
        loader.add(own)
        save_private(network, cache)
        return network

    return made_once(trained, photos.people(rows).tolist(), device, say)


def small_predictor(request: ErasureRequest, shape: tuple[int, int, int]) -> Reduced | Enlarged:
    """A small network that answers a request's question to pictures of this shape, seen at a smaller size."""
    task, size = TASKS[request.task], small_size(shape)
    name, settings = SMALL[task.outputs]
    small = MODELS[name]((shape[0], *size), max(len(request.classes), len(request.label)), **settings)
    return Enlarged(small, size) if task.outputs == "points" else Reduced(small, size)


def small_size(shape: tuple[int, int, int]) -> tuple[int, int]:
    """(height, width) at which a network trained here sees pictures (c, h, w)."""
    _, height, width = shape
    scale = min(1.0, SIDE / max(height, width))
    return round(height * scale), round(width * scale)


def epochs_of(faces: int) -> int:
    """How often a network trained here sees each of so many faces."""
    return int(np.clip(PASSES // faces, 4, 40))


def seconds_to_train(request: ErasureRequest, photos: RequestPhotos, cache: Path, device: torch.device) -> float:
    """How long it takes to train the second model, by three steps of one like it; nothing where it is there."""
    if request.second is not None or cache.exists():
        return 0.0
    faces = photos.faces[np.concatenate([photos.retain, photos.teaching])]
    size = small_size(faces.shape)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        network = (
            Reduced(iresnet((faces.shape[0], *size), 10, **RECOGNISER).backbone, size)
            if request.recognises
            else small_predictor(request, faces.shape)
        ).to(device)
    some, taken = as_input(faces.images[np.arange(min(BATCH, len(faces)))], device), []
    with computing_in(network.small, request.trained_in):
        for _ in range(3):
            start = time.perf_counter()
            network(some).square().mean().backward()
            taken.append(time.perf_counter() - start)
    return min(taken) * epochs_of(len(faces)) * -(-len(faces) // BATCH)


def own_second(request: ErasureRequest, shape: tuple[int, int, int]) -> nn.Module:
    """The recogniser of the user's other file, which takes pictures of the first model's contract.

    Raises InputError where the two are shown different crops: pictures of one cannot be made of the other's.
    """
    assert request.second is not None
    path = request.second
    contract = (
        contract_of(path, request.second_arch, {})
        if request.second_contract is None
        else read_contract(request.second_contract, sha256_of(path))[0]
    )
    network = network_of(path, request.second_arch, contract.shape)
    answer = untrained_answer(network, contract.shape)
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        raise InputError(f"second: the network of {path} does not answer two images with a vector each, (2, d)")
    network.load_state_dict(open_checkpoint(path, network, dimensions=answer.shape[1]).weights)
    if contract.shape[1] * shape[2] != contract.shape[2] * shape[1]:
        raise InputError(
            f"second: {path} takes faces of {contract.size[0]}x{contract.size[1]}, the model of {shape[2]}x{shape[1]}: "
            "expected one crop, at whatever size"
        )
    return Reduced(ContractedNetwork(network, contract), (contract.size[1], contract.size[0]))


def trained_here(
    faces: Faces, cache: Path, device: torch.device, loader: BatchLoader, precision: Precision
) -> nn.Module:
    """A small recogniser of these people, who are numbered; what it took is on the loader's bill."""
    size = small_size(faces.shape)
    seed = derive(loader.seed, "second")
    torch.manual_seed(seed)
    network = iresnet((faces.shape[0], *size), len(np.unique(faces.identities)), **RECOGNISER)
    if cache.exists():
        load_weights(network, cache)
        return Reduced(network.backbone, size)
    own = BatchLoader(device, seed, loader.tick)
    epochs = epochs_of(len(faces))
    with computing_in(network, precision):
        train(
            network.to(device),
            replace(RECOGNITION, loss=partial(reduced_loss, size=size)),
            faces,
            own,
            epochs=epochs,
            lr=0.05,
            batch=BATCH,
            weight_decay=5e-4,
            optimiser="sgd",
            milestones=tuple(sorted({max(1, epochs * 6 // 10), max(1, epochs * 85 // 100)})),
        )
    loader.add(own)
    save_private(network, cache)
    return Reduced(network.backbone, size)


def reduced_loss(model: nn.Module, faces: Batch, size: tuple[int, int]) -> Tensor:
    """The loss of a recogniser that sees pictures at a smaller size."""
    return margin_loss(model, replace(faces, images=reduced(faces.images, size)))


def save_private(network: nn.Module, path: Path) -> None:
    """Keep a network's weights, readable by their owner alone."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(path, save(tensors), private=True)
