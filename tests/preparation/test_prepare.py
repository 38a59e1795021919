"""Preparing keeps every pixel and every eye where it belongs, says what it refused, and survives being killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from conftest import ROOT, SHARED
from efface.data.faces import EYES, FaceTable
from efface.data.photos import load
from efface.datasets import bioid, lfw
from efface.datasets.card import Card
from efface.errors import InputError
from efface.preparation import prepare as preparing
from efface.preparation.crop import align
from efface.preparation.packed import open_packed, read_manifest, verify_packed, write_packed
from efface.preparation.prepare import (
    TEMPLATE,
    Detector,
    Face,
    Settings,
    box_around,
    difference_hash,
    export_eyes,
    find_face,
    near_duplicates,
    placement,
    prepare,
    render,
    similarity,
)

CARD = Card("drawn", "Drawn dots", "none", "nowhere", "none", "Dots on black")


def shared(name: str) -> Path:
    """A real file at hand, or the reason why not."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"shared/{name} is not on this machine")
    return path


def yunet() -> Path:
    """The real detector."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    return shared("weights/yunet_n_320_320.onnx")


def dots(width: int, height: int, points: Iterable[tuple[float, float]], spread: float = 2.0) -> NDArray[np.uint8]:
    """(h, w) black with a bright round dot at each point (pixels, the first pixel's centre being 0, 0)."""
    rows, columns = np.mgrid[:height, :width]
    bells = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2)) for x, y in points]
    picture: NDArray[np.uint8] = np.rint(240 * np.sum(bells, axis=0)).astype(np.uint8)
    return picture


def middle(image: NDArray[np.uint8], near: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The centre of brightness (x, y) of an image (h, w) within `reach` pixels of a place."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    weights = np.where(np.hypot(columns - near[0], rows - near[1]) <= reach, image, 0).astype(float)
    return np.array([np.average(columns, weights=weights), np.average(rows, weights=weights)])


def drawn_photos(folder: Path, count: int = 6, width: int = 120, height: int = 100) -> pd.DataFrame:
    """Photos with a dot on each eye, eyes at other places in each, two photos per person."""
    generator = np.random.default_rng(5)
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        right = generator.uniform([40, 40], [48, 56])
        left = right + generator.uniform([22, -3], [28, 3])
        file = folder / f"{number:03d}.png"
        Image.fromarray(dots(width, height, [tuple(left), tuple(right)])).save(file)
        rows.append([f"p/{number:03d}", str(file), f"{number // 2:03d}", *left, *right, "NA", number])
    return pd.DataFrame(rows, columns=["key", "path", "person", *EYES, "group", "code"])


def refusal(photos: pd.DataFrame, folder: Path, **settings: Any) -> str:
    """The one line with which a preparation is refused; it must leave nothing behind but what was prepared."""
    kept = folder.with_name(folder.name + ".partial")
    before = {kept, *folder.parent.iterdir()}
    with pytest.raises(InputError) as caught:
        prepare(photos, folder, card=CARD, **settings)
    assert {kept, *folder.parent.iterdir()} == before
    message = str(caught.value)
    assert "\n" not in message
    return message


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# The packed folder


def packed(folder: Path, count: int = 5) -> pd.DataFrame:
    """Write a packed folder whose labels are hard to keep, and give back the labels."""
    words = ["NA", "007", "", 'a "b", c', "zwei\nZeilen\r\nund é"]
    table = pd.DataFrame(
        {
            "key": [*words[:2], *words[3:], "=1+1"][:count],
            "person": ["NA", "007", "-0.5", "=2+2", "None"][:count],
            "left_x": [0.1, 1 / 3, np.nan, 1e-17, 12345678.9][:count],
            "note": ["'=1", "", "@x", "+1", "-"][:count],
            "code": np.arange(count),
            "smile": [True, False, True, True, False][:count],
            "gap": [None, "x", None, "nan", "y"][:count],
        }
    )
    images = np.arange(count * 2 * 3 * 4, dtype=np.uint8).reshape(count, 2, 3, 4)
    write_packed(folder, iter([images[:2], images[2:]]), table, shape=(2, 3, 4), about={"name": "hard"})
    return table


def test_a_packed_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    table = packed(tmp_path / "new" / "faces")
    face_table = open_packed(tmp_path / "new" / "faces")
    assert isinstance(face_table.images, np.memmap)
    assert np.array_equal(face_table.images, np.arange(120).reshape(5, 2, 3, 4))
    for column in table:
        expected = table[column].fillna("") if column == "gap" else table[column]
        assert face_table.table[column].equals(expected.astype(face_table.table[column].dtype)), column
    assert face_table.table["code"].dtype == np.int64
    assert face_table.table["smile"].dtype == np.bool_
    verify_packed(tmp_path / "new" / "faces")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["faces"]


def test_a_changed_file_is_found_by_its_checksum(tmp_path: Path) -> None:
    packed(tmp_path / "faces")
    file = tmp_path / "faces" / "images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for open_or_verify in (open_packed, verify_packed):
        with pytest.raises(InputError, match=r"images\.npy is not what was written"):
            open_or_verify(tmp_path / "faces")
    (tmp_path / "faces" / "labels.csv").unlink()
    file.write_bytes(bytes(content[:-1]) + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"labels\.csv is missing"):
        verify_packed(tmp_path / "faces")


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    with pytest.raises(InputError, match="does not exist"):
        open_packed(folder)
    packed(folder)
    whole = files_of(folder)

    def damage(name: str, content: bytes, verify: bool = True) -> str:
        for known, kept in whole.items():
            (folder / known).write_bytes(kept)
        (folder / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            open_packed(folder, verify=verify)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    rows = whole["labels.csv"]
    for name, content in whole.items():
        end = content.rindex(b'"manifest_sha256') if name == "manifest.json" else len(content)
        for place in range(0, end, 7):
            flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            assert name in damage(name, flipped)
    assert "cannot be opened" in damage("images.npy", whole["images.npy"][:-1], verify=False)
    assert "cannot be opened" in damage("images.npy", b"", verify=False)
    assert "4 rows of labels" in damage("labels.csv", rows[: rows.rindex(b"'=1+1,")], verify=False)
    assert "other columns" in damage("labels.csv", rows.replace(b"note", b"nota", 1), verify=False)
    assert "is not JSON" in damage("manifest.json", whole["manifest.json"][:-20])
    assert "is not of format 1" in damage("manifest.json", b'{"format": 2}')
    manifest = json.loads(whole["manifest.json"]) | {"shape": [5, 2, 4, 3]}
    assert "manifest.json is not what was written" in damage("manifest.json", json.dumps(manifest).encode())
    for odd in ({"shape": "5"}, {"columns": {"key": "poem"}}, {"sha256": None}, {"shape": [5, 2, 3]}):
        foreign = {name: value for name, value in (manifest | odd).items() if name != "manifest_sha256"}
        assert "manifest.json is not what was written" in damage("manifest.json", json.dumps(foreign).encode())
    del manifest["manifest_sha256"]  # as older manifests
    assert "but the manifest says uint8 (5, 2, 4, 3)" in damage("manifest.json", json.dumps(manifest).encode())
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="is not a packed folder"):
        open_packed(folder)


def test_a_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    table = pd.DataFrame({"key": ["a", "b"], "person": ["x", "y"]})
    image = np.zeros((1, 1, 2, 2), np.uint8)
    with pytest.raises(InputError, match="1 images but 2 rows"):
        write_packed(tmp_path / "faces", [image], table, shape=(1, 2, 2), about={})
    with pytest.raises(InputError, match="there is no face to pack"):
        write_packed(tmp_path / "faces", [], table[:0], shape=(1, 2, 2), about={})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not empty"):
        write_packed(tmp_path / "faces", [image, image], table, shape=(1, 2, 2), about={})
    assert (tmp_path / "faces" / "mine.txt").read_text() == "mine"


# Geometry


def test_rendering_a_photo_as_it_is_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    place = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    assert np.array_equal(np.asarray(render(Image.fromarray(pixels), place, (30, 20))), pixels)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_rendering_smaller_averages_blocks(factor: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (6 * factor, 5 * factor), dtype=np.uint8)
    blocks = np.array(
        [
            [pixels[r * factor : (r + 1) * factor, c * factor : (c + 1) * factor].mean() for c in range(5)]
            for r in range(6)
        ]
    )
    place = np.array([[factor, 0, 0.0], [0, factor, 0]])
    assert np.abs(np.asarray(render(Image.fromarray(pixels), place, (5, 6))) - blocks).max() <= 1


def test_rendering_repeats_the_edge() -> None:
    pixels = np.zeros((10, 10), np.uint8)
    pixels[:, 0], pixels[:, -1] = 200, 100
    drawn = np.asarray(render(Image.fromarray(pixels), np.array([[1.0, 0, -5], [0, 1.0, 3]]), (20, 10)))
    assert np.array_equal(drawn[:, :6], np.full((10, 6), 200))
    assert np.array_equal(drawn[:, 6:14], np.zeros((10, 8)))
    assert np.array_equal(drawn[:, 14:], np.full((10, 6), 100))


def test_rendering_keeps_places_when_turned_and_shrunk() -> None:
    point = np.array([210.0, 130.0])
    photo = Image.fromarray(dots(400, 300, [tuple(point)], spread=12))
    turn = 5.3 * np.exp(0.4j)
    place = np.array([[turn.real, -turn.imag, 90.0], [turn.imag, turn.real, -20.0]])
    drawn = np.asarray(render(photo, place, (60, 50)))
    expected = np.linalg.inv(place[:, :2]) @ (point + 0.5 - place[:, 2]) - 0.5
    assert np.abs(middle(drawn, expected, 9) - expected).max() < 0.05


def test_similarity_finds_a_turn_a_scale_and_a_shift() -> None:
    turn = 2.5 * np.exp(-0.7j)
    place = np.array([[turn.real, -turn.imag, 4.0], [turn.imag, turn.real, -9.0]])
    target = TEMPLATE @ place[:, :2].T + place[:, 2]
    assert np.allclose(similarity(TEMPLATE, target), place)


def test_similarity_is_the_least_squares_one() -> None:
    target = TEMPLATE * 1.3 + np.random.default_rng(2).normal(0, 4, (5, 2))
    rows = [row for x, y in TEMPLATE for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, c, d = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)[0]
    assert np.allclose(similarity(TEMPLATE, target), [[a, -b, c], [b, a, d]])


def test_a_box_around_eyes_follows_their_tilt() -> None:
    assert np.allclose(box_around(np.array([[60.0, 50], [40, 50]])), [28, 26.6, 44, 60])
    left, top, width, height = box_around(np.array([[50.0, 60], [50, 40]]))  # turned by a quarter: the face lies left
    assert (left + width / 2, top + height / 2) == pytest.approx((43.4, 50))


def settings_of(**changes: Any) -> Settings:
    """Settings as a test needs them."""
    plain: dict[str, Any] = {
        "size": (48, 48), "colour": False, "crop": "whole", "margin": 0.3, "jitter": 0.0,
        "eyes": "annotated", "seed": 0, "detector": None,
    }  # fmt: skip
    return Settings(**(plain | changes))


def test_a_jittered_window_stays_in_the_photo_and_keeps_the_eyes() -> None:
    eyes = np.array([[75.0, 40], [25, 44]])
    membership_scores = []
    for seed in range(300):
        place = placement((100, 80), eyes, None, settings_of(jitter=0.4), np.random.default_rng(seed))
        low, high = place[:, 2], place @ [48, 48, 1]
        assert (low >= -1e-9).all()
        assert (high <= np.array([100, 80]) + 1e-9).all()
        assert (low <= eyes.min(axis=0) - 12.5).all()
        assert (high >= eyes.max(axis=0) + 12.5).all()
        membership_scores.append((high - low)[0])
    assert 0.75 * 100 <= min(membership_scores) < 0.78 * 100  # the eyes need 0.75 of the width
    assert max(membership_scores) > 0.99 * 100


def test_a_jittered_window_without_eyes_uses_the_whole_photo() -> None:
    places = [
        placement((100, 80), None, None, settings_of(jitter=0.4), np.random.default_rng(seed)) for seed in range(300)
    ]
    low = np.array([place[:, 2] for place in places])
    high = np.array([place @ [48, 48, 1] for place in places])
    assert (low >= -1e-9).all()
    assert (high <= np.array([100, 80]) + 1e-9).all()
    assert 60 <= (high - low)[:, 0].min() < 62
    assert low.max(axis=0)[0] > 30


def test_a_box_takes_the_shape_of_the_picture_with_its_margin() -> None:
    face = Face(np.array([10.0, 20, 30, 40]), np.tile([[25.0, 40]], (5, 1)), 1.0)
    wide = placement(
        (200, 200), None, face, settings_of(crop="box", size=(60, 30), margin=0.5), np.random.default_rng(0)
    )
    assert np.allclose(wide, [[2, 0, 25 - 60], [0, 2, 40 - 30]])
    high = placement(
        (200, 200), None, face, settings_of(crop="box", size=(30, 60), margin=0.0), np.random.default_rng(0)
    )
    assert np.allclose(high, [[1, 0, 25 - 15], [0, 1, 40 - 30]])


def test_a_jittered_box_varies_as_asked() -> None:
    face = Face(np.array([100.0, 100, 50, 50]), np.tile([[125.0, 120]], (5, 1)), 1.0)
    places = [
        placement((300, 300), None, face, settings_of(crop="box", jitter=0.2, margin=0.0), np.random.default_rng(seed))
        for seed in range(400)
    ]
    membership_scores = np.array([place[0, 0] * 48 for place in places])
    shifts = np.array([place @ [24, 24, 1] - 125 for place in places]) / membership_scores[:, None]
    assert 40 <= membership_scores.min() < 40.5 < 59.5 < membership_scores.max() <= 60
    assert np.abs(shifts).max() <= 0.2
    assert (shifts.max(axis=0) > 0.19).all()
    assert (shifts.min(axis=0) < -0.19).all()


# Preparing


@pytest.mark.parametrize(
    "settings",
    [
        {"size": (96, 80)},
        {"size": (60, 96)},
        {"size": (96, 96), "jitter": 0.3},
        {"size": (80, 96), "crop": "box"},
        {"size": (96, 96), "crop": "box", "jitter": 0.3, "margin": 0.0},
        {"size": (200, 180), "colour": True},
    ],
)
def test_eyes_stand_where_they_are_drawn(tmp_path: Path, settings: dict[str, Any]) -> None:
    photos = drawn_photos(tmp_path / "photos")
    done = prepare(photos, tmp_path / "faces", card=CARD, **settings)
    face_table = open_packed(done.folder)
    width, height = settings["size"]
    assert face_table.images.shape == (6, 3 if settings.get("colour") else 1, height, width)
    for image, eyes in zip(face_table.images, face_table.table[EYES].to_numpy(), strict=True):
        for eye in eyes.reshape(2, 2):
            assert np.abs(middle(image[0], eye, 9) - eye).max() < 0.12


def test_a_whole_photo_scales_each_axis(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    prepare(photos, tmp_path / "faces", card=CARD, size=(48, 24))
    eyes = open_packed(tmp_path / "faces").table[EYES].to_numpy()
    factor = np.array([48 / 120, 24 / 100] * 2)
    assert np.allclose(eyes, (photos[EYES].to_numpy() + 0.5) * factor - 0.5, atol=1e-12)


def test_labels_and_manifest_tell_all(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    done = prepare(photos.iloc[::-1], tmp_path / "faces", card=CARD)
    table = open_packed(done.folder).table
    assert list(table.columns) == ["key", "person", *EYES, "group", "code"]
    assert table["key"].tolist() == [f"p/00{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert table["person"].tolist() == ["002", "002", "001", "001", "000", "000"]
    assert table["group"].tolist() == ["NA"] * 6
    assert table["code"].tolist() == [5, 4, 3, 2, 1, 0]
    assert (done.faces, done.people, done.refused, done.several_faces) == (6, 3, {}, 0)
    manifest = read_manifest(done.folder)
    assert (manifest["name"], manifest["licence"], manifest["home"]) == ("drawn", "none", "nowhere")
    assert manifest["photos"] == 6
    assert manifest["settings"]["size"] == [48, 48]
    assert str(tmp_path) not in (done.folder / "manifest.json").read_text()
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["faces", "photos"]
    verify_packed(done.folder)


def test_the_same_again_does_nothing_and_other_settings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = drawn_photos(tmp_path / "photos")
    first = prepare(photos, tmp_path / "faces", card=CARD)
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "photos", moved)
    photos["path"] = [str(moved / Path(path).name) for path in photos["path"]]
    monkeypatch.setattr(preparing, "prepare_photo", None)
    assert prepare(photos, tmp_path / "faces", card=CARD) == first
    for changed in ({"size": (24, 24)}, {"seed": 1}, {"jitter": 0.1}, {"colour": True}):
        assert "was prepared from other photos or settings" in refusal(photos, tmp_path / "faces", **changed)
    assert "was prepared from other" in refusal(photos.assign(code=1), tmp_path / "faces")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(photos["path"].iloc[0])
    assert "was prepared from other" in refusal(photos, tmp_path / "faces")


def test_a_seed_decides_the_jitter_and_neighbours_do_not(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    for name, table, seed in (("a", photos, 0), ("b", photos, 0), ("c", photos, 1), ("d", photos[2:4], 0)):
        prepare(table, tmp_path / name, card=CARD, jitter=0.3, seed=seed)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    a, c, d = (open_packed(tmp_path / name).table[EYES].to_numpy() for name in "acd")
    assert (np.abs(a - c).max(axis=1) > 0.1).all()
    assert np.array_equal(a[2:4], d)


def test_without_eyes_none_are_written(tmp_path: Path) -> None:
    prepare(drawn_photos(tmp_path / "photos"), tmp_path / "faces", card=CARD, eyes="none")
    assert list(open_packed(tmp_path / "faces").table.columns) == ["key", "person", "group", "code"]


def test_exif_orientation_is_applied_only_without_annotation(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:, :30] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert load(tmp_path / "turned.jpg", upright=False).size == (60, 40)
    upright = load(tmp_path / "turned.jpg", upright=True)
    assert upright.size == (40, 60)
    assert np.asarray(upright)[5, 20, 0] > 240
    assert np.asarray(upright)[55, 20, 0] < 10
    photos = pd.DataFrame({"key": ["t"], "path": [str(tmp_path / "turned.jpg")], "person": ["t"]})
    prepare(photos, tmp_path / "upright", card=CARD, eyes="none")
    prepare(photos.assign(**dict(zip(EYES, (40, 20, 20, 20), strict=True))), tmp_path / "stored", card=CARD)
    assert open_packed(tmp_path / "upright").images[0, 0, 5, 40] > 240
    assert open_packed(tmp_path / "stored").images[0, 0, 5, 40] < 10


def test_difference_hash_sees_layout_not_size_or_brightness() -> None:
    pixels = np.random.default_rng(3).integers(60, 190, (8, 9), dtype=np.uint8)
    large = Image.fromarray(np.kron(pixels, np.ones((10, 10), np.uint8)))
    bright = Image.fromarray(np.kron(pixels, np.ones((20, 20), np.uint8)) + np.uint8(40))
    expected = int("".join("1" if a > b else "0" for row in pixels for a, b in pairwise(row)), 2)
    assert difference_hash(large.convert("RGB")) == expected
    assert difference_hash(bright.convert("RGB")) == expected
    assert difference_hash(large.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("RGB")) != expected


def test_near_duplicates_are_pairs_of_different_people() -> None:
    generator = np.random.default_rng(4)
    looks = generator.integers(0, 12, 60).astype(np.uint64) + np.uint64(2**63)
    photos = pd.DataFrame({"key": [f"k{n}" for n in range(60)], "person": generator.integers(0, 9, 60).astype(str)})
    pairs = {
        (photos["key"][i], photos["key"][j])
        for i, j in combinations(range(60), 2)
        if looks[i] == looks[j] and photos["person"][i] != photos["person"][j]
    }
    count, first = near_duplicates(looks, photos)
    assert count == len(pairs) > 20
    assert len({tuple(pair) for pair in first} & pairs) == 20
    assert near_duplicates(np.arange(60, dtype=np.uint64), photos) == (0, [])


def test_near_duplicates_are_reported(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    shutil.copy(photos["path"][0], photos["path"][1])  # the same person: no concern
    shutil.copy(photos["path"][0], photos["path"][5])
    photos.loc[[1, 5], EYES] = photos.loc[[0], EYES].to_numpy()
    done = prepare(photos, tmp_path / "faces", card=CARD)
    assert done.near_duplicates == 2
    assert read_manifest(done.folder)["near_duplicates"]["first"] == [["p/000", "p/005"], ["p/001", "p/005"]]


# What is refused


def test_photos_that_cannot_be_read_are_refused_by_name(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 120), dtype=np.uint8))
    for suffix in ("jpg", "png", "pgm"):
        file = tmp_path / "photos" / f"cut.{suffix}"
        noise.save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        photos.loc[3, "path"] = str(file)
        assert f"cut.{suffix} cannot be decoded" in refusal(photos, tmp_path / "faces")
    (tmp_path / "photos" / "text.jpg").write_text("not an image")
    photos.loc[3, "path"] = str(tmp_path / "photos" / "text.jpg")
    assert "text.jpg cannot be decoded" in refusal(photos, tmp_path / "faces")
    photos.loc[3, "path"] = str(tmp_path / "photos" / "gone.png")
    photos.loc[5, "path"] = str(tmp_path / "photos" / "text.jpg")
    photos.loc[1, EYES] = [119.6, 40, 40, 40]
    said = refusal(photos, tmp_path / "faces")
    assert said.startswith("3 of 6 photos cannot be used")
    for part in (
        "gone.png cannot be decoded (No such file",
        "text.jpg cannot be decoded",
        "001.png is 120x100 but has",
    ):
        assert part in said
    listed = (tmp_path / "faces.partial" / "unreadable.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == ["001.png", "gone.png", "text.jpg"]


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ([np.nan, 40, 40, 40], "photo 'p/002' has the eyes (nan, 40, 40, 40)"),
        ([60, np.inf, 40, 40], "photo 'p/002' has the eyes (60, inf, 40, 40)"),
        ([60, 40, 60, 40], "expected two points apart"),
        ([119.6, 40, 40, 40], "002.png is 120x100 but has the eyes (119.6, 40, 40, 40)"),
        ([60, 40, 40, -0.6], "outside of it"),
        ([60, 40, 40, 100], "outside of it"),
    ],
)
def test_wrong_annotations_are_refused(tmp_path: Path, marks: list[float], said: str) -> None:
    photos = drawn_photos(tmp_path / "photos")
    photos.loc[2, EYES] = marks
    assert said in refusal(photos, tmp_path / "faces")


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    faces = tmp_path / "faces"
    assert "photos have no left_x, left_y, right_x, right_y" in refusal(photos.drop(columns=EYES), faces)
    assert "has no column person" in refusal(photos.drop(columns="person"), faces)
    assert "there are no photos" in refusal(photos[:0], faces)
    assert "key 'p/001' stands 3 times" in refusal(pd.concat([photos, photos[1:2], photos[1:2]]), faces)
    assert "photo 'p/004' has no person" in refusal(photos.replace({"person": "002"}, "").iloc[[0, 4]], faces)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"crop": "face"}, "crop 'face' is unknown: choose whole, box, align"),
        ({"eyes": "some"}, "eyes 'some' is unknown"),
        ({"size": (48, 4)}, "size 48x4 is too small"),
        ({"size": (1025, 48)}, "size 1025x48 is too large"),
        ({"margin": -0.1}, "margin -0.1"),
        ({"margin": 1e9}, "margin 1000000000.0 must be from 0 to 10"),
        ({"margin": float("nan")}, "margin nan"),
        ({"jitter": 0.5}, "jitter 0.5"),
        ({"jitter": float("nan")}, "jitter nan"),
        ({"seed": -1}, "seed -1"),
        ({"crop": "align", "jitter": 0.1}, "jitter undoes"),
        ({"crop": "align"}, "needs a detector"),
        ({"eyes": "detected"}, "needs a detector"),
        ({"eyes": "none", "crop": "box"}, "without eyes needs a detector"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    assert said in refusal(drawn_photos(tmp_path / "photos", 1), tmp_path / "faces", **settings)


def field(number: int, content: bytes | int) -> bytes:
    """One field of a protocol buffer, shorter than 128 bytes."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def another_network() -> bytes:
    """An ONNX file that holds a single Relu."""
    shape = b"".join(field(1, field(1, size)) for size in (1, 3, 32, 32))
    kind = field(2, field(1, field(1, 1) + field(2, shape)))
    node = field(1, b"x") + field(2, b"y") + field(4, b"Relu")
    graph = field(1, node) + field(2, b"g") + field(11, field(1, b"x") + kind) + field(12, field(1, b"y") + kind)
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))


def test_wrong_weights_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    photos = drawn_photos(tmp_path / "photos", 1)
    for name, content, said in (
        ("text.onnx", b"hello", "is not a network in ONNX"),
        ("empty.onnx", b"", "is not a network in ONNX"),
        ("relu.onnx", another_network(), "is another network (its outputs are y)"),
    ):
        (tmp_path / name).write_bytes(content)
        message = refusal(photos, tmp_path / "faces", eyes="detected", detector=tmp_path / name)
        assert said in message
        assert name in message
    gone = refusal(photos, tmp_path / "faces", eyes="detected", detector=tmp_path / "gone.onnx")
    assert "gone.onnx does not exist" in gone
    assert capfd.readouterr().err == ""


def test_a_missing_opencv_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "cv2", None)
    photos = drawn_photos(tmp_path / "photos", 1)
    message = refusal(photos, tmp_path / "faces", eyes="detected", detector=tmp_path / "weights.onnx")
    assert "pip install 'efface[detect]'" in message


# Being interrupted

CONTINUE = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from efface.preparation import prepare as preparing
from test_prepare import CARD, drawn_photos

def slowly(chunks, total):
    for chunk in chunks:
        time.sleep(0.1)
        yield chunk

preparing.CHUNK = 4
photos = drawn_photos(Path(sys.argv[3]) / "photos", 40)
preparing.prepare(photos, Path(sys.argv[3]) / "faces", card=CARD, jitter=0.2, progress=slowly)
"""


def test_a_killed_preparation_continues_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = tmp_path / "faces.partial"
    folders = [str(Path(__file__).parent), str(ROOT / "tests")]
    process = subprocess.Popen([sys.executable, "-c", CONTINUE, *folders, str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(list(partial.glob("chunk-*.npz"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    saved = 0
    for file in partial.glob("chunk-*.npz"):
        with np.load(file) as chunk:
            saved += len(chunk["reasons"])
    assert 0 < saved < 40
    assert not (tmp_path / "faces").exists()

    monkeypatch.setattr(preparing, "CHUNK", 4)
    photos = drawn_photos(tmp_path / "photos", 40)
    work, done = preparing.prepare_photo, []

    def counted(path: str, key: str, *rest: Any, **settings: Any) -> Any:
        done.append(key)
        return work(path, key, *rest, **settings)

    monkeypatch.setattr(preparing, "prepare_photo", counted)
    prepare(photos, tmp_path / "faces", card=CARD, jitter=0.2)
    assert len(done) == 40 - saved
    assert not partial.exists()
    prepare(photos, tmp_path / "fresh", card=CARD, jitter=0.2)
    assert len(done) == 80 - saved
    assert files_of(tmp_path / "faces") == files_of(tmp_path / "fresh")
    monkeypatch.setattr(preparing, "CHUNK", 256)
    prepare(photos, tmp_path / "large", card=CARD, jitter=0.2)
    assert files_of(tmp_path / "large") == files_of(tmp_path / "fresh")


def test_what_other_settings_left_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 2)
    photos = drawn_photos(tmp_path / "photos")

    def until_interrupted(chunks: Iterable[int], _total: int) -> Iterable[int]:
        yield next(iter(chunks))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "faces", card=CARD, seed=1, jitter=0.3, progress=until_interrupted)
    assert len(list((tmp_path / "faces.partial").glob("chunk-*.npz"))) == 1
    prepare(photos, tmp_path / "faces", card=CARD, seed=2, jitter=0.3)
    prepare(photos, tmp_path / "fresh", card=CARD, seed=2, jitter=0.3)
    assert files_of(tmp_path / "faces") == files_of(tmp_path / "fresh")


def test_progress_counts_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 4)
    seen: list[tuple[int, int]] = []

    def watched(chunks: Iterable[int], total: int) -> Iterable[int]:
        for chunk in chunks:
            yield chunk
            seen.append((chunk, total))

    prepare(drawn_photos(tmp_path / "photos", 20), tmp_path / "faces", card=CARD, progress=watched)
    assert len(seen) > 2
    assert seen == [(number, len(seen)) for number in range(len(seen))]


def spoilt(photos: pd.DataFrame, *rows: int) -> dict[int, bytes]:
    """What photos were, after half of each was cut off."""
    whole = {row: Path(photos["path"][row]).read_bytes() for row in rows}
    for row, content in whole.items():
        Path(photos["path"][row]).write_bytes(content[: len(content) // 2])
    return whole


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the photos that are prepared from now on."""
    work, done = preparing.prepare_photo, []

    def counted(path: str, key: str, *rest: Any, **settings: Any) -> Any:
        done.append(key)
        return work(path, key, *rest, **settings)

    monkeypatch.setattr(preparing, "prepare_photo", counted)
    return done


def test_all_bad_photos_are_named_at_once_and_what_was_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 4)
    photos = drawn_photos(tmp_path / "photos", 40)
    prepare(photos, tmp_path / "fresh", card=CARD)
    done = counting(monkeypatch)
    whole = spoilt(photos, 20, 21, 30)
    said = refusal(photos, tmp_path / "faces")
    assert said.startswith("3 of 40 photos cannot be used; replace them, or leave them out with --skip-unreadable")
    assert all(f"{row:03d}.png cannot be decoded (image file is truncated" in said for row in whole)
    assert len(done) == 40
    for row, content in whole.items():
        Path(photos["path"][row]).write_bytes(content)
    done.clear()
    prepare(photos, tmp_path / "faces", card=CARD)
    assert {f"p/{row:03d}" for row in whole} <= set(done)
    assert len(done) < 25  # their chunks alone
    assert files_of(tmp_path / "faces") == files_of(tmp_path / "fresh")
    assert not (tmp_path / "faces.partial").exists()


def test_when_bad_photos_are_taken_out_their_chunks_alone_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 4)
    photos = drawn_photos(tmp_path / "photos", 60)
    spoilt(photos, 3, 30)
    refusal(photos, tmp_path / "faces")
    done, fewer = counting(monkeypatch), photos.drop([3, 30])
    prepare(fewer, tmp_path / "faces", card=CARD)
    assert 0 < len(done) < 35
    prepare(fewer, tmp_path / "fresh", card=CARD)
    assert files_of(tmp_path / "faces") == files_of(tmp_path / "fresh")


def test_unreadable_photos_are_left_out_and_listed_where_that_is_asked(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos", 8)
    spoilt(photos, 2, 5)
    done = prepare(photos, tmp_path / "faces", card=CARD, skip_unreadable=True)
    assert (done.faces, sorted(done.unreadable), done.refused) == (6, ["p/002", "p/005"], {})
    assert done.near_duplicates == prepare(photos.drop([2, 5]), tmp_path / "fewer", card=CARD).near_duplicates
    assert "2 photos unreadable and left out (p/002, p/005)" in str(done)
    manifest = read_manifest(done.folder)
    assert sorted(manifest["unreadable"]) == ["p/002", "p/005"]
    assert str(tmp_path) not in (done.folder / "manifest.json").read_text()
    assert open_packed(done.folder).table["key"].tolist() == [f"p/00{row}" for row in (0, 1, 3, 4, 6, 7)]
    assert "2 of 8 photos cannot be used" in refusal(photos, tmp_path / "faces")
    assert prepare(photos, tmp_path / "faces", card=CARD, skip_unreadable=True) == done


def test_of_very_many_bad_photos_the_first_are_named_and_all_are_listed(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos", 50)
    spoilt(photos, *range(50))
    said = refusal(photos, tmp_path / "faces")
    assert "50 of 50 photos cannot be used" in said
    assert "unreadable.txt" in said
    assert "000.png" in said
    assert len((tmp_path / "faces.partial" / "unreadable.txt").read_text().splitlines()) == 50
    with pytest.raises(InputError, match="every photo was refused"):
        prepare(photos, tmp_path / "faces", card=CARD, skip_unreadable=True)


@pytest.mark.parametrize("renew", [False, True])
def test_a_photo_replaced_by_one_of_the_same_size_is_noticed(tmp_path: Path, renew: bool) -> None:
    photos = drawn_photos(tmp_path / "photos")
    for row in (0, 1):
        with Image.open(photos["path"][row]) as photo:
            photo.save(tmp_path / "photos" / f"{row}.bmp")
        photos.loc[row, "path"] = str(tmp_path / "photos" / f"{row}.bmp")
    first, second = (Path(photos["path"][row]) for row in (0, 1))
    prepare(photos, tmp_path / "faces", card=CARD)
    before = first.stat()
    first.write_bytes(second.read_bytes())
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (first.stat().st_size, first.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    if not renew:
        assert "was prepared from other photos" in refusal(photos, tmp_path / "faces")
        return
    prepare(photos, tmp_path / "faces", card=CARD, renew=True)
    faces = open_packed(tmp_path / "faces").images
    assert np.array_equal(faces[0], faces[1])


@pytest.mark.parametrize("name", ["images.npy", "labels.csv", "manifest.json"])
def test_a_damaged_folder_is_one_line_or_made_again(tmp_path: Path, name: str) -> None:
    photos = drawn_photos(tmp_path / "photos")
    prepare(photos, tmp_path / "faces", card=CARD)
    whole = files_of(tmp_path / "faces")
    content = bytearray(whole[name])
    content[len(content) // 2] ^= 4
    (tmp_path / "faces" / name).write_bytes(bytes(content))
    assert name in refusal(photos, tmp_path / "faces")
    prepare(photos, tmp_path / "faces", card=CARD, renew=True)
    assert files_of(tmp_path / "faces") == whole


def test_a_damaged_chunk_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 4)
    photos = drawn_photos(tmp_path / "photos", 40)
    prepare(photos, tmp_path / "fresh", card=CARD)
    spoilt(photos, 0)
    refusal(photos, tmp_path / "faces")
    drawn_photos(tmp_path / "photos", 40)
    chunks = sorted((tmp_path / "faces.partial").glob("chunk-*.npz"))
    for number, chunk in enumerate(chunks):
        content = bytearray(chunk.read_bytes())
        content[len(content) // 3] ^= 1
        chunk.write_bytes([bytes(content), bytes(content[: len(content) // 2]), b"", b"PK"][number % 4])
    prepare(photos, tmp_path / "faces", card=CARD)
    assert files_of(tmp_path / "faces") == files_of(tmp_path / "fresh")


def test_two_preparations_of_one_folder_are_one_and_a_refusal(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    said = []

    def meanwhile(chunks: Iterable[int], _total: int) -> Iterable[int]:
        with pytest.raises(InputError) as caught:
            prepare(photos, tmp_path / "faces", card=CARD, seed=3)
        said.append(str(caught.value))
        return chunks

    prepare(photos, tmp_path / "faces", card=CARD, progress=meanwhile)
    assert said == [f"another `efface prepare` is at work on {tmp_path / 'faces'}: wait for it, or give another folder"]
    verify_packed(tmp_path / "faces")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "photos"]


TOGETHER = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from efface.errors import InputError
from efface.preparation import prepare as preparing
from test_prepare import CARD, drawn_photos
import pandas as pd

preparing.CHUNK = 4
photos = pd.read_pickle(Path(sys.argv[3]) / "photos.pkl")
while time.time() < float(sys.argv[4]):
    pass
try:
    preparing.prepare(photos, Path(sys.argv[3]) / "faces", card=CARD)
except InputError as error:
    print(error)
    sys.exit(2)
"""


def test_processes_that_prepare_one_folder_end_whole_or_in_one_line(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos", 40)
    photos.to_pickle(tmp_path / "photos.pkl")
    words = [str(Path(__file__).parent), str(ROOT / "tests"), str(tmp_path), str(time.time() + 3)]
    started = [
        subprocess.Popen([sys.executable, "-c", TOGETHER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    ended = [(one.communicate(), one.returncode) for one in started]
    assert all(code in (0, 2) and error == b"" for (_, error), code in ended), ended
    assert any(code == 0 for _, code in ended)
    assert all(b"is at work on" in out for (out, _), code in ended if code == 2)
    prepare(photos, tmp_path / "fresh", card=CARD)
    assert files_of(tmp_path / "faces") == files_of(tmp_path / "fresh")


FULL = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from efface.errors import InputError
from efface.preparation import prepare as preparing
from test_prepare import CARD
import pandas as pd

photos = pd.read_pickle(Path(sys.argv[3]) / "photos.pkl")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    preparing.prepare(photos, Path(sys.argv[3]) / "faces", card=CARD, size=(256, 256))
except InputError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("most", [1000, 1_500_000])
def test_a_full_disk_is_one_line_and_the_rest_is_done_when_there_is_room(tmp_path: Path, most: int) -> None:
    """First no chunk can be written, then all of them but not the array of all faces."""
    photos = drawn_photos(tmp_path / "photos", 24)
    photos.to_pickle(tmp_path / "photos.pkl")
    words = [str(Path(__file__).parent), str(ROOT / "tests"), str(tmp_path), str(most)]
    code = FULL.replace("import pandas", "preparing.CHUNK = 4\nimport pandas")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert "cannot be written: File too large" in done.stdout
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / "faces").exists()
    assert not (tmp_path / "faces.unfinished").exists()
    prepare(photos, tmp_path / "faces", card=CARD, size=(256, 256))
    verify_packed(tmp_path / "faces")
    assert not (tmp_path / "faces.partial").exists()


def test_more_than_the_disk_has_room_for_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, done = drawn_photos(tmp_path / "photos"), counting(monkeypatch)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=20_000))
    assert "6 faces take" in refusal(photos, tmp_path / "faces")
    assert not done


def test_the_line_says_all_that_was_found(tmp_path: Path) -> None:
    photos = drawn_photos(tmp_path / "photos")
    shutil.copy(photos["path"][0], photos["path"][5])
    photos.loc[5, EYES] = photos.loc[0, EYES]
    photos["person"] = ["1", "1.0", "2", "3", "4", "5"]
    photos.attrs["left_out"] = {"a.mov": "not read", "b/c.heic": "hidden"}
    done = prepare(photos, tmp_path / "faces", card=CARD)
    assert str(done) == (
        f"{tmp_path / 'faces'}: 6 faces of 6 people; 0 photos refused (listed in manifest.json), 0 with several faces, "
        "1 pair of near duplicates of different people; 2 files left out (1 .mov, 1 .heic): a.mov, b/c.heic; "
        "1 person may stand under several names, each counted as somebody else: “1” and “1.0”."
    )
    assert read_manifest(done.folder)["left_out"] == photos.attrs["left_out"]
    photos.attrs["left_out"] = {"later.gif": "not read"}
    assert prepare(photos, tmp_path / "faces", card=CARD).left_out == {"later.gif": "not read"}


# Back to BioID


@pytest.mark.parametrize("colour", [False, True])
def test_exported_eyes_are_read_back_as_bioid(tmp_path: Path, colour: bool) -> None:
    prepare(drawn_photos(tmp_path / "photos"), tmp_path / "faces", card=CARD, colour=colour)
    face_table = open_packed(tmp_path / "faces")
    export_eyes(face_table, tmp_path / "bioid")
    table = bioid.read(tmp_path / "bioid")
    assert table["key"].tolist() == [f"face_{number:04d}" for number in range(6)]
    assert np.array_equal(table[EYES].to_numpy(), np.rint(face_table.table[EYES].to_numpy()))
    for path, image in zip(table["path"], face_table.images, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), image[0])
    assert (tmp_path / "bioid" / "face_0000.pgm").read_bytes()[:2] == b"P5"
    assert (tmp_path / "bioid" / "face_0000.eye").read_text().startswith("#LX\tLY\tRX\tRY\n")


def test_only_annotated_faces_are_exported(tmp_path: Path) -> None:
    images = np.zeros((1, 1, 8, 8), np.uint8)
    bare = pd.DataFrame({"key": ["a"], "person": ["a"]})
    with pytest.raises(InputError, match="the faces have no left_x"):
        export_eyes(FaceTable(images, bare), tmp_path / "out")
    with pytest.raises(InputError, match="no eye centres"):
        export_eyes(FaceTable(images, bare.assign(**dict.fromkeys(EYES, np.nan))), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not empty"):
        export_eyes(FaceTable(images, bare.assign(**dict.fromkeys(EYES, 3.0))), tmp_path / "mine")
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


# With the real detector


def real_photos(count: int) -> pd.DataFrame:
    """Some photos of LFW, of different people, with YuNet's eyes as they were found by someone else."""
    return lfw.read(shared("faces/lfw") / "photos").drop_duplicates("person").iloc[:count].reset_index(drop=True)


def test_detected_eyes_are_where_eyes_are(tmp_path: Path) -> None:
    import cv2

    weights, photos = yunet(), real_photos(8)
    Image.fromarray(np.full((90, 90), 128, np.uint8)).save(tmp_path / "wall.png")
    nobody = pd.DataFrame({"key": ["wall"], "path": [str(tmp_path / "wall.png")], "person": ["wall"]})
    threads = cv2.getNumThreads()
    table = pd.concat([photos, nobody], ignore_index=True)
    done = prepare(table, tmp_path / "faces", card=CARD, size=(125, 125), eyes="detected", detector=weights)
    assert cv2.getNumThreads() == threads
    assert done.refused == {"wall": "no face detected"}
    face_table = open_packed(done.folder)
    found = (face_table.table[EYES].to_numpy() + 0.5) * 2 - 0.5
    known = photos[EYES].to_numpy()
    apart = np.hypot(known[:, 0] - known[:, 2], known[:, 1] - known[:, 3])
    error = np.hypot(*(found - known).reshape(-1, 2, 2).transpose(2, 1, 0)).max(axis=0) / apart
    assert face_table.table["key"].tolist() == photos["key"].tolist()
    assert (error < 0.2).all()
    assert read_manifest(done.folder)["settings"]["detector"] is not None


def test_detection_is_the_same_in_any_order_and_company(tmp_path: Path) -> None:
    weights, photos = yunet(), real_photos(6)
    for name, table in (("a", photos), ("b", photos.iloc[::-1])):
        prepare(table, tmp_path / name, card=CARD, crop="box", eyes="detected", detector=weights)
    a, b = (open_packed(tmp_path / name) for name in "ab")
    assert np.array_equal(a.images, b.images[::-1])
    assert np.array_equal(a.table[EYES], b.table[EYES].iloc[::-1])


def test_aligned_faces_have_their_eyes_on_the_template(tmp_path: Path) -> None:
    weights, photos = yunet(), real_photos(6)
    prepare(photos, tmp_path / "faces", card=CARD, crop="align", size=(56, 84), eyes="detected", detector=weights)
    eyes = open_packed(tmp_path / "faces").table[EYES].to_numpy()
    expected = (TEMPLATE[[1, 0]] + 0.5) * 0.75 - [14, 0] - 0.5
    assert np.abs(eyes - expected.ravel()).mean() < 1.2
    assert np.abs(eyes - expected.ravel()).max() < 4


def test_a_crop_of_96x112_is_that_of_sphereface() -> None:
    published = np.array(
        [(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)]
    )
    assert np.allclose(align(published + 0.5, (96, 112)), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    assert np.allclose(align(2 * (published + 0.5), (48, 56)), [[4, 0, 0], [0, 4, 0]], atol=1e-9)
    assert np.allclose(align(TEMPLATE + 0.5, (112, 112)), [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    assert np.allclose(align(TEMPLATE + 0.5, (56, 56)), [[2, 0, 0], [0, 2, 0]], atol=1e-9)


def test_alignment_agrees_with_the_published_one() -> None:
    root = shared("faces/lfw")
    landmarks = pd.read_csv(root / "landmarks_250px.csv").set_index("path")
    names = [
        name for name in landmarks.index if (root / "photos" / name).exists() and (root / "aligned" / name).exists()
    ]
    assert names

    def apart(name: str, shift: tuple[float, float]) -> float:
        points = landmarks.loc[name].to_numpy(dtype=float).reshape(5, 2) + 0.5
        place = similarity(TEMPLATE + 0.5, points)
        place[:, 2] += place[:, :2] @ shift
        ours = np.asarray(render(Image.open(root / "photos" / name), place, (112, 112))).astype(float)
        theirs = np.asarray(Image.open(root / "aligned" / name)).astype(float)
        return float(np.abs(ours - theirs)[4:-4, 4:-4].mean())

    shifts = [(0.0, 0.0), (0.4, 0.0), (-0.4, 0.0), (0.0, 0.4), (0.0, -0.4)]
    exact, *others = [np.mean([apart(name, shift) for name in names[:10]]) for shift in shifts]
    assert exact < 6
    assert exact < min(others)


def test_annotated_eyes_choose_the_face(tmp_path: Path) -> None:
    weights, photos = yunet(), real_photos(2)
    pair = np.concatenate([np.asarray(Image.open(path).convert("RGB")) for path in photos["path"]], axis=1)
    picture = Image.fromarray(pair)
    detector = Detector(weights)
    for number in range(2):
        eyes = photos[EYES].iloc[number].to_numpy(dtype=float).reshape(2, 2) + 0.5 + [250 * number, 0]
        face, count = find_face(picture, detector, eyes)
        assert count >= 2
        assert face is not None
        apart = np.hypot(*(eyes[0] - eyes[1]))
        assert np.abs(face.points[[1, 0]] - eyes).max() < 0.2 * apart
    assert find_face(picture, detector, np.array([[20.0, 240], [10, 240]]))[0] is None


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (700, 1), (31, 33), (64, 64)])
def test_pictures_too_small_for_a_face_have_none(size: tuple[int, int]) -> None:
    assert find_face(Image.new("RGB", size, "white"), Detector(yunet()), None) == (None, 0)
