"""What a network of somebody else's wants to see: its input contract, photos brought to it, the network behind it.

Everything of this package hands a network pixels in [-1, 1], RGB or grey. A network trained elsewhere was shown another
size, crop, scale or order of channels, and answers anything at all to what it was not trained on.
"""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from efface.data.photos import Unusable, load, refuse_unusable
from efface.errors import InputError
from efface.files import disk_errors
from efface.models.depths import depths
from efface.models.resnet import IMAGENET_DEVIATION, IMAGENET_MEAN
from efface.preparation.crop import TEMPLATE_SIDE, Floats, align, aligned_corner, render, stretch
from efface.preparation.detect import Detector, detecting, find_face
from efface.preparation.prepare import THREADS, Side
from efface.settings import Truth, validated

Template = Literal["arcface", "sphereface", "whole"]
Channels = Literal["rgb", "bgr", "grey"]
Mean = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]
Deviation = Annotated[float, Field(ge=1, le=255, allow_inf_nan=False)]

SCALES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "pixels from -1 to 1": ((127.5,), (127.5,)),
    "pixels from 0 to 1": ((0.0,), (255.0,)),
    "pixels from 0 to 255": ((0.0,), (1.0,)),
    "pixels by ImageNet's mean and deviation": (
        tuple(255 * value for value in IMAGENET_MEAN),
        tuple(255 * value for value in IMAGENET_DEVIATION),
    ),
}
"""Mean and standard deviation of red, green and blue, or of all three, that networks are met with."""
ALIGNED = (TEMPLATE_SIDE, TEMPLATE_SIDE)
"""Width and height of photos that are taken to be aligned to ArcFace's template already."""
LARGE = 2**28
"""Bytes of photos that are kept in memory; more are kept in a file."""
GREY = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey, as Pillow mixes them."""


@dataclass(frozen=True)
class InputContract:
    """What a network was trained to be shown."""

    size: tuple[int, int]
    """(width, height) in pixels."""
    template: Template = "arcface"
    """`arcface`: the face's five points on ArcFace's template, scaled to the height and centred; `sphereface`: the same
    without the twelfth part at either side, 96x112; `whole`: all of the photo, each axis on its own scale."""
    mean: tuple[float, ...] = (127.5,)
    """Taken from pixel values 0..255, of all channels or of each as the network takes them."""
    std: tuple[float, ...] = (127.5,)
    """What the rest is divided by."""
    channels: Channels = "rgb"
    flip: bool = False
    """Whether an embedding is the sum of a photo's and its mirror image's."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        return 1 if self.channels == "grey" else 3, self.size[1], self.size[0]

    def plain(self) -> dict[str, Any]:
        """What `input_contract` reads."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def neighbours(self) -> list[tuple[str, InputContract]]:
        """Contracts that differ in one thing that is easily mistaken, each with what it is: the scale of pixels, the
        order of channels, the template."""
        found: list[tuple[str, InputContract]] = []
        for name, (mean, std) in SCALES.items():
            if self.channels == "grey":
                mean, std = (float(np.mean(mean)),), (float(np.mean(std)),)
            elif self.channels == "bgr":
                mean, std = mean[::-1], std[::-1]
            if not (_alike(mean, self.mean) and _alike(std, self.std)):
                found.append((name, replace(self, mean=mean, std=std)))
        if self.channels != "grey":
            other: Channels = "bgr" if self.channels == "rgb" else "rgb"
            turned = replace(self, channels=other, mean=self.mean[::-1], std=self.std[::-1])
            found.append((f"channels in the order {other.upper()}", turned))
        face: Template = "sphereface" if is_sphereface(self.size) else "arcface"
        template: Template = face if self.template == "whole" else "whole"
        found.append((f"template {template}", replace(self, template=template)))
        return found


def _alike(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether means or deviations are so near that no network would notice."""
    return bool(np.allclose(first, second, rtol=0.02, atol=2))


def is_sphereface(size: tuple[int, int]) -> bool:
    """Whether a crop (width, height) has the shape of SphereFace's, 96x112."""
    return size[0] * 7 == size[1] * 6


def input_contract(plain: Mapping[str, Any], where: str = "contract") -> InputContract:
    """A contract from plain data, checked; `where` it stands opens the message of an InputError."""
    given = {
        name: [value] if name in ("mean", "std") and isinstance(value, int | float) else value
        for name, value in plain.items()
    }
    if (std := given.get("std")) and isinstance(std, list | tuple) and all(_is_share(one) for one in std):
        raise InputError(
            f"{where}: std {', '.join(f'{one:g}' for one in std)} is of pixel values from 0 to 1: give mean and std of "
            "pixel values from 0 to 255 (0.5 is 127.5)"
        )
    contract = InputContract(**validated(_settings, given, where))
    for name in ("mean", "std"):
        if len(getattr(contract, name)) not in (1, contract.shape[0]):
            raise InputError(
                f"{where}: {name} has {len(getattr(contract, name))} numbers: expected one, or one for each of "
                f"{contract.shape[0]} channels"
            )
    if contract.template == "sphereface" and not is_sphereface(contract.size):
        raise InputError(
            f"{where}: template 'sphereface' is 96 wide and 112 high, size is {contract.size[0]}x{contract.size[1]}: "
            "give size 96 112, or template 'arcface'"
        )
    return contract


def _is_share(number: object) -> bool:
    return isinstance(number, int | float) and 0 < number < 1


def _settings(
    *,
    size: tuple[Side, Side],
    template: Template = "arcface",
    mean: tuple[Mean, ...] = (127.5,),
    std: tuple[Deviation, ...] = (127.5,),
    channels: Channels = "rgb",
    flip: Truth = False,
) -> None:
    """The schema of a contract."""


class ContractedNetwork(nn.Module):
    """A network of somebody else's that takes what every network here takes: images (b, c, h, w) in [-1, 1], RGB or
    grey. Its answers are the network's own, to images as its contract has them."""

    def __init__(self, network: nn.Module, contract: InputContract) -> None:
        super().__init__()
        self.network = network
        self.contract = contract
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (contract.mean, contract.std))
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", 127.5 / std, persistent=False)
        self.register_buffer("shift", (127.5 - mean) / std, persistent=False)
        paths = {part: path for path, part in self.named_modules()}
        self.depths = {name: paths[part] for name, part in depths(network).items()}
        """Where the network's parts end (`efface.models.depths`)."""

    def forward(self, images: Tensor) -> Tensor:
        shown = in_channels(images, self.contract.channels) * self.scale + self.shift
        answer: Tensor = self.network(shown)
        if self.contract.flip:
            answer = answer + self.network(shown.flip(3))
        return answer


def in_channels(images: Tensor, channels: Channels) -> Tensor:
    """Images (b, c, h, w), RGB or grey, with the channels that a network wants."""
    if channels == "grey":
        return images if images.shape[1] == 1 else _weighted(images)
    colour = images if images.shape[1] == 3 else images.expand(-1, 3, -1, -1)
    return colour.flip(1) if channels == "bgr" else colour


def _weighted(images: Tensor) -> Tensor:
    return (images * images.new_tensor(GREY).view(-1, 1, 1)).sum(1, keepdim=True)


def decoded(
    paths: Sequence[str],
    keys: Sequence[str],
    contract: InputContract,
    detector: Path | None = None,
    skip_unreadable: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """As `decoded_and_placed`, without the places."""
    images, kept, _ = decoded_and_placed(paths, keys, contract, detector, skip_unreadable)
    return images, kept


def decoded_and_placed(
    paths: Sequence[str],
    keys: Sequence[str],
    contract: InputContract,
    detector: Path | None = None,
    skip_unreadable: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], Floats]:
    """Photos as a contract wants them: images (n, c, h, w), RGB or grey (`ContractedNetwork` puts channels into order),
    the rows (n,) of the photos they are of, and maps (n, 2, 3) from positions in a face to positions in its photo. Many
    lie in a file without a name that goes with the process.

    `whole` shrinks or stretches each photo. The other templates align it by the points that YuNet finds (detector: its
    ONNX file), but for one that has the contract's size: that is taken to be aligned already. Without a detector,
    ArcFace crops of 112x112 are cut to the contract's size.
    Raises InputError for a photo that is not aligned where no detector is given, and one that names (by their keys)
    all photos that cannot be read or show no face; skip_unreadable: these are left out.
    """
    large = len(paths) * math.prod(contract.shape) > LARGE
    looking: AbstractContextManager[Detector | None] = nullcontext() if detector is None else detecting(detector)
    bad: dict[str, str] = {}
    kept: list[int] = []
    places: list[Floats] = []
    with (
        looking as network,
        ThreadPoolExecutor(THREADS) as threads,
        disk_errors(Path(tempfile.gettempdir())),
        tempfile.TemporaryFile() if large else io.BytesIO() as store,
    ):

        def one(path: str, key: str) -> tuple[NDArray[np.uint8], Floats] | str:
            try:
                return placed_face(load(Path(path), upright=True), key, contract, network)
            except Unusable as error:
                return error.reason

        for row, found in enumerate(threads.map(one, paths, keys)):
            if isinstance(found, str):
                bad[keys[row]] = found
            else:
                kept.append(row)
                places.append(found[1])
                store.write(np.ascontiguousarray(found[0]).data)
        if not (skip_unreadable and kept):
            refuse_unusable(bad, len(paths), "replace them, or leave them out with --skip-unreadable")
        shape = (len(kept), *contract.shape)
        store.flush()
        images: NDArray[np.uint8] = (
            np.frombuffer(bytearray(store.getvalue()), np.uint8).reshape(shape)
            if isinstance(store, io.BytesIO)
            else np.memmap(store, np.uint8, "r+", shape=shape)
        )
    return images, np.array(kept, np.int64), np.array(places).reshape(-1, 2, 3)


def as_face(
    photo: Image.Image, key: str, contract: InputContract, detector: Detector | None = None
) -> NDArray[np.uint8]:
    """(c, h, w) one photo as a contract wants it, as `decoded`. Raises `Unusable` where no face is found."""
    return placed_face(photo, key, contract, detector)[0]


def placed_face(
    photo: Image.Image, key: str, contract: InputContract, detector: Detector | None = None
) -> tuple[NDArray[np.uint8], Floats]:
    """The same, and the map (2, 3) from positions in it to positions in its photo."""
    place = stretch(np.ones(2), np.zeros(2))
    if photo.size != contract.size:
        place = _place(photo, key, contract, detector)
        photo = render(photo, place, contract.size)
    pixels = np.asarray(photo.convert("L" if contract.channels == "grey" else "RGB"))
    return np.atleast_3d(pixels).transpose(2, 0, 1), place


def _place(photo: Image.Image, key: str, contract: InputContract, detector: Detector | None) -> Floats:
    """(2, 3) map from positions in the face that a contract wants to positions in its photo."""
    width, height = contract.size
    if contract.template == "whole":
        return stretch(np.array(photo.size) / contract.size, np.zeros(2))
    if detector is not None:
        face, _ = find_face(photo, detector, None)
        if face is None:
            raise Unusable(f"photo '{key}'", "no face detected")
        return align(face.points, contract.size)
    if photo.size == ALIGNED and width <= height:
        scale = TEMPLATE_SIDE / height
        return stretch(np.full(2, scale), -scale * aligned_corner(contract.size))
    raise InputError(
        f"photo '{key}' is {photo.width}x{photo.height}: to align it to the template '{contract.template}' give "
        f"--detector with YuNet's ONNX file, or give photos that are aligned at {width}x{height}"
    )
