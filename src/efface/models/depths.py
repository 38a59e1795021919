"""How deep in a network something is known: its parts from early to late, what they make of faces, and the same network
with the upper ones as new.

A network says itself where its parts end: `depths`, names to submodules in the order in which they are passed. Of one
that does not (a backbone of somebody's own) every child with weights but the last is taken for one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.errors import InputError, nearest
from efface.models.precision import widened
from efface.models.recogniser import Recogniser
from efface.models.reset import reinitialise

GRID = 4
"""Cells on each side that a map of features is averaged over: where in the face something is matters, where exactly
does not."""


def depths(model: nn.Module) -> dict[str, nn.Module]:
    """The parts of a network, early to late, by name; what comes after the last one is the answer."""
    inside = model.backbone if isinstance(model, Recogniser) else model
    if isinstance(known := getattr(inside, "depths", None), dict):
        return {name: inside.get_submodule(path) for name, path in known.items()}
    parts = {name: child for name, child in inside.named_children() if any(True for _ in child.parameters())}
    return dict(list(parts.items())[:-1])


def depth(model: nn.Module, name: str) -> nn.Module:
    """The part of this name; "early", "middle" and "last" are the first, the middle one and the last there is.

    Raises InputError for a part that the network does not have.
    """
    parts = depths(model)
    names = list(parts)
    if not names:
        raise InputError(
            f"{type(model).__name__} has no parts to take features from: give it `depths`, a dict from "
            "names to the paths of its submodules, early to late"
        )
    shorthand = {"early": names[0], "middle": names[len(names) // 2], "last": names[-1]}
    if (wanted := shorthand.get(name, name)) not in parts:
        raise InputError(f"layer '{name}': {type(model).__name__} has {', '.join(names)}{nearest(name, names)}")
    return parts[wanted]


@dataclass
class Tap:
    """What a part of a network made of the last batch that passed."""

    out: Tensor


def flattened(features: Tensor, grid: int = GRID) -> Tensor:
    """(b, d) of features (b, c, h, w), averaged over a grid of cells, or (b, d) as they are."""
    if features.ndim < 4:
        return features.flatten(1)
    rows, columns = (min(grid, size) for size in features.shape[-2:])
    return functional.adaptive_avg_pool2d(features, (rows, columns)).flatten(1)


@contextmanager
def tapped(part: nn.Module) -> Iterator[Tap]:
    """While open, everything that passes the part can be read off."""
    tap = Tap(torch.zeros(0))
    handle = part.register_forward_hook(lambda _module, _inputs, output: setattr(tap, "out", widened(output)))
    try:
        yield tap
    finally:
        handle.remove()


@torch.no_grad()
def grafted(model: nn.Module, name: str) -> tuple[nn.Module, list[nn.Module]]:
    """The network with all that comes after a part drawn anew, and the modules up to it, which are as they were and
    must not learn: what they own directly is restored and frozen. A recogniser's head stays too: nothing but embeddings
    is asked of it here."""
    new = reinitialise(copy.deepcopy(model).requires_grad_(True))
    inside = list(depth(new, name).modules())[-1]
    kept: list[nn.Module] = []
    head: list[nn.Module] = list(new.head.modules()) if isinstance(new, Recogniser) else []
    before = True
    for path, module in new.named_modules():
        if before or any(module is part for part in head):
            own = model.get_submodule(path)
            for restored, was in (
                (module.parameters(recurse=False), own.parameters(recurse=False)),
                (module.buffers(recurse=False), own.buffers(recurse=False)),
            ):
                for ours, theirs in zip(restored, was, strict=True):
                    ours.copy_(theirs)
                    ours.requires_grad_(False)
            kept.append(module)
        before = before and module is not inside
    return new, kept
