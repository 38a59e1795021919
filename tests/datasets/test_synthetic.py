"""Synthetic faces: the same bytes each time, exact eyes, groups as far apart as asked."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from efface.data.faces import EYES
from efface.datasets.drawing import render
from efface.datasets.drawing.camera import blurred, coarsened, photographed
from efface.datasets.drawing.people import cast, dealt, group_shifts
from efface.datasets.drawing.traits import Identity
from efface.datasets.synthetic import CARD, synthetic
from efface.errors import InputError

SMALL: dict[str, Any] = {"people": 12, "photos_per_person": 2, "size": (32, 32)}


def test_same_call_same_bytes_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthetic(**SMALL, colour=True, seed=3)
    monkeypatch.setattr(render, "CHUNK_PIXELS", 5 * 32 * 32)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    again = synthetic(**SMALL, colour=True, seed=3)
    assert np.array_equal(first.images, again.images)
    assert first.table.equals(again.table)


def test_another_seed_is_another_album() -> None:
    first, other = synthetic(**SMALL, seed=0), synthetic(**SMALL, seed=1)
    assert (first.images != other.images).mean() > 0.9
    assert not np.allclose(first.table[EYES], other.table[EYES])


def test_first_people_are_the_same_however_many_follow() -> None:
    few, many = synthetic(**SMALL), synthetic(**{**SMALL, "people": 40})
    assert np.array_equal(few.images, many.images[: len(few)])
    assert few.table.equals(many.table[: len(few)])


@pytest.mark.parametrize("size", [(16, 16), (24, 24), (33, 20), (384, 286)])
@pytest.mark.parametrize("colour", [False, True])
def test_any_size_grey_or_colour(size: tuple[int, int], colour: bool) -> None:
    face_table = synthetic(people=2, photos_per_person=1, size=size, colour=colour)
    assert face_table.images.shape == (2, 3 if colour else 1, size[1], size[0])
    assert face_table.images.dtype == np.uint8
    assert np.ptp(face_table.images.reshape(2, -1), axis=1).min() > 60
    inside = (
        face_table.table[["left_x", "right_x"]].lt(size[0])
        & face_table.table[["left_y", "right_y"]].lt(size[1]).to_numpy()
    )
    assert inside.all(axis=None)


def test_grey_is_the_luminance_of_colour() -> None:
    # Noise is drawn per channel and clipping is not linear, so the means are compared, not the pixels.
    grey, colour = synthetic(**SMALL), synthetic(**SMALL, colour=True)
    luminance = np.tensordot(colour.images, [0.299, 0.587, 0.114], axes=(1, 0))
    blocks = (grey.images[:, 0] - luminance).reshape(-1, 4, 8, 4, 8).mean((2, 4))
    assert np.abs(blocks).max() < 6
    assert np.ptp(colour.images.astype(int), axis=1).mean() > 5


def test_table_says_who_and_how() -> None:
    face_table = synthetic(**SMALL, groups=("A", "C"))
    table = face_table.table
    assert list(table.columns[:7]) == ["key", "person", "group", *EYES]
    assert {"age", "smile", "glasses", "yaw", "roll", "light", "light_strength", "quality"} <= set(table.columns)
    assert table["key"].iloc[3] == "p00001-01"
    assert table["person"].iloc[3] == "p00001"
    assert table.groupby("person")[["group", "age"]].nunique().eq(1).all(axis=None)
    assert set(table["group"]) == {"A", "C"}
    assert set(synthetic(people=300, photos_per_person=1, size=(16, 16)).table["age"]) == {
        "20-29",
        "30-39",
        "40-49",
        "50-59",
        "60-69",
    }
    assert set(table["smile"]) == set(table["glasses"]) == {0, 1}
    assert (table["left_x"] > table["right_x"]).all()
    roll = np.degrees(np.arctan2(table["left_y"] - table["right_y"], table["left_x"] - table["right_x"]))
    assert np.corrcoef(roll, table["roll"])[0, 1] > 0.9


def test_pupils_are_where_the_table_says() -> None:
    """The dark pixels around a stated centre have it as their centroid, in sharp photos without glasses."""
    face_table = synthetic(people=60, photos_per_person=4, size=(128, 128), groups=("A",))
    table = face_table.table
    clear = np.flatnonzero((table["glasses"] == 0) & (table["quality"] > 0.95) & (table["yaw"].abs() < 12))
    offsets = []
    for row in clear:
        for x, y in table[EYES].to_numpy()[row].reshape(2, 2):
            left, top = round(x) - 2, round(y) - 2
            window = face_table.images[row, 0, top : top + 5, left : left + 5].astype(float)
            dark = (np.median(window) - window).clip(0)
            at_y, at_x = np.mgrid[top : top + 5, left : left + 5]
            offsets.append([(dark * at_x).sum() / dark.sum() - x, (dark * at_y).sum() / dark.sum() - y])
    assert len(offsets) > 40
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.35
    assert np.percentile(np.linalg.norm(offsets, axis=1), 90) < 1.2


def test_eye_positions_vary_too_much_to_guess() -> None:
    table = synthetic(people=200, photos_per_person=1, size=(16, 16)).table
    eyes = table[EYES].to_numpy().reshape(-1, 2, 2)
    apart = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1)
    miss = np.linalg.norm(eyes - eyes.mean(0), axis=2).max(1) / apart
    assert (miss <= 0.25).mean() < 0.3


def people_of(distance: float, group: str) -> Identity:
    groups = ("A", "B")
    drawn = cast(4000, groups, np.ones(2), distance, np.random.default_rng(0))
    return drawn.identity.rows(drawn.group == groups.index(group))


def test_groups_are_exchangeable_at_distance_zero() -> None:
    one, other = people_of(0, "A"), people_of(0, "B")
    p_values = [ks_2samp(getattr(one, f.name), getattr(other, f.name)).pvalue for f in fields(Identity)]
    assert min(p_values) > 0.05 / len(p_values)


def test_groups_differ_in_many_traits_at_distance_one_and_overlap() -> None:
    one, other = people_of(1, "A"), people_of(1, "B")
    p_values = [ks_2samp(getattr(one, f.name), getattr(other, f.name)).pvalue for f in fields(Identity)]
    assert sum(p < 1e-6 for p in p_values) > 15
    assert other.eye_opening.mean() - one.eye_opening.mean() == pytest.approx(-0.20, abs=0.01)
    assert other.head_width.min() < one.head_width.max()


def test_distance_shows_in_the_pictures() -> None:
    def gap(distance: float) -> float:
        face_table = synthetic(people=300, photos_per_person=1, size=(16, 16), distance=distance)
        means = [face_table.images[face_table.table["group"] == group].mean(0) for group in "AB"]
        return float(np.abs(means[0] - means[1]).mean())

    assert gap(0) < 4 < gap(1)


def test_groups_stay_faces_at_any_distance() -> None:
    far, farthest = synthetic(**SMALL, distance=2.0), synthetic(**SMALL, distance=50.0)
    assert np.array_equal(far.images, farthest.images)
    assert np.isfinite(far.table[EYES].to_numpy()).all()


def test_a_group_looks_the_same_beside_any_other() -> None:
    alone, beside = group_shifts(["D"], 1.0), group_shifts(["A", "D", "C"], 1.0)
    assert np.array_equal(alone[0], beside[1])
    assert np.array_equal(beside[2], -beside[1])
    assert np.array_equal(group_shifts(["B"], 0.5), np.full((1, len(fields(Identity))), 0.5))


def test_people_are_dealt_by_share() -> None:
    assert dealt(6, np.ones(2)).tolist() == [0, 1, 0, 1, 0, 1]
    counts = np.bincount(dealt(100, np.array([3.0, 1.0])))
    assert counts.tolist() == [75, 25]
    table = synthetic(people=8, photos_per_person=1, size=(16, 16), shares=(3, 1)).table
    assert table["group"].value_counts().to_dict() == {"A": 6, "B": 2}


def test_quality_is_told_and_leaves_the_face_where_it_is() -> None:
    good, bad = synthetic(**SMALL), synthetic(**SMALL, quality=0.0)
    assert bad.table["quality"].eq(0).all()
    assert good.table["quality"].between(0.25, 1).all()
    assert good.table[EYES].equals(bad.table[EYES])
    assert (good.images != bad.images).mean() > 0.9


def test_a_perfect_camera_changes_nothing_and_a_bad_one_flattens() -> None:
    picture = np.random.default_rng(0).random((2, 1, 40, 40), np.float32)
    quality = np.array([1.0, 0.0], np.float32).reshape(2, 1, 1, 1)
    perfect, bad = photographed(picture, quality, np.zeros_like(picture))
    assert np.abs(perfect / 255 - picture[0]).max() <= 0.5 / 255 + 1e-6
    assert bad.std() < 0.6 * perfect.std()


def test_blur_has_the_variance_asked_for() -> None:
    dot = np.zeros((3, 1, 41, 41), np.float32)
    dot[:, :, 20, 20] = 1
    asked = np.array([0.0, 0.7, 5.0], np.float32).reshape(3, 1, 1, 1)
    rows = blurred(dot, asked).sum((1, 2))
    offsets = np.arange(41) - 20
    assert rows.sum(1) == pytest.approx(np.ones(3), abs=1e-5)
    assert rows @ np.square(offsets) == pytest.approx(asked.ravel(), abs=1e-4)


def test_coarse_pixels_are_blocks() -> None:
    image = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6) + np.zeros((1, 1, 6, 1), np.float32)
    coarse = coarsened(image, np.full((1, 1, 1, 1), 2.0))
    assert coarse[0, 0, 0].tolist() == [1, 1, 3, 3, 5, 5]
    assert np.array_equal(coarsened(image.swapaxes(2, 3), np.full((1, 1, 1, 1), 2.0)), coarse.swapaxes(2, 3))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"groups": ("A", "b")}, "group 'b' is unknown"),
        ({"groups": ("A", "A")}, "each once"),
        ({"groups": ()}, "at least one"),
        ({"groups": ("A", "B", "C"), "people": 2}, "2 people for 3 groups"),
        ({"shares": (1.0,)}, "1 shares for 2 groups"),
        ({"shares": (1.0, 0.0)}, "positive"),
        ({"shares": (1.0, float("nan"))}, "positive"),
        ({"photos_per_person": 0}, "photos_per_person is 0"),
        ({"size": (64, 15)}, "64x15"),
        ({"distance": -0.1}, "distance is -0.1"),
        ({"quality": 1.1}, "quality is 1.1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        synthetic(**given)
    assert "\n" not in str(refusal.value)


def test_card() -> None:
    assert CARD.name == "synthetic"
