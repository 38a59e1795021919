"""Whether an input contract is the one that a network which answers questions was trained on: its error on public
people under it, under its neighbours, and of the one answer that does not look at the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from efface.data.faces import Faces
from efface.erasure.contract import ContractedNetwork, InputContract
from efface.erasure.contract_check import differences, flags
from efface.erasure.photos import read_side
from efface.erasure.request import ErasureRequest
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.measures.predictions import Predictions
from efface.tasks import TASKS


def measure_prediction_contract(
    network: nn.Module, contract: InputContract, request: ErasureRequest, device: torch.device
) -> str:
    """How well a network answers to public people under a contract, in a sentence.

    Raises InputError where it is no better than a constant answer, or a neighbour of the contract fits clearly better.
    """
    faces, _ = read_side("public", request.public, contract, request)
    constant, own = errors(network, contract, faces, request, device)
    better_than_constant = differences({"": -own}, -constant)[""]
    neighbours, mistaken = dict(contract.neighbours()), {}
    for name, other in neighbours.items():
        try:
            shown, _ = read_side("public", request.public, other, request)
        except InputError:
            continue
        if len(shown) == len(faces):
            mistaken[name] = errors(network, other, shown, request, device)[1]
    better = differences({name: -one for name, one in mistaken.items()}, -own)
    fitting = [name for name, one in better.items() if (one.low or 0) > 0]
    if fitting:
        first = max(fitting, key=lambda name: better[name].value or 0)
        raise InputError(
            f"{request.model}: '{first}' fits better: {TASKS[request.task].error} {mistaken[first].mean():.3g} on "
            f"{len(own):,} public people, by the contract given {own.mean():.3g}; give a contract with "
            f"{flags(neighbours[first], contract)}"
        )
    if not (better_than_constant.low or 0) > 0:
        raise InputError(
            f"{request.model} answers {len(own):,} public people no better than one constant answer does "
            f"({TASKS[request.task].error} {own.mean():.3g}, of the constant {constant.mean():.3g}): the labels, their "
            "order, the crop or the architecture are not those of its training, or these people are too few"
        )
    return (
        f"{TASKS[request.task].error.replace('_', ' ')} {own.mean():.3g} on {len(own):,} public people, of a constant "
        f"answer {constant.mean():.3g}"
    )


def errors(
    network: nn.Module, contract: InputContract, faces: Faces, request: ErasureRequest, device: torch.device
) -> NDArray[np.float64]:
    """(2, p) each person's mean error, of a constant answer and of a network under a contract."""
    task = TASKS[request.task]
    answers = outputs(ContractedNetwork(network, contract).to(device), faces.images, device)
    now = Predictions(
        split=np.full(len(faces), "retain"),
        key=faces.keys,
        identity=faces.identities,
        group=faces.groups,
        outputs=answers,
        targets=faces.targets,
    )
    assert task.constant is not None
    same = replace(now, outputs=np.broadcast_to(task.constant(now), answers.shape).astype(np.float32))
    _, of = np.unique(faces.identities, return_inverse=True)
    scores = (np.asarray(task.scores[task.error].of(one), np.float64) for one in (same, now))
    return np.array([np.bincount(of, one) / np.bincount(of) for one in scores])
