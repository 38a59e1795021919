"""Hide the eyes on photos of any size, where a saved model of a run finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from efface.anonymize.regions import blur, cover, pixelate
from efface.data.batches import as_input
from efface.data.faces import Array
from efface.errors import InputError, nearest
from efface.models.eyenet import EyeNet
from efface.models.load import read_record, recorded_network

STYLES: dict[str, Callable[[Array, Array], Array]] = {"cover": cover, "pixelate": pixelate, "blur": blur}
SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm", ".bmp", ".tif", ".tiff", ".webp")


def hide(photos: Path, weights: Path, out: Path, style: str) -> Iterator[str]:
    """Write a PNG copy of every photo with its eyes hidden; yields a line for each, and nothing is written before all
    photos were read.

    The model sees a photo as it was trained to see faces: the whole photo, resized.
    """
    if style not in STYLES:
        raise InputError(f"style '{style}' is unknown{nearest(style, STYLES)}")
    files = [photos]
    if photos.is_dir():
        files = sorted(file for file in photos.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{photos} holds no photo: expected files ending in {', '.join(SUFFIXES)}")
    record = read_record(weights)
    if "model" not in record:
        raise InputError(f"{weights} does not say which model it is of: give weights from the models/ folder of a run")
    if record.get("outputs", "points" if record.get("task", "eyes") == "eyes" else None) != "points":
        raise InputError(f"{weights} is of a model for {record.get('task')}, which finds no eyes: give one for eyes")
    model = recorded_network(weights)
    if not isinstance(model, EyeNet):
        raise InputError(f"{weights} is of a {type(model).__name__}, which finds no eyes: give an EyeNet's weights")
    shape = tuple(record["shape"])
    pictures = {file: read_photo(file) for file in files}
    out.mkdir(parents=True, exist_ok=True)
    for file, picture in pictures.items():
        pixels = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)[None]
        hidden = STYLES[style](pixels, found_eyes(model, picture, shape))[0]
        target = out / f"{file.stem}.png"
        Image.fromarray(hidden.transpose(1, 2, 0)).save(target)
        yield str(target)


def read_photo(file: Path) -> Image.Image:
    """A photo, decoded; InputError for a file that is none."""
    try:
        picture = Image.open(file)
        picture.load()
    except FileNotFoundError:
        raise InputError(f"{file} does not exist") from None
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{file} cannot be read as a photo: {error}") from None
    return picture


@torch.no_grad()
def found_eyes(model: torch.nn.Module, picture: Image.Image, shape: tuple[int, ...]) -> Array:
    """(1, 2, 2) eye centres in pixels of the photo."""
    channels, height, width = shape
    small = np.array(picture.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BOX))
    image = small[None, None] if channels == 1 else small.transpose(2, 0, 1)[None]
    answer = model(as_input(image, torch.device("cpu"))).numpy().astype(np.float64)
    scale = np.array([picture.width / width, picture.height / height])
    eyes: Array = (answer + 0.5) * scale - 0.5
    return eyes
