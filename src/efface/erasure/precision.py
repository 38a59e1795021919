"""What networks of a request are trained with: 16 bits where the device has them and the network bears them."""

from __future__ import annotations

import copy

import numpy as np
import torch

from efface.data.batches import as_input
from efface.data.faces import Faces
from efface.erasure.candidates import HeldStatistics
from efface.erasure.contract import ContractedNetwork
from efface.errors import InputError, one_line
from efface.models.precision import computing_in
from efface.progress import Say
from efface.settings import AskedPrecision, Precision
from efface.training.environment import precision_on

COARSE = 0.1
"""Share of the spread of answers over faces by which those of 16 bits may lie apart from those of 32."""
FACES = 32
"""That are answered to find out."""


def precision_for(
    network: ContractedNetwork, faces: Faces, device: torch.device, asked: AskedPrecision, say: Say
) -> Precision:
    """What a network is trained with where this was asked; `auto` is 32 bits for a network that does not bear 16.

    Raises InputError for 16 bits that were asked for by name and that device or network do not have.
    """
    precision = precision_on(device, asked)
    if precision == "fp32" or (why := unfit(network, faces, device, precision)) is None:
        return precision
    if asked == "auto":
        say(f"trained with 32 bits: with {precision} the network {why}")
        return "fp32"
    raise InputError(f"precision = '{precision}': with it the network {why}; take 'fp32'")


def unfit(network: ContractedNetwork, faces: Faces, device: torch.device, precision: Precision) -> str | None:
    """Why a network cannot be trained with 16 bits: it fails, or its answers are too coarse, as those of a network are
    that ends in pixels (of 112 of them bf16 knows every second half)."""
    model = HeldStatistics(copy.deepcopy(network.network), network.contract, precision).to(device).requires_grad_(True)
    images = as_input(faces.images[np.arange(min(FACES, len(faces)))], device)
    with torch.no_grad():
        wide = model.eval()(images)
    try:
        with torch.no_grad(), computing_in(model, precision):
            narrow = model(images)
        model.train()(images).square().mean().backward()
    except (RuntimeError, TypeError) as error:
        return f"fails ({one_line(str(error))})"
    apart, spread = (float(one.square().mean().sqrt()) for one in (narrow - wide, wide - wide.mean(0)))
    if apart > COARSE * spread:
        return f"answers too coarsely: {apart:.2g} off, where faces differ by {spread:.2g}"
    return None


def notes_on(precision: Precision) -> list[str]:
    """What to know of a request whose networks were trained with 16 bits."""
    if precision == "fp32":
        return []
    return [f"what was trained here computed with {precision} meanwhile; what judges, with fp32"]
