"""Synthetic faces, drawn from numbers alone: the data every demo runs on, with no download and no real person.

Every face is a set of smooth analytic shapes, drawn for many faces at once (`efface.datasets.drawing`); a call gives
the same bytes whatever the number of threads. Part of efface, Apache-2.0; nobody's likeness is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from efface.data.faces import Array, FaceTable
from efface.datasets.card import Card
from efface.datasets.drawing.look import look_of
from efface.datasets.drawing.people import cast
from efface.datasets.drawing.pose import in_picture, pose_of
from efface.datasets.drawing.render import Sittings, rendered
from efface.datasets.drawing.traits import Circumstance
from efface.errors import InputError
from efface.memory import check_memory
from efface.settings import Count, Positive, Seed, Share, Strength

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="synthetic",
    title="Synthetic faces",
    licence="Apache-2.0, as part of efface; no real person",
    home="this package",
    layout="none: drawn in memory from a seed",
    about="People of fixed looks in groups whose means differ by a chosen distance; exact eye centres.",
)

Side = Annotated[Count, Field(ge=16, le=4096)]
"""Pixels."""


def synthetic(
    *,
    people: Count = 600,
    photos_per_person: Count = 4,
    size: tuple[Side, Side] = (64, 64),
    colour: bool = False,
    groups: Sequence[str] = ("A", "B"),
    shares: Sequence[Positive] | None = None,
    distance: Strength = 1.0,
    quality: Share = 1.0,
    seed: Seed = 0,
) -> FaceTable:
    """Photos of invented people, `photos_per_person` of each, in pictures of `size` (width, height) pixels.

    groups: letters from A to Z; each is a way of looking, and `shares` says how many of the people have it.
    distance: between the means of the groups; at 0 they are exchangeable, at 1 eyes learnt on A are hard to find on B.
    quality: 0 to 1, the best a photo can be; each falls below it by chance, seldom far.

    The table has, beside key, person, group and the exact eye centres: age (in decades), smile and glasses (0 or 1),
    yaw and roll (degrees, positive towards image right and clockwise), light (degrees, positive when it comes from
    image right), light_strength and quality (0 to 1). The same arguments give the same bytes, and the first people
    are the same however many follow. Raises InputError for arguments that cannot be drawn.
    """
    dealing = checked_shares(people, groups, shares)
    if photos_per_person < 1:
        raise InputError(f"photos_per_person is {photos_per_person}: give 1 or more")
    if min(size) < 16:
        raise InputError(f"size is {size[0]}x{size[1]}: give 16 pixels or more a side")
    if not 0 <= distance < np.inf:
        raise InputError(f"distance is {distance}: give 0 (groups alike) or more")
    if not 0 <= quality <= 1:
        raise InputError(f"quality is {quality}: give a number from 0 to 1")
    if seed < 0:
        raise InputError(f"seed is {seed}: give 0 or more")

    channels = 3 if colour else 1
    check_memory(people * photos_per_person * (channels * size[0] * size[1] + 2000), f"drawing {people:,} people")
    of_people, of_photos, of_noise = np.random.default_rng(seed).spawn(3)
    actors = cast(people, groups, dealing, distance, of_people)
    owner = np.repeat(np.arange(people), photos_per_person)
    person = actors.identity.rows(owner)
    circumstance = Circumstance.draw(len(owner), of_photos)
    look = look_of(person, circumstance, quality)
    sittings = Sittings(person, actors.moles[owner], circumstance, look, pose_of(circumstance, size))
    images = rendered(sittings, size, colour, of_noise)
    return FaceTable(images, labelled(sittings, np.asarray(groups)[actors.group[owner]], photos_per_person))


def checked_shares(people: int, groups: Sequence[str], shares: Sequence[float] | None) -> Array:
    """The share of each group, equal unless given; refuses groups and shares that cannot be dealt."""
    unknown = [group for group in groups if len(group) != 1 or group not in ascii_uppercase]
    if unknown:
        raise InputError(f"group '{unknown[0]}' is unknown: groups are single letters from A to Z")
    if not groups or len(set(groups)) < len(groups):
        raise InputError(f"groups are {list(groups)}: give at least one, each once")
    shares = [1.0] * len(groups) if shares is None else shares
    if len(shares) != len(groups):
        raise InputError(f"{len(shares)} shares for {len(groups)} groups: give one share a group")
    if not all(0 < share < np.inf for share in shares):
        raise InputError(f"shares are {list(shares)}: give positive numbers")
    if people < len(groups):
        raise InputError(f"{people} people for {len(groups)} groups: give at least one person a group")
    return np.asarray(shares, np.float64)


def labelled(sittings: Sittings, group: Array, photos_per_person: int) -> pd.DataFrame:
    """What is known of each photo, one row each."""
    import pandas as pd

    person, circumstance, look, pose = sittings.identity, sittings.circumstance, sittings.look, sittings.pose
    number, photo = np.divmod(np.arange(len(group)), photos_per_person)
    name = np.char.mod("p%05d", number)
    left_x, left_y = in_picture(pose, person.eye_spacing, person.eye_height)
    right_x, right_y = in_picture(pose, -person.eye_spacing, person.eye_height)
    return pd.DataFrame(
        {
            "key": np.char.add(name, np.char.mod("-%02d", photo)),
            "person": name,
            "group": group,
            "left_x": left_x,
            "left_y": left_y,
            "right_x": right_x,
            "right_y": right_y,
            "age": [f"{decade}0-{decade}9" for decade in (person.age // 10).astype(int)],
            "smile": (look.smile > 0).astype(int),
            "glasses": look.glasses.astype(int),
            "yaw": np.degrees(circumstance.yaw),
            "roll": np.degrees(circumstance.roll),
            "light": np.degrees(circumstance.light),
            "light_strength": circumstance.light_strength,
            "quality": look.quality,
        }
    )
