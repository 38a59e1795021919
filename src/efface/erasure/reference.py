"""A reference beside the model after: one retrained without the people who asked, given or trained here by a recipe.

What only a reference can tell is said with it alone, and one that knows the people, or answers strangers clearly worse
than the model before, is refused: its numbers would say nothing.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from efface.data.batches import derive
from efface.erasure.candidates import seconds_of_step
from efface.erasure.checkpoint import open_checkpoint
from efface.erasure.contract import ContractedNetwork
from efface.erasure.judge import Judge
from efface.erasure.measuring import OF_BOTH
from efface.erasure.opened import Opened
from efface.erasure.photos import RequestPhotos
from efface.erasure.recipe import read_recipe
from efface.erasure.record import Measurement
from efface.erasure.request import ErasureRequest
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.progress import Say
from efface.tasks import TASKS

TRAIN = "train"


def of_same_network(path: Path, model: Opened) -> Opened:
    """Another file of the network of a model that is open, under its contract."""
    network = copy.deepcopy(model.network.network)
    checkpoint = open_checkpoint(path, network, dimensions=model.checkpoint.dimensions)
    network.load_state_dict(checkpoint.weights)
    contracted = ContractedNetwork(network, model.contract).eval().requires_grad_(False)
    return Opened(checkpoint, contracted, model.contract, model.architecture, model.measured)


def check_beside(request: ErasureRequest) -> None:
    """Raise InputError, before anything is trained, for a reference that is not there, and a recipe that is none."""
    if request.reference not in (None, TRAIN) and not Path(request.reference).is_file():
        raise InputError(f"reference {request.reference} does not exist: give a file of weights, or '{TRAIN}'")
    if request.recipe is not None and not (request.reference == TRAIN or request.shadows):
        raise InputError(f"a recipe is for what is trained beside the request: give --reference {TRAIN} or --shadows")
    read_recipe(request.recipe, TASKS[request.task])


def reference_of(
    request: ErasureRequest, model: Opened, photos: RequestPhotos, judge: Judge, device: torch.device, say: Say
) -> list[Measurement]:
    """What a reference has, under names of its own; nothing where none was asked for.

    Raises InputError for one that knows the people who asked, and one that answers strangers clearly worse than the
    model before.
    """
    if not request.reference:
        return []
    if request.reference == TRAIN:
        network, name = trained_reference(request, model, photos, judge, device, say), "the reference trained here"
    else:
        network = of_same_network(Path(request.reference), model).network.to(device)
        name = f"reference {request.reference}"
    answers = outputs(network, photos.faces.images, device)
    if judge.evidence(answers, {}).conclusion == "trained on":
        raise InputError(
            f"{name} answers the people who asked like people it was trained on: it is no reference; give one "
            "retrained without them"
        )
    if (worse := judge.weaker(answers)) is not None:
        raise InputError(
            f"{name} is clearly weaker than the model before ({worse}), and no measure of what retraining gives: give "
            "one that is as good, or to --retain all that the model was trained on, or leave out --reference"
        )
    measured, _ = judge.measurements(answers)
    return [
        one.model_copy(update={"name": f"{one.name}: retrained reference", "before": None})
        for one in measured
        if one.name not in OF_BOTH
    ]


def trained_reference(
    request: ErasureRequest, model: Opened, photos: RequestPhotos, judge: Judge, device: torch.device, say: Say
) -> ContractedNetwork:
    """A model like the one before, trained on the retained alone; how long it will take is said first.

    Raises InputError without retained people.
    """
    rows = np.sort(np.concatenate([photos.retain, photos.retain_held]))
    if not len(rows):
        raise InputError("a reference is trained on those who stay: give --retain, all that the model was trained on")
    task = TASKS[request.task]
    recipe = read_recipe(request.recipe, task)
    step = seconds_of_step(model.network, photos.faces[rows], recipe.batch, device, request.trained_in)
    say(f"training a reference on {len(rows):,} photos: about {recipe.steps(len(rows)) * step / 60:.1f} min")
    seed = derive(request.seed, "reference")
    answers = judge.answers_before[:1]
    return recipe.trained(model.network, task, photos.faces[rows], device, seed, answers, request.trained_in)
