"""Face image quality without labels and without weights trained for it, by photo: `efface quality`.

Low-quality faces are what CURE's quality case forgets (arXiv:2509.19562); whether a score means anything is shown by
how errors fall as its worst photos are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from efface.data.batches import as_input
from efface.data.faces import Array
from efface.data.pairs import Pairs, places, read_pairs
from efface.datasets import folder as any_folder
from efface.errors import InputError, nearest
from efface.files import replacing
from efface.measures.verification import error_versus_discard
from efface.models.load import read_record, recorded_network
from efface.models.recogniser import Recogniser
from efface.preparation.packed import MANIFEST, open_packed
from efface.preparation.photos import load
from efface.quality.curves import draw_discard
from efface.quality.network import NETWORK
from efface.quality.pixels import PIXELS
from efface.quality.sheet import contact_sheet

if TYPE_CHECKING:
    import pandas as pd

BATCH = 128
WITHOUT_NETWORK = (112, 112)
"""Size to which photos are brought where no network says another."""


@dataclass(frozen=True)
class Scored:
    """What `quality` left on disk."""

    table: Path
    sheet: Path
    curves: Path | None
    """How errors fall as the worst photos are left out, where pairs were given."""
    faces: int
    by: str


def quality(
    folder: Path,
    out: Path,
    *,
    weights: Path | None = None,
    by: str | None = None,
    pairs: Path | None = None,
    arch: str | None = None,
) -> Scored:
    """Score every photo of a folder, or of a packed one, into `out/quality.csv` (a row per photo, worst first) and
    `out/quality.png` (from worst to best).

    With the weights of a run's recogniser its measures are added; arch: "module:function" that makes its backbone,
    where that is not of this package. `by`: what to sort and `score` by (default: with a network `stability`, which
    foretold its errors on LFW where measures of pixels did not; else `pixels`, the mean rank over these). With LFW's
    protocol of `pairs` among the photos, `out/discard.csv` and `out/discard.png` show for each measure how the
    network's errors fall as the pairs with the worst photos are left out: a measure whose curve does not fall means
    nothing to this network.
    """
    import pandas as pd

    network, shape = loaded(weights, arch) if weights is not None else (None, (3, *WITHOUT_NETWORK))
    names = ["pixels", *PIXELS, *(NETWORK if network is not None else ())]
    by = by or ("stability" if network is not None else "pixels")
    if by not in names:
        raise InputError(f"measure '{by}' is unknown{nearest(by, names)}")
    if pairs is not None and network is None:
        raise InputError("pairs are told apart by a network: give its weights too")
    photos = opened(folder, shape)
    compared = among(read_pairs(pairs), photos.keys) if pairs is not None else None
    seen = [(measured(batch, network), embedded(batch, network)) for batch in photos.batches()]
    found = pd.concat([measures for measures, _ in seen], ignore_index=True)
    found.insert(0, "pixels", found[list(PIXELS)].rank(pct=True).mean(axis=1))
    table = pd.concat([pd.DataFrame({"key": photos.keys, "person": photos.people}), found], axis=1)
    table.insert(2, "score", table[by])
    order = np.argsort(table["score"].to_numpy(), kind="stable")
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "quality.csv") as part:
        table.iloc[order].to_csv(part, index=False)
    shown = contact_sheet(table["score"].to_numpy()[order], lambda row: photos.read([int(order[row])])[0], by)
    with replacing(out / "quality.png") as part:
        shown.save(part, "PNG")
    curves = None
    if compared is not None:
        unit = np.concatenate([embeddings for _, embeddings in seen])
        first, second, same = compared
        alike = np.einsum("pd,pd->p", unit[first], unit[second])
        falling = {
            name: error_versus_discard(alike, same, worse(table[name].to_numpy(), first, second))
            for name in names
            if table[name].notna().all()
        }
        curves = draw_discard(falling, out)
    return Scored(out / "quality.csv", out / "quality.png", curves, len(table), by)


def worse(scores: Array, first: Array, second: Array) -> Array:
    """(p,) the lower score of each pair."""
    lower: Array = np.minimum(scores[first], scores[second])
    return lower


def among(pairs: Pairs, keys: list[str]) -> tuple[Array, Array, Array]:
    """Rows of both photos of each pair that is here, and whether they show one person."""
    rows = places(pairs, keys)
    here: Array = np.all(rows >= 0, axis=0)
    if not here.any() or pairs.same[here].all() or not pairs.same[here].any():
        raise InputError(
            f"{int(here.sum())} of the {len(here)} pairs name two photos that are in the folder: pairs of "
            "one person and of two are needed"
        )
    return rows[0, here], rows[1, here], pairs.same[here]


@torch.no_grad()
def embedded(images: Array, network: nn.Module | None) -> Array:
    """(n, d) unit embeddings, each photo's and its mirror image's summed; (n, 0) without a network."""
    if network is None:
        return np.zeros((len(images), 0), np.float32)
    batch = as_input(images, torch.device("cpu"))
    return nn.functional.normalize(network(batch) + network(batch.flip(3))).numpy()


def measured(images: Array, network: nn.Module | None) -> pd.DataFrame:
    """All measures of some photos (n, c, h, w), a row each."""
    import pandas as pd

    columns: dict[str, Array] = {name: measure(images) for name, measure in PIXELS.items()}
    if network is not None:
        batch = as_input(images, torch.device("cpu"))
        with torch.no_grad():
            columns |= {name: measure(network, batch).numpy() for name, measure in NETWORK.items()}
    return pd.DataFrame(columns)


def loaded(weights: Path, arch: str | None = None) -> tuple[nn.Module, tuple[int, int, int]]:
    """The backbone of a run's recogniser in evaluation mode, and the shape of its pictures; arch: as `--arch`."""
    record = read_record(weights)
    if record.get("outputs", "embeddings" if record.get("task") == "recognition" else None) != "embeddings":
        raise InputError(
            f"{weights} is not of a recogniser that efface trained: give weights from the models/ folder "
            'of a run with task = "recognition"'
        )
    model = recorded_network(weights, arch).requires_grad_(False)
    if not isinstance(model, Recogniser):
        raise InputError(
            f"{weights} is of a {type(model).__name__}, which recognises nobody: give a recogniser's weights"
        )
    channels, height, width = record["shape"]
    return model.backbone, (channels, height, width)


@dataclass(frozen=True)
class Photos:
    """What is to be scored, read when it is asked for."""

    keys: list[str]
    people: list[str]
    read: Callable[[Sequence[int]], Array]
    """Rows to images (n, c, h, w) uint8."""

    def batches(self) -> Iterator[Array]:
        """All of them, in order."""
        for start in range(0, len(self.keys), BATCH):
            yield self.read(range(start, min(start + BATCH, len(self.keys))))


def opened(folder: Path, shape: tuple[int, int, int]) -> Photos:
    """The photos of a packed folder, or of a tree of photos brought to `shape` (c, h, w)."""
    if not (folder / MANIFEST).is_file():
        table = any_folder.read(folder)
        paths = table["path"].tolist()
        return Photos(
            table["key"].tolist(),
            table["person"].tolist(),
            lambda rows: np.stack([decoded(paths[row], shape) for row in rows]),
        )
    face_table = open_packed(folder)
    if face_table.images.shape[1:] != shape:
        raise InputError(
            f"{folder} holds faces of {face_table.images.shape[1:]} but the network was trained on {shape} "
            "(channels, height, width): prepare them alike"
        )
    return Photos(
        face_table.table["key"].tolist(),
        face_table.table["person"].tolist(),
        lambda rows: np.array(face_table.images[list(rows)]),
    )


def decoded(path: str, shape: tuple[int, int, int]) -> Array:
    """A whole photo as (c, h, w) uint8."""
    from PIL import Image

    channels, height, width = shape
    photo = load(Path(path), upright=True).convert("L" if channels == 1 else "RGB")
    return np.atleast_3d(np.asarray(photo.resize((width, height), Image.Resampling.BOX))).transpose(2, 0, 1)
