"""Which network of this package a file of weights is of, and that network, untrained: told by the record that efface
left in the file, or by the names and shapes of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efface.errors import InputError, refusing
from efface.models import MODELS
from efface.models.factory import first_line, network_made_by, untrained_answer
from efface.models.iresnet import BLOCKS
from efface.models.load import COUNTER, LARGEST_SIDE, read_record, state_dicts, unwrapped
from efface.models.recogniser import Recogniser, own_backbone
from efface.settings import validated

GIVE_ARCH = "name what makes its network, if you trust it: --arch module:function"


@dataclass(frozen=True)
class Architecture:
    """A network of this package as its builder makes it."""

    name: str
    settings: dict[str, Any]
    classes: int
    """Of a classifier; 0: it is none."""
    shape: tuple[int, int, int] | None
    """(c, h, w) of the images it was trained on; None where its weights fit any."""


def network_of(path: Path, arch: str | None, shape: tuple[int, int, int]) -> nn.Module:
    """The network that a file is of, untrained, for images (c, h, w); of a recogniser the backbone.

    arch: "module:function", the user's own word for it; called with the shape where the function has a parameter
    without a default, or one called `shape`, else with nothing. Raises InputError for a network that cannot answer.
    """
    if arch is not None:
        network = network_made_by(arch, "--arch", shape)
        who = f"--arch '{arch}' gives a network that"
    else:
        found = architecture(path)
        with refusing(f"{path} is of the model '{found.name}', which does not take images of shape {shape}"):
            made = MODELS[found.name](shape, found.classes, **found.settings)
        network = made.backbone if isinstance(made, Recogniser) else made
        who = f"{path} is of the model '{found.name}', which"
    try:
        answer = untrained_answer(network, shape)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{who} cannot answer to images of shape {shape}: {first_line(error)}") from error
    if not isinstance(answer, Tensor) or answer.shape[:1] != (2,):
        given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise InputError(f"{who} answers with {given} to two images: expected a tensor with a row for each")
    return network


Shapes = Mapping[str, tuple[int, ...]]


def architecture(path: Path) -> Architecture:
    """The network of this package that a file is of: by the record that efface left, or by the names and shapes of its
    weights.

    Raises InputError that asks for --arch where it is of no such network, or of several.
    """
    held, record = state_dicts(path), read_record(path)
    recorded, settings = record.get("model"), record.get("model_settings", {})
    if isinstance(recorded, str) and recorded in MODELS and isinstance(settings, dict):
        if MODELS[recorded] is own_backbone:
            raise InputError(f"{path} is of a network of somebody's own: {GIVE_ARCH}")
        checked = validated(MODELS[recorded], settings, f"{path}: model '{recorded}'")
        classes = record.get("classes")
        many = classes if recorded == "resnet18" and isinstance(classes, int) and _is_count(classes) else 0
        return Architecture(recorded, checked, many, recorded_shape(path))
    found: dict[str, Architecture] = {}
    for weights in held.values():
        shapes = {unwrapped(name): tuple(tensor.shape) for name, tensor in weights.items()}
        if sum(map(math.prod, shapes.values())) > path.stat().st_size:
            continue  # a few numbers, repeated
        for name, (anchor, settings_of) in KNOWN.items():
            for prefix in {one.removesuffix(anchor) for one in shapes if f".{one}".endswith(f".{anchor}")}:
                part = {one.removeprefix(prefix): shape for one, shape in shapes.items() if one.startswith(prefix)}
                if (guess := _guess(name, part, settings_of)) is not None:
                    found[repr(guess)] = guess
    if len(found) != 1:
        networks = ", ".join(sorted({one.name for one in found.values()}))
        what = f"could be of several networks ({networks})" if found else "is of no network of this package"
        raise InputError(f"{path} {what}: {GIVE_ARCH}")
    return next(iter(found.values()))


def recorded_shape(path: Path) -> tuple[int, int, int] | None:
    """(c, h, w) of the images that a network was trained on, where efface's record in its file says so."""
    shape = read_record(path).get("shape")
    if not isinstance(shape, list) or len(shape) != 3 or not all(_is_count(side, LARGEST_SIDE) for side in shape):
        return None
    return shape[0], shape[1], shape[2]


def _is_count(number: object, most: int = 2**31) -> bool:
    return type(number) is int and 0 < number <= most


def _guess(name: str, part: Shapes, settings_of: Callable[[Shapes], Architecture]) -> Architecture | None:
    """The network that has these names and shapes, if one has."""
    try:
        found = settings_of(part)
        if found.shape is not None and max(found.shape) > LARGEST_SIDE:
            return None
        with torch.device("meta"):
            made = MODELS[name](found.shape or (part[KNOWN[name][0]][1], 64, 64), found.classes, **found.settings)
    except (KeyError, IndexError, StopIteration, ValueError, RuntimeError, TypeError):
        return None
    network = made.backbone if isinstance(made, Recogniser) else made
    wanted = {one: tuple(tensor.shape) for one, tensor in network.state_dict().items()}
    inside = {one.partition(".")[0] for one in wanted}
    own = {one: given for one, given in part.items() if one.partition(".")[0] in inside}
    counters = {one for one in wanted if one.endswith(COUNTER)}
    fits = own.keys() <= wanted.keys() <= own.keys() | counters and all(wanted[one] == own[one] for one in own)
    return replace(found, settings=validated(MODELS[name], found.settings, name)) if fits else None


def _iresnet(part: Shapes) -> Architecture:
    width, channels = part["conv1.weight"][:2]
    blocks = tuple(
        len({found[1] for one in part if (found := re.match(rf"layer{stage}\.(\d+)\.", one))}) for stage in range(1, 5)
    )
    depth = next(depth for depth, known in BLOCKS.items() if known == blocks)
    dimensions, inputs = part["fc.weight"]
    cells = inputs // (8 * width)
    across = next(side for side in range(math.isqrt(cells), 0, -1) if cells % side == 0)
    shape = (channels, 16 * (cells // across), 16 * across)
    return Architecture("iresnet", {"depth": depth, "width": width, "dimensions": dimensions}, 0, shape)


def _mobilefacenet(part: Shapes) -> Architecture:
    width, channels = part["layers.0.0.weight"][:2]
    high, across = part["pool.0.weight"][2:]
    settings = {"width": width, "dimensions": part["fc.weight"][0]}
    return Architecture("mobilefacenet", settings, 0, (channels, 16 * high, 16 * across))


def _resnet18(part: Shapes) -> Architecture:
    width, _, kernel = part["conv1.weight"][:3]
    stem = {7: "imagenet", 3: "small"}[kernel]
    return Architecture("resnet18", {"width": width, "stem": stem}, part["fc.weight"][0], None)


def _eyenet(part: Shapes) -> Architecture:
    widths = tuple(part[f"features.{place}.weight"][0] for place in (0, 3, 6))
    return Architecture("eyenet", {"widths": widths, "hidden": part["head.1.weight"][0]}, 0, None)


KNOWN: dict[str, tuple[str, Callable[[Shapes], Architecture]]] = {
    "eyenet": ("features.0.weight", _eyenet),
    "iresnet": ("conv1.weight", _iresnet),
    "mobilefacenet": ("layers.0.0.weight", _mobilefacenet),
    "resnet18": ("conv1.weight", _resnet18),
}
"""Of each network its first weight, and what reads its settings off the shapes of all."""
