"""A small deployed network that answers questions, trained until it knows its people, and photos on disk for requests
to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from efface.data.batches import BatchLoader
from efface.data.faces import EYES, Faces, Images
from efface.datasets import GENERATORS
from efface.files import write_csv
from efface.models import MODELS
from efface.models.load import save_weights
from efface.tasks import TASKS
from efface.tasks.attributes import yes_or_no
from efface.training.train import train

SIDE, PHOTOS = 24, 6
SHARES = {"forget": 4, "retain": 40, "public": 60}
LABELS = {"eyes": [], "attributes": ["smile", "glasses"]}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "eyes": ("eyenet", {"widths": (8, 16, 32), "hidden": 64}),
    "attributes": ("resnet18", {"width": 8, "stem": "small"}),
}


@dataclass(frozen=True)
class Predictor:
    """Where everything lies."""

    folder: Path
    task: str
    model: Path

    def given(self, **more: Any) -> dict[str, Any]:
        """Options of a request."""
        places = {name: self.folder / name for name in SHARES}
        return {"model": self.model, "task": self.task, "label": LABELS[self.task], "budget": "20s", **places, **more}


def predictor(folder: Path, task: str, epochs: int) -> Predictor:
    """A network trained on the people who ask and those who stay; generated faces, a manifest for each side."""
    made = GENERATORS["synthetic"].make(
        people=sum(SHARES.values()), photos_per_person=PHOTOS, size=(SIDE, SIDE), seed=3
    )
    table = made.table.reset_index(drop=True)
    names = np.unique(table["person"])
    side_of = dict(zip(names, np.repeat(list(SHARES), list(SHARES.values())), strict=True))
    sides = table["person"].map(side_of)
    table["path"] = table["key"].str.replace("/", "-") + ".png"
    for side in SHARES:
        mine = table[sides == side]
        (folder / side).mkdir(parents=True)
        for row, path in zip(mine.index, mine["path"], strict=True):
            Image.fromarray(made.images[row][0]).save(folder / side / path)
        write_csv(folder / side / "manifest.csv", mine[["path", "person", "group", *EYES, "smile", "glasses"]])
    trained = np.flatnonzero(sides.isin(["forget", "retain"]))
    kind = TASKS[task]
    targets = kind.targets(table, LABELS[task]) if task == "eyes" else yes_or_no(table, LABELS[task])
    columns = {name: table[column].to_numpy(str) for name, column in (("identities", "person"), ("groups", "group"))}
    faces = Faces(Images(made.images, np.arange(len(table))), targets, keys=table["key"].to_numpy(str), **columns)
    torch.manual_seed(0)
    name, settings = SMALL[task]
    shape = faces.shape
    network = MODELS[name](shape, len(LABELS[task]), **settings)
    train(network, kind, faces[trained], BatchLoader(torch.device("cpu"), 0), epochs=epochs, lr=2e-3, batch=32)
    model = folder / "deployed.safetensors"
    about = {"model": name, "model_settings": settings, "classes": len(LABELS[task]), "shape": list(shape)}
    save_weights(network, model, about)
    return Predictor(folder, task, model)
