"""One pass of a model over the splits and the pairs to tell apart: Predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from efface.data.batches import as_input, inference_batch
from efface.data.faces import Array, Faces, Images, Splits
from efface.data.vectors import Rows, units
from efface.data.verification import Verification
from efface.measures.predictions import Predictions
from efface.measures.utility import SPLITS
from efface.models.recogniser import Recogniser


def predict(model: nn.Module, splits: Splits, sets: Sequence[Verification], device: torch.device) -> Predictions:
    """What `model` answers to every face that evaluation looks at, and how alike it finds the pairs of each set."""
    asked = [faces.images for _, faces in looked_at(splits)]
    answers = Rows(sum(map(len, asked)))
    for images in asked:
        for answer in answers_of(model, images, device):
            answers.add(answer)
    pairs = recognised(model, sets, device) if isinstance(model, Recogniser) else {}
    return Predictions(outputs=answers.given, **known_of_faces(splits), **pairs)


def looked_at(splits: Splits) -> list[tuple[str, Faces]]:
    """(name, faces) of every split that evaluation looks at."""
    return [(name, faces) for name, faces in splits.items() if name in SPLITS and len(faces)]


def known_of_faces(splits: Splits) -> dict[str, Array]:
    """The columns of predictions that no model answered: whose face each row is, and what is right."""
    parts = looked_at(splits)
    columns: dict[str, list[Array]] = {
        "split": [np.full(len(faces), name) for name, faces in parts],
        "key": [faces.keys for _, faces in parts],
        "identity": [faces.identities for _, faces in parts],
        "group": [faces.groups for _, faces in parts],
        "targets": [faces.targets for _, faces in parts],
    }
    if splits.test.traits is not None:
        columns["traits"] = [faces.traits for _, faces in parts if faces.traits is not None]
    return {name: np.concatenate(column) for name, column in columns.items()}


def recognised(model: Recogniser, sets: Sequence[Verification], device: torch.device) -> dict[str, Array]:
    """The columns of recognition: the head's centres and the compared pairs."""
    columns = {"centres": model.head.centres().cpu().numpy()}
    if sets:
        columns["pair_set"] = np.concatenate([np.full(len(one), one.name) for one in sets])
        columns["pair_similarity"] = np.concatenate([similarity(model, one, device) for one in sets])
        for name in ("same", "fold", "quality", "poor"):
            columns[f"pair_{name}"] = np.concatenate([getattr(one, name) for one in sets])
    return columns


def similarity(model: nn.Module, pairs: Verification, device: torch.device) -> Array:
    """(p,) cosine of the embeddings of each pair, a photo's and its mirror image's summed (the field's flip test)."""
    rows, places = np.unique(np.stack([pairs.first, pairs.second]), return_inverse=True)
    photos = Images(pairs.images.store, pairs.images.rows[rows])
    unit = units(outputs(model, photos, device, with_mirror=True))
    first, second = places.reshape(2, -1)
    alike: Array = np.einsum("pd,pd->p", unit[first], unit[second])
    return alike


def outputs(model: nn.Module, images: Images, device: torch.device, *, with_mirror: bool = False) -> Array:
    """(n, ...) the model's outputs in evaluation mode for the images; with_mirror: summed with those for their mirror
    images."""
    answers = Rows(len(images))
    for answer in answers_of(model, images, device, with_mirror=with_mirror):
        answers.add(answer)
    return answers.given


@torch.no_grad()
def answers_of(model: nn.Module, images: Images, device: torch.device, *, with_mirror: bool = False) -> Iterator[Array]:
    """What `outputs` puts together, batch by batch."""
    model.eval()
    batch = inference_batch(device)
    for start in range(0, len(images), batch):
        shown = as_input(images[start : start + batch], device)
        answer = model(shown)
        yield (answer + model(shown.flip(3)) if with_mirror else answer).cpu().numpy()
