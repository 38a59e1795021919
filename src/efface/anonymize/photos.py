"""Hide the eyes on photos of any size, where a saved model of a run finds them."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from efface.anonymize.regions import WIDTH, Boxes, blur, cover, eye_box, pixelate
from efface.data.batches import as_input
from efface.data.faces import Array
from efface.data.photos import (
    SUFFIXES,
    Unusable,
    files_below,
    is_hidden,
    left_out_line,
    load,
    open_photo,
    refuse_unusable,
    some,
)
from efface.errors import InputError, nearest, one_line
from efface.files import exclusive, make_folder, replacing
from efface.memory import check_memory
from efface.models.eyenet import EyeNet
from efface.models.load import outputs_of, read_record, recorded_network

STYLES: dict[str, Callable[[Array, Array], Array]] = {"cover": cover, "pixelate": pixelate, "blur": blur}

MARGIN = {"blur": 0.8}
"""What a style looks at around its bar, in eye distances."""
BYTES = 150
"""Of memory that hiding takes for a pixel there."""

MARK = "efface anonymize"
"""What a copy says of itself, so that another may take its place."""

WAY_OUT = "nothing was written: replace them, or leave them out with --skip-unreadable"


@dataclass(frozen=True)
class Hidden:
    """What `hide` left on disk."""

    copies: dict[Path, Path]
    """The copy of each photo."""
    replaced: int
    """Copies of an earlier call whose place they took."""
    left_out: dict[str, str]
    """Reason by name of each file that has none."""


def hide(
    photos: Path,
    weights: Path,
    out: Path,
    style: str,
    *,
    skip_unreadable: bool = False,
    wrote: Callable[[Path, Path], None] = lambda photo, copy: None,
) -> Hidden:
    """Write a PNG copy with its eyes hidden of a photo, or of every photo below a folder, in folders of the same names.

    The model sees a photo as it was trained to see faces: the whole photo, upright, resized. One photo at a time is in
    memory. All are read before anything is written: InputError names those that cannot be decoded, and those where the
    model finds no eyes; skip_unreadable: they are left out instead. A photo is never replaced, nor anything else in
    `out` but copies of an earlier call. wrote(photo, copy): called after each.
    """
    if style not in STYLES:
        raise InputError(f"style '{style}' is unknown{nearest(style, STYLES)}")
    files, left_out = photos_in(photos)
    record = read_record(weights)
    if "model" not in record:
        raise InputError(f"{weights} does not say which model it is of: give weights from the models/ folder of a run")
    if outputs_of(record) != "points":
        raise InputError(f"{weights} is of a model for {record.get('task')}, which finds no eyes: give one for eyes")
    model = recorded_network(weights)
    if not isinstance(model, EyeNet):
        raise InputError(f"{weights} is of a {type(model).__name__}, which finds no eyes: give an EyeNet's weights")
    shape = tuple(record["shape"])
    root = photos if photos.is_dir() else photos.parent
    names = copy_names([file.relative_to(root) for file in files])
    copies = {file: out / name for file, name in zip(files, names, strict=True)}
    earlier_copies(copies, out)
    eyes: dict[Path, Array] = {}
    bad: dict[str, str] = {}
    for file in files:
        try:
            photo = load(file, upright=True)
            eyes[file] = eyes_on(model, photo, shape)
            left, top, right, bottom = window(eye_box(eyes[file]), photo.size, style)
            check_memory(BYTES * (right - left) * (bottom - top), f"hiding the eyes on {file}")
        except Unusable as error:
            bad[one_line(file.relative_to(root).as_posix())] = error.reason
    if not (skip_unreadable and eyes):
        refuse_unusable(bad, len(files), WAY_OUT)
    busy = f"another `efface anonymize` is at work in {out}: wait for it, or give another --out"
    make_folder(out)
    with exclusive(out / ".lock", busy):
        replaced = earlier_copies({file: copies[file] for file in eyes}, out)
        for file, found in eyes.items():
            with replacing(make_folder(copies[file].parent) / copies[file].name) as part:
                marked = PngInfo()
                marked.add_text("Software", MARK)
                hidden(load(file, upright=True), found, style).save(part, "PNG", pnginfo=marked)
            wrote(file, copies[file])
    return Hidden({file: copies[file] for file in eyes}, replaced, left_out | bad)


def photos_in(photos: Path) -> tuple[list[Path], dict[str, str]]:
    """A photo, or all below a folder; and why each other file below it is none."""
    if not photos.is_dir():
        return [photos], {}
    below, left_out = files_below(photos)
    files = [file for file in below if file.suffix.lower() in SUFFIXES and not is_hidden(file, photos)]
    left_out |= {
        one_line(file.relative_to(photos).as_posix()): "hidden" if is_hidden(file, photos) else "no photo by its suffix"
        for file in sorted({*below} - {*files})
    }
    if not files:
        found = left_out_line(left_out)
        raise InputError(
            f"{photos} holds no photo: expected files ending in {', '.join(SUFFIXES)}{'; ' + found if found else ''}"
        )
    return files, left_out


def copy_names(names: Collection[Path]) -> list[Path]:
    """A name for the copy of each photo, no two of them one even to a system that knows no capitals: `a.png` for
    `a.jpg` or, where several would have that, `a.jpg.png`, with a number where that is taken too."""
    short = [name.with_suffix(".png") for name in names]
    claims = Counter(map(_alike, short))
    folders = {_alike(parent) for name in names for parent in name.parents}
    taken = {name for name, count in claims.items() if count == 1} | folders
    chosen = []
    for name, plain in zip(names, short, strict=True):
        copy = plain
        if claims[_alike(plain)] > 1 or _alike(plain) in folders:
            endings = itertools.chain([".png"], (f"-{number}.png" for number in itertools.count(2)))
            longer = (name.with_name(name.name + ending) for ending in endings)
            copy = next(one for one in longer if _alike(one) not in taken)
            taken.add(_alike(copy))
        chosen.append(copy)
    return chosen


def _alike(path: Path) -> str:
    """Equal for paths that some system takes for one."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def earlier_copies(copies: Mapping[Path, Path], out: Path) -> int:
    """How many copies of an earlier call would be replaced. Raises `InputError` where a photo lies in `out`, under
    whatever name, or a copy would replace anything else."""
    if out.exists():
        above = {parent for file in copies for parent in file.resolve().parents}
        if any(os.path.samefile(parent, out) for parent in above):
            raise InputError(f"the photos lie in {out}: give another --out, so that no copy stands among them")
    there = [copy for copy in copies.values() if os.path.lexists(copy)]
    foreign = [copy.relative_to(out).as_posix() for copy in there if not is_copy(copy)]
    if foreign:
        raise InputError(f"{out} holds {some(foreign)}, which is no copy of ours: give another --out, or remove it")
    return len(there)


def is_copy(path: Path) -> bool:
    """Whether `hide` wrote a file."""
    try:
        with open_photo(path) as file, Image.open(file, formats=("PNG",)) as found:
            return found.info.get("Software") == MARK and not path.is_symlink()
    except Exception:  # whatever is wrong with it, it is somebody else's
        return False


@torch.no_grad()
def eyes_on(model: torch.nn.Module, photo: Image.Image, shape: tuple[int, ...]) -> Array:
    """(1, 2, 2) eye centres in pixels of the photo. Raises `Unusable` where they are none: no numbers, less than two
    pixels apart, or both outside the photo."""
    channels, height, width = shape
    small = np.array(photo.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BOX))
    image = small[None, None] if channels == 1 else small.transpose(2, 0, 1)[None]
    answer = model(as_input(image, torch.device("cpu"))).numpy().astype(np.float64)
    scale = np.array([photo.width / width, photo.height / height])
    eyes: Array = (answer + 0.5) * scale - 0.5
    inside = ((eyes >= -0.5) & (eyes <= np.array(photo.size) - 0.5)).all(axis=2)
    if not (np.isfinite(eyes).all() and np.hypot(*(eyes[0, 0] - eyes[0, 1])) >= 2 and inside.any()):
        raise Unusable("the photo", "shows no eyes to the model")
    return eyes


def hidden(photo: Image.Image, eyes: Array, style: str) -> Image.Image:
    """The photo with its eyes (1, 2, 2) hidden; only what lies around the bar is worked on."""
    left, top, right, bottom = window(eye_box(eyes), photo.size, style)
    pixels = np.asarray(photo.crop((left, top, right, bottom))).transpose(2, 0, 1)[None]
    changed = STYLES[style](pixels, eyes - [left, top])[0]
    photo.paste(Image.fromarray(np.ascontiguousarray(changed.transpose(1, 2, 0))), (left, top))
    return photo


def window(boxes: Boxes, size: tuple[int, int], style: str) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in whole pixels of all that a style looks at for a bar, within a photo of `size`."""
    along, across = boxes.along[0], boxes.along[0][::-1] * [-1, 1]
    reach = np.abs(along) * boxes.half[0, 0] + np.abs(across) * boxes.half[0, 1]
    reach = reach + MARGIN.get(style, 0) * 2 * boxes.half[0, 0] / WIDTH + 4
    first = np.clip(np.floor(boxes.centre[0] - reach), 0, np.array(size) - 1).astype(int)
    last = np.clip(np.ceil(boxes.centre[0] + reach) + 1, first + 1, size).astype(int)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])
