"""Draws docs/images/lookalikes.png: where the targets of lookalikes come from, on synthetic faces and a model of them.

python docs/draw_lookalikes.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.special import softmax

from efface.data.batches import BatchLoader
from efface.data.groups import grouped
from efface.data.split import split_faces
from efface.datasets import GENERATORS
from efface.experiment.loading import as_faces
from efface.methods.neighbours import averaged, nearest, seen_by
from efface.models import MODELS
from efface.models.depths import depth
from efface.plan.tables import Forget, Source, Split
from efface.tasks import TASKS
from efface.training.environment import deterministic_torch
from efface.training.train import train

TASK = TASKS["classes"]
CPU = torch.device("cpu")
INK, SOFT, OURS, THEIRS = "#222222", "#777777", "#d55e00", "#0072b2"


def main() -> None:
    source = Source(name="synthetic", label=("age",))
    face_table = GENERATORS["synthetic"].make(people=3000, photos_per_person=1, size=(40, 40), colour=True, seed=3)
    faces = as_faces(face_table, grouped(face_table.table, source, face_table), TASK, ("age",))
    shares = Split(public=0.6, strangers=0.05, test=0.05)
    splits, names = TASK.settle(split_faces(faces, shares, Forget(share=0.5)), ("age",))
    with deterministic_torch(CPU, 2):
        torch.manual_seed(0)
        model = MODELS["resnet18"](faces.shape, len(names), width=8, stem="small")
        train(model, TASK, splits.forget, BatchLoader(CPU, 0), epochs=40, lr=1e-3, batch=32)
    loader = BatchLoader(CPU, 0)
    parts = {"middle": depth(model, "middle")}
    ours, theirs = (seen_by(model, parts, some, loader) for some in (splits.forget, splits.public))
    near = nearest(ours.features["middle"], theirs.features["middle"], 3, splits.forget.groups, splits.public.groups)
    target = softmax(averaged(TASK, theirs.outputs, near), 1)
    own = softmax(ours.outputs, 1)
    row = int(np.argsort(-(own.max(1) - target.max(1)))[5])
    strangers = [(splits.public.images[int(one)], softmax(theirs.outputs[one])) for one in near[row]]
    draw(splits.forget.images[row], own[row], strangers, target[row], names)


def draw(face: Any, own: Any, strangers: list[Any], target: Any, names: tuple[str, ...]) -> None:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    columns = figure.subplots(2, 5, height_ratios=[1.25, 1])
    pictures = [face, *(picture for picture, _ in strangers), face]
    outputs = [own, *(said for _, said in strangers), target]
    titles = ["a face to forget", *["a public face, much alike"] * 3, "the same face"]
    below = ["the original's answer", *["the original's answer"] * 3, "target: their mean answer"]
    for place, (picture, said) in enumerate(zip(pictures, outputs, strict=True)):
        top, bottom = columns[0, place], columns[1, place]
        top.imshow(picture.transpose(1, 2, 0))
        top.set_title(titles[place], fontsize=10, color=THEIRS if 0 < place < 4 else OURS)
        top.axis("off")
        bottom.bar(range(len(said)), said, color=SOFT if place == 0 else THEIRS if place < 4 else OURS)
        bottom.set_ylim(0, 1.05)
        bottom.set_xticks(range(len(said)), names, fontsize=7)
        bottom.set_yticks([])
        bottom.set_title(below[place], fontsize=9, color=INK)
        for side in ("top", "right", "left"):
            bottom.spines[side].set_visible(False)
    figure.savefig(Path(__file__).parent / "images" / "lookalikes.png", dpi=110, facecolor="white")


if __name__ == "__main__":
    main()
