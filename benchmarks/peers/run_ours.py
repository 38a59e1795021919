"""efface's scrub, on the same network and faces. benchmarks/peers.py runs this."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from child import Given, Job, serve
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import Faces, Images, MethodData
from efface.methods import METHODS
from efface.models.precision import in_precision
from efface.settings import Precision
from efface.tasks import TASKS
from efface.training.environment import deterministic_torch

CPU = torch.device("cpu")


def prepare(given: Given, job: Job) -> Callable[[], nn.Module]:
    """Optimiser, weights of losses, temperature and passes are supreme-unlearning's."""
    keys = np.arange(len(given.images)).astype(str)
    images = Images(given.images, np.arange(len(keys)))
    faces = Faces(images, given.classes, keys, np.full(len(keys), ""), keys)
    precision: Precision = "bf16" if job["precision"] == "bf16" else "fp32"
    model, original = (in_precision(given.network(), precision) for _ in range(2))
    data = MethodData(faces[given.forget], faces[given.retain], faces[:0], original=original)
    settings = {"lr": 1e-4, "optimiser": "adam", "alpha": 0.5, "temperature": 2.0, "epoch_of": "retain"}
    asked = {"epochs": job["epochs"], "max_epochs": job["epochs"], "batch": job["batch"], "gamma": job["gamma"]}
    return lambda: METHODS["scrub"](model, TASKS["classes"], data, BatchLoader(CPU, 0), **settings, **asked)


if __name__ == "__main__":
    with deterministic_torch(CPU, 1):
        serve(("efface", "torch"), prepare)
