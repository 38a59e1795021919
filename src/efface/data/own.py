"""Data of one's own, a list or a torch `Dataset` of (image, target, person, group), as Faces: read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from efface.data.faces import Array, Faces, Images
from efface.errors import InputError


class FaceDataset(Protocol):
    """Anything with a length whose items are (image, target[, person[, group]])."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


AnyFaces: TypeAlias = Faces | FaceDataset


def faces_from(given: AnyFaces, name: str, kind: type[np.generic] = np.float32) -> Faces:
    """Faces as they are, or made from a dataset; name: what messages call it; kind: of the targets.

    Raises InputError for an item that is no face, naming its place.

    >>> faces = faces_from([(np.zeros((1, 2, 2), np.uint8), 3, "Ann")], "forget", np.int64)
    >>> faces.targets.tolist(), faces.identities.tolist(), faces.groups.tolist()
    ([3], ['Ann'], [''])
    """
    if isinstance(given, Faces):
        return given
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise InputError(f"{name} is a {type(given).__name__}: expected Faces, or a list or Dataset of (image, target)")
    images, targets, people, groups = [], [], [], []
    for place in range(len(given)):
        item = given[place]
        if not isinstance(item, Sequence) or not 2 <= len(item) <= 4:
            raise InputError(f"{name}[{place}] is no (image, target[, person[, group]])")
        images.append(_pixels(item[0], f"{name}[{place}]"))
        targets.append(np.asarray(item[1], kind))
        people.append(str(item[2]) if len(item) > 2 else f"{name} {place}")
        groups.append(str(item[3]) if len(item) > 3 else "")
    for what, parts in (("images", images), ("targets", targets)):
        if len(shapes := {part.shape for part in parts}) > 1:
            raise InputError(f"{name}: {what} differ in shape: {sorted(shapes)}; give all of them one shape")
    return Faces(
        images=Images(np.stack(images) if images else np.zeros((0, 1, 1, 1), np.uint8), np.arange(len(images))),
        targets=np.stack(targets) if targets else np.zeros(0, kind),
        identities=np.array(people, str),
        groups=np.array(groups, str),
        keys=np.array([f"{name}/{place}" for place in range(len(images))], str),
    )


def _pixels(image: Any, where: str) -> Array:
    """(c, h, w) uint8."""
    pixels = np.asarray(image)
    if pixels.ndim != 3:
        raise InputError(f"{where}: an image of shape {pixels.shape}: expected (channels, height, width)")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f" or not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise InputError(
            f"{where}: pixels are {pixels.dtype} from {pixels.min()} to {pixels.max()}: expected uint8, or "
            "floats between 0 and 1"
        )
    rounded: Array = np.rint(pixels * 255).astype(np.uint8)
    return rounded
