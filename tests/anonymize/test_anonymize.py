"""The bar lies where the eyes were predicted, changes nothing else, and is measured against where they truly are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from efface.anonymize import regions as anonymize
from efface.anonymize.regions import blur, cover, covered, eye_box, on_boxes, pixelate, true_eye_region
from efface.errors import InputError

Floats = NDArray[np.float64]
Style = Callable[..., NDArray[np.uint8]]
STYLES: list[Style] = [cover, pixelate, blur]


def some_eyes(count: int, seed: int = 0) -> Floats:
    """(n, 2, 2) pairs of eyes on pictures of 40x32, tilted, one of them upside down."""
    generator = np.random.default_rng(seed)
    right = generator.uniform([9, 10], [15, 20], (count, 2))
    eyes = np.stack([right + generator.uniform([9, -5], [14, 5], (count, 2)), right], axis=1)
    eyes[0] = eyes[0, ::-1]
    return eyes


def some_images(count: int, channels: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """(n, c, 32, 40) noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, channels, 32, 40), dtype=np.uint8)


def naive_inside(pair: Floats, x: float, y: float, width: float = 1.9, height: float = 0.7) -> bool:
    """Whether a point lies on the bar of one pair of eyes, by turning it back with an angle."""
    (left_x, left_y), (right_x, right_y) = pair
    apart = math.dist(pair[0], pair[1])
    angle = math.atan2(left_y - right_y, left_x - right_x)
    away_x, away_y = x - (left_x + right_x) / 2, y - (left_y + right_y) / 2
    along = away_x * math.cos(angle) + away_y * math.sin(angle)
    across = -away_x * math.sin(angle) + away_y * math.cos(angle)
    return bool(abs(along) <= width * apart / 2 and abs(across) <= height * apart / 2)


def naive_mask(pair: Floats, lines: int = 32, columns: int = 40, **size: float) -> NDArray[np.bool_]:
    """(h, w) which pixels lie on the bar."""
    return np.array([[naive_inside(pair, x, y, **size) for x in range(columns)] for y in range(lines)])


def test_the_bar_of_level_eyes_is_a_rectangle() -> None:
    boxes = eye_box(np.array([[[30.0, 15], [10, 15]]]))
    assert boxes.centre.tolist() == [[20, 15]]
    assert boxes.along.tolist() == [[1, 0]]
    assert boxes.half == pytest.approx(np.array([[19, 7]]))
    corners = np.array([[[39.0, 22], [1, 8], [20, 15]]])
    assert on_boxes(boxes, corners)[0] == pytest.approx(np.array([[1, 1], [-1, -1], [0, 0]]))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_covered_face_is_black_on_the_bar_and_itself_elsewhere(channels: int) -> None:
    images, eyes = some_images(12, channels), some_eyes(12)
    before = images.copy()
    after = cover(images, eyes)
    assert np.array_equal(images, before)
    for image, pair, result in zip(images, eyes, after, strict=True):
        mask = naive_mask(pair)
        assert 0 < mask.sum() < mask.size
        assert np.array_equal(result, np.where(mask, 0, image))


def test_a_bar_takes_a_shade_and_a_size() -> None:
    eyes = some_eyes(3)
    result = cover(some_images(3), eyes, shade=128, width=1.2, height=0.3)
    for image, pair, after in zip(some_images(3), eyes, result, strict=True):
        assert np.array_equal(after[0], np.where(naive_mask(pair, width=1.2, height=0.3), 128, image[0]))


def test_a_mosaic_is_the_mean_of_each_block() -> None:
    eyes, blocks = some_eyes(6), 5
    images = some_images(6, 3)
    after = pixelate(images, eyes, blocks=blocks)
    for image, pair, result in zip(images, eyes, after, strict=True):
        (left_x, left_y), (right_x, right_y) = pair
        apart, angle = math.dist(*pair), math.atan2(left_y - right_y, left_x - right_x)
        members: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for y in range(32):
            for x in range(40):
                if naive_inside(pair, x, y):
                    away_x, away_y = x - (left_x + right_x) / 2, y - (left_y + right_y) / 2
                    along = away_x * math.cos(angle) + away_y * math.sin(angle)
                    across = -away_x * math.sin(angle) + away_y * math.cos(angle)
                    block = (int((along / (1.9 * apart) + 0.5) * blocks), int((across / (0.7 * apart) + 0.5) * 2))
                    members.setdefault(block, []).append((y, x))
        expected = image.astype(float)
        for places in members.values():
            rows, columns = np.array(places).T
            expected[:, rows, columns] = image[:, rows, columns].mean(axis=1, keepdims=True)
        assert len(members) == 2 * blocks
        assert np.abs(result - expected).max() <= 0.5


def test_a_blur_is_three_running_means_under_the_bar() -> None:
    images, eyes = some_images(5), some_eyes(5)
    after = blur(images, eyes, strength=0.2)
    for image, pair, result in zip(images, eyes, after, strict=True):
        reach = max(1, round(0.2 * math.dist(*pair)))
        smooth = image[0].astype(float)
        for _ in range(3):
            smooth = np.array(
                [
                    [
                        smooth[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].mean()
                        for x in range(40)
                    ]
                    for y in range(32)
                ]
            )
        expected = np.where(naive_mask(pair), smooth, image[0])
        assert np.abs(result[0] - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("style", STYLES)
def test_the_size_of_the_working_set_changes_nothing(style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    images, eyes = some_images(11, 3), some_eyes(11)
    at_once = style(images, eyes)
    monkeypatch.setattr(anonymize, "CHUNK", 3 * 32 * 40)
    assert np.array_equal(style(images, eyes), at_once)
    assert style(images[:0], eyes[:0]).shape == (0, 3, 32, 40)


@pytest.mark.parametrize("style", STYLES)
def test_eyes_in_one_point_hide_nothing(style: Style) -> None:
    images = some_images(2)
    eyes = np.full((2, 2, 2), 15.0)
    assert np.array_equal(style(images, eyes), images)
    assert covered(eyes, some_eyes(2), (32, 40)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("images", "eyes", "said"),
    [
        (some_images(2), some_eyes(3), "for 3 pairs of eyes"),
        (some_images(2)[0], some_eyes(2), "expected uint8"),
        (some_images(2).astype(float), some_eyes(2), "float64"),
        (some_images(2), some_eyes(2).reshape(2, 4), "expected \\(n, 2, 2\\)"),
        (some_images(2), np.where(np.arange(8).reshape(2, 2, 2) == 6, np.nan, 9.0), "eyes of face 1 are not finite"),
    ],
)
def test_what_cannot_be_hidden_is_refused(style: Style, images: NDArray[np.uint8], eyes: Floats, said: str) -> None:
    with pytest.raises(InputError, match=said):
        style(images, eyes)


def test_settings_that_hide_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="blocks 0"):
        pixelate(some_images(1), some_eyes(1), blocks=0)
    with pytest.raises(InputError, match="strength 0"):
        blur(some_images(1), some_eyes(1), strength=0)
    with pytest.raises(InputError, match="differ in shape"):
        covered(some_eyes(1), some_eyes(2), (32, 40))


def test_the_true_eye_is_a_disc_of_a_quarter_of_the_distance() -> None:
    centres, radius = true_eye_region(np.array([[[16.0, 12], [4, 7]]]))
    assert centres.tolist() == [[[16, 12], [4, 7]]]
    assert radius.tolist() == [13 / 4]


def test_a_perfect_prediction_covers_all_and_a_far_one_nothing() -> None:
    targets = some_eyes(20)
    assert np.array_equal(covered(targets, targets, (32, 40)), np.ones((20, 2)))
    assert np.array_equal(covered(targets[:, ::-1], targets, (32, 40)), np.ones((20, 2)))
    assert np.array_equal(covered(targets + np.array([0, 100]), targets, (32, 40)), np.zeros((20, 2)))
    beside = targets.copy()
    beside[:, 1] = targets[:, 0] + 0.2 * (targets[:, 0] - targets[:, 1])  # both predicted at the left eye
    shares = covered(beside, targets, (32, 40))
    assert (shares[:, 0] > 0.2).all()
    assert (shares[:, 1] == 0).all()


def test_a_shifted_bar_covers_the_segment_it_should() -> None:
    targets = np.array([[[30.0, 20], [10, 20]]])  # discs of radius 5, bar of half height 7
    for down in (3.0, 7.0, 9.0, 11.0):
        depth = min(1.0, (7 - down) / 5)  # the bar's upper edge, seen from the disc's centre, in radii
        expected = (math.acos(-depth) + depth * math.sqrt(1 - depth**2)) / math.pi if depth > -1 else 0.0
        assert covered(targets + np.array([0, down]), targets, (60, 60))[0] == pytest.approx([expected] * 2, abs=0.015)


def test_coverage_agrees_with_a_naive_count(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = some_eyes(8)
    predicted = targets + np.random.default_rng(1).normal(0, 4, targets.shape)
    shares = covered(predicted, targets, (32, 40))
    for face, (guess, pair) in enumerate(zip(predicted, targets, strict=True)):
        radius = math.dist(*pair) / 4
        for eye in range(2):
            places = [
                (pair[eye][0] + radius * u, pair[eye][1] + radius * v)
                for u in np.linspace(-0.995, 0.995, 60)
                for v in np.linspace(-0.995, 0.995, 60)
                if math.hypot(u, v) < 1
            ]
            hidden = np.mean([naive_inside(guess, x, y) for x, y in places])
            assert shares[face, eye] == pytest.approx(hidden, abs=0.03)
    assert 0.1 < shares.mean() < 0.95
    monkeypatch.setattr(anonymize, "CHUNK", 1)
    assert np.array_equal(covered(predicted, targets, (32, 40)), shares)


def test_only_what_the_picture_shows_must_be_covered() -> None:
    targets = np.array([[[20.0, -0.5], [0, -0.5]]])  # the upper half of both eyes is cut off
    lower = targets + np.array([0, 7.0])  # the bar begins at the centre of the eyes
    assert covered(lower, targets, (40, 40)).tolist() == [[1, 1]]
    assert covered(targets + np.array([0, 90]), targets, (40, 40)).tolist() == [[0, 0]]
    outside = targets - np.array([0, 50])
    assert covered(lower, outside, (40, 40)).tolist() == [[1, 1]]
    assert covered(lower, outside).tolist() == [[0, 0]]
    assert covered(lower, targets)[0] == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_prediction_that_is_not_finite_covers_nothing() -> None:
    targets = some_eyes(3)
    predicted = targets.copy()
    predicted[1, 0, 1] = np.nan
    assert covered(predicted, targets).tolist() == [[1, 1], [0, 0], [1, 1]]
