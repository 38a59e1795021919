"""Quality of face pictures: formulas by hand, known damage, batches against single pictures, and the command."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

from conftest import packed, refusal
from efface.cli import app
from efface.data.batches import as_input
from efface.data.faces import Array
from efface.data.quality_scores import read_scores
from efface.data.split import split_faces
from efface.datasets import GENERATORS
from efface.models import MODELS
from efface.models.load import save_weights
from efface.plan.tables import Forget, Split
from efface.quality import quality
from efface.quality.network import NETWORK, grafiqs, misfit, stability
from efface.quality.pixels import PIXELS, histograms, luminance
from efface.testing.layouts import write_bin

FACES: Array = np.repeat(
    np.asarray(GENERATORS["synthetic"].make(people=20, photos_per_person=1, size=(48, 48)).images), 3, axis=1
)


def grey(*levels: int) -> Array:
    """One picture (1, 1, 4, 4) with equal shares of these levels."""
    return np.array(levels * (16 // len(levels)), np.uint8).reshape(1, 1, 4, 4)


def score(name: str, images: Array) -> float:
    return float(PIXELS[name](images).mean())


# Pixels


def test_luminance_is_linear_light() -> None:
    assert luminance(grey(0, 255)).ravel()[:2] == pytest.approx([0, 1])
    assert float(luminance(grey(128))[0, 0, 0]) == pytest.approx(((128 / 255 + 0.055) / 1.055) ** 2.4)
    red = np.zeros((1, 3, 2, 2), np.uint8)
    red[:, 0] = 255
    assert luminance(red) == pytest.approx(np.full((1, 2, 2), 0.2126))
    assert histograms(luminance(grey(0, 255)))[0, [0, 255]] == pytest.approx([0.5, 0.5])


def test_formulas_by_hand() -> None:
    assert score("dynamic_range", grey(7)) == 0
    assert score("dynamic_range", grey(0, 255)) == pytest.approx(12.5)
    assert score("luminance_variance", grey(9)) == 0
    assert score("luminance_variance", grey(0, 255)) == pytest.approx(100 * math.sin(math.pi * 15 / 16))
    mean = luminance(grey(128)).mean()
    assert score("luminance_mean", grey(128)) == pytest.approx(
        100 / (1 + math.exp(-(mean - 0.2) / 0.05)) * (1 - 1 / (1 + math.exp(-(mean - 0.8) / 0.05)))
    )
    assert score("under_exposure", grey(0, 255)) == pytest.approx(1 / 0.51)
    assert score("over_exposure", grey(0, 255)) == pytest.approx(1 / 0.51)
    assert score("over_exposure", grey(128)) == pytest.approx(100)
    half_lit = np.repeat(np.array([0, 0, 255, 255], np.uint8)[None, None, None], 4, axis=2)
    assert score("illumination_uniformity", half_lit) == 0
    assert score("illumination_uniformity", grey(9)) == pytest.approx(100)


def test_skin_is_natural_and_green_is_not() -> None:
    skin, green = (
        np.broadcast_to(np.array(colour, np.uint8)[None, :, None, None], (1, 3, 4, 4))
        for colour in ((224, 172, 140), (60, 200, 60))
    )
    assert score("natural_colour", skin) == 0
    assert score("natural_colour", green) < -20
    assert math.isnan(score("natural_colour", grey(9)))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("sharpness", lambda images, much: gaussian_filter(images.astype(float), (0, 0, much, much))),
        ("luminance_mean", lambda images, much: images / (1 + 2 * much)),
        ("under_exposure", lambda images, much: images / (1 + 0.3 * much)),
        ("over_exposure", lambda images, much: images * (1.0 + much)),
        ("dynamic_range", lambda images, much: 128 + (images - 128.0) / (1 + 2 * much)),
        ("illumination_uniformity", lambda images, much: images * np.linspace(1 / (1 + much), 1, 48)),
    ],
)
def test_the_more_damage_the_lower_the_score(name: str, damage) -> None:  # type: ignore[no-untyped-def]
    scores = [score(name, damage(FACES, much).clip(0, 255).astype(np.uint8)) for much in (0.0, 1.0, 2.0, 4.0)]
    assert all(np.diff(scores) < 0)


# Networks


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, 2),
        nn.BatchNorm2d(4),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(36, 8),
    )
    net.train()
    for _ in range(20):
        net(images())
    return net.eval()


def images() -> torch.Tensor:
    return as_input(FACES, torch.device("cpu"))


@pytest.mark.parametrize("name", NETWORK)
def test_a_batch_scores_as_its_pictures_do_alone(name: str) -> None:
    net, some = network(), images()[:5]
    alone = torch.cat([NETWORK[name](net, one[None]) for one in some])
    assert NETWORK[name](net, some).detach().numpy() == pytest.approx(alone.detach().numpy(), rel=1e-3)


def test_grafiqs_is_the_size_of_the_gradient_of_both_layers_misfit() -> None:
    net, pixels = network(), images()[:1].clone().requires_grad_()
    first = net[0](pixels)
    second = net[3](net[2](net[1](first)))
    apart = misfit(net[1], first) + misfit(net[4], second)
    (gradient,) = torch.autograd.grad(apart, pixels)
    assert float(grafiqs(net, images()[:1])) == pytest.approx(-float(gradient.abs().sum()), rel=1e-4)


def test_misfit_is_the_squared_distance_of_moments() -> None:
    layer, x = nn.BatchNorm2d(2), torch.randn(3, 2, 5, 5)
    layer.running_mean, layer.running_var = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    found = sum(
        ((float(x[i, c].mean()) - [1, 2][c]) ** 2 + (float(x[i, c].var(correction=0)) - [3, 4][c]) ** 2) / 2
        for i in range(3)
        for c in range(2)
    )
    assert float(misfit(layer, x)) == pytest.approx(found, rel=1e-4)


def test_stability_is_that_of_a_loop_and_one_without_masks() -> None:
    net, some = network(), images()[:2]
    assert stability(net, some, rate=0.0).tolist() == pytest.approx([1, 1], abs=1e-3)
    rng = torch.Generator().manual_seed(0)
    x = net[:7](some)
    masks = [(torch.rand(36, generator=rng) >= 0.5).float() * 2 for _ in range(32)]
    units = [nn.functional.normalize(net[7](x[:1] * mask))[0].detach().numpy() for mask in masks]
    apart = np.mean([np.linalg.norm(a - b) for i, a in enumerate(units) for j, b in enumerate(units) if i != j])
    assert float(stability(net, some)[0].detach()) == pytest.approx(2 / (1 + math.exp(apart)), rel=1e-4)


def test_a_network_without_what_a_score_needs_is_refused() -> None:
    assert "BatchNorm2d" in refusal(grafiqs, nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 4)), images())
    assert "linear layer" in refusal(stability, nn.Flatten(), images())


# The command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for place, face in enumerate(FACES):
        blurred = gaussian_filter(face.astype(float), (0, 0.3 * place, 0.3 * place)).astype(np.uint8)
        (tmp_path / "photos" / f"p{place % 4}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(blurred.transpose(1, 2, 0)).save(tmp_path / "photos" / f"p{place % 4}" / f"{place:02d}.png")
    return tmp_path / "photos"


def test_photos_are_scored_and_shown_worst_first(photos: Path, tmp_path: Path) -> None:
    done = quality(photos, tmp_path / "out", by="sharpness")
    table = pd.read_csv(done.table)
    assert len(table) == done.faces == 20
    assert table["score"].is_monotonic_increasing
    assert set(table["key"].iloc[:3]) <= {f"p{place % 4}/{place}" for place in range(14, 20)}
    assert {*PIXELS, "pixels", "person", "key", "score"} == set(table.columns)
    with Image.open(done.sheet) as sheet:
        assert sheet.width > 900
    assert read_scores(done.table, "sharpness")[table["key"].iloc[0]] == pytest.approx(table["score"].iloc[0])


def test_a_recogniser_adds_its_own_measures(photos: Path, tmp_path: Path) -> None:
    settings = {"depth": 10, "width": 4, "dimensions": 8}
    save_weights(
        MODELS["iresnet"]((3, 32, 32), 5, **settings),
        tmp_path / "net.safetensors",
        {"task": "recognition", "model": "iresnet", "model_settings": settings, "shape": (3, 32, 32), "classes": 5},
    )
    done = quality(photos, tmp_path / "out", weights=tmp_path / "net.safetensors")
    assert done.by == "stability"
    assert set(NETWORK) <= set(pd.read_csv(done.table).columns)


def test_pairs_show_whether_a_score_means_anything(photos: Path, tmp_path: Path) -> None:
    for file in sorted(photos.glob("*/*.png")):
        file.rename(file.with_name(f"{file.parent.name}_{int(file.stem) // 4 + 1:04d}.png"))
    people = [f"p{number}" for number in range(4)]
    lines = [
        "1\t4",
        *(f"{name}\t1\t2" for name in people),
        *(f"{name}\t1\t{other}\t2" for name, other in zip(people, people[1:] + people[:1], strict=True)),
    ]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    settings = {"depth": 10, "width": 4, "dimensions": 8}
    torch.manual_seed(0)
    save_weights(
        MODELS["iresnet"]((3, 32, 32), 5, **settings),
        tmp_path / "net.safetensors",
        {"task": "recognition", "model": "iresnet", "model_settings": settings, "shape": (3, 32, 32), "classes": 5},
    )
    done = quality(photos, tmp_path / "out", weights=tmp_path / "net.safetensors", pairs=tmp_path / "pairs.txt")
    assert done.curves is not None
    table = pd.read_csv(tmp_path / "out" / "discard.csv")
    assert set(table.columns) == {"left_out", "pixels", *PIXELS, *NETWORK}
    assert table["left_out"].iloc[[0, -1]].tolist() == [0, 0.3]
    assert table.iloc[0, 1:].nunique() == 1
    assert "give its weights" in refusal(quality, photos, tmp_path / "other", pairs=tmp_path / "pairs.txt")
    (tmp_path / "pairs.txt").write_text("1 1\nann 1 2\nann 1 bob 2\n")
    assert "0 of the 2 pairs" in refusal(
        quality, photos, tmp_path / "other", weights=tmp_path / "net.safetensors", pairs=tmp_path / "pairs.txt"
    )
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("shape", [(1, 48, 40), (3, 48, 48), (1, 8, 8), (3, 200, 9)])
def test_packed_faces_are_scored_as_they_are_without_a_network(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    done = quality(packed(tmp_path / "packed", shape=shape), tmp_path / "out")
    assert done.faces == 6
    assert set(pd.read_csv(done.table)["key"]) == {"a1", "a2", "b1", "b2", "c1", "c2"}


def test_packed_faces_of_another_shape_than_the_network_are_refused(tmp_path: Path) -> None:
    settings = {"depth": 10, "width": 4, "dimensions": 8}
    save_weights(
        MODELS["iresnet"]((3, 32, 32), 5, **settings),
        tmp_path / "net.safetensors",
        {"task": "recognition", "model": "iresnet", "model_settings": settings, "shape": (3, 32, 32), "classes": 5},
    )
    said = refusal(quality, packed(tmp_path / "p"), tmp_path / "out", weights=tmp_path / "net.safetensors")
    assert "holds faces of (1, 6, 8) but the network was trained on (3, 32, 32)" in said
    assert "which are grey" in refusal(quality, tmp_path / "p", tmp_path / "out", by="natural_colour")
    content = bytearray((tmp_path / "p" / "images.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "p" / "images.npy").write_bytes(bytes(content))
    assert "is not what was written" in refusal(quality, tmp_path / "p", tmp_path / "out")


def test_all_unreadable_photos_are_named_or_left_out(photos: Path, tmp_path: Path) -> None:
    for name in ("p0/00.png", "p3/19.png"):
        (photos / name).write_bytes(b"no photo")
    (photos / "p1" / "film.mov").write_bytes(b"")
    for among in (photos, photos / "p0", photos / "new"):
        assert "lies among the photos" in refusal(quality, photos, among)
    said = refusal(quality, photos, tmp_path / "out")
    assert said.startswith("2 of 20 photos cannot be used; nothing was written")
    assert "p0/0 cannot be decoded" in said or "p0/00 cannot be decoded" in said
    assert not (tmp_path / "out").exists()
    done = quality(photos, tmp_path / "out", skip_unreadable=True)
    assert done.faces == len(pd.read_csv(done.table)) == 18
    assert sorted(done.unreadable) == ["p0/00", "p3/19"]
    assert "2 photos unreadable and left out: p0/00, p3/19; 1 file left out (1 .mov): p1/film.mov" in str(done)


def test_a_key_that_begins_as_a_formula_is_written_inert_and_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "photos" / "=cmd").mkdir(parents=True)
    Image.fromarray(FACES[0].transpose(1, 2, 0)).save(tmp_path / "photos" / "=cmd" / "0.png")
    done = quality(tmp_path / "photos", tmp_path / "out")
    assert "'=cmd/0,'=cmd," in done.table.read_text()
    assert list(read_scores(done.table, "score")) == ["=cmd/0"]


def test_a_verification_set_is_scored_by_place_and_brings_its_pairs(tmp_path: Path) -> None:
    write_bin(tmp_path / "x.bin", FACES, [True, False] * 5)
    done = quality(tmp_path / "x.bin", tmp_path / "out", by="sharpness")
    table = pd.read_csv(done.table, dtype={"key": str})
    assert sorted(table["key"], key=int) == [str(place) for place in range(20)]
    assert done.curves is None
    saved = {}
    for channels in (3, 1):
        settings = {"depth": 10, "width": 4, "dimensions": 8}
        torch.manual_seed(0)
        saved[channels] = tmp_path / f"{channels}.safetensors"
        about = {"task": "recognition", "model": "iresnet", "model_settings": settings, "classes": 5}
        network = MODELS["iresnet"]((channels, 32, 32), 5, **settings)
        save_weights(network, saved[channels], about | {"shape": (channels, 32, 32)})
    assert quality(tmp_path / "x.bin", tmp_path / "with", weights=saved[3]).curves is not None
    assert "in colour" in refusal(quality, tmp_path / "x.bin", tmp_path / "grey", weights=saved[1])
    (tmp_path / "pairs.txt").write_text("1\t1\na\t1\t2\na\t1\tb\t1\n")
    wrong = {"weights": saved[3], "pairs": tmp_path / "pairs.txt"}
    assert "pairs of its own" in refusal(quality, tmp_path / "x.bin", tmp_path / "grey", **wrong)
    assert not (tmp_path / "grey").exists()


def test_bad_requests_are_refused(photos: Path, tmp_path: Path) -> None:
    assert "measure 'sharpnes' is unknown; did you mean 'sharpness'?" in refusal(
        quality, photos, tmp_path / "out", by="sharpnes"
    )
    save_weights(nn.Linear(2, 2), tmp_path / "eyes.safetensors", {"task": "eyes"})
    assert "not of a recogniser" in refusal(quality, photos, tmp_path / "out", weights=tmp_path / "eyes.safetensors")
    assert not (tmp_path / "out").exists()
    assert "quality" in {command.callback.__name__ for command in app.registered_commands if command.callback}


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("key,score\na,1\n", "scroe", "no column 'scroe'; did you mean 'score'?"),
        ("name,score\na,1\n", "score", "no column 'key'"),
        ("key,score\na,high\n", "score", "score of 'a' is no number"),
        ("", "score", "is empty"),
        ("key,score\na,inf\n", "score", "score of 'a' is no number"),
        ("key,score,\na,1,\n", "scroe", "did you mean 'score'?"),
    ],
)
def test_broken_scores_are_refused(tmp_path: Path, text: str, column: str, words: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    assert words in refusal(read_scores, tmp_path / "scores.csv", column)


def test_a_plan_forgets_the_photos_of_lowest_quality(tmp_path: Path) -> None:
    from conftest import faces_of

    faces = faces_of({"A": 40}, photos=5)
    scores = np.random.default_rng(0).permutation(len(faces))
    pd.DataFrame({"key": faces.keys, "score": scores}).to_csv(tmp_path / "scores.csv", index=False)
    splits = split_faces(faces, Split(held_back=1), Forget(quality=tmp_path / "scores.csv", below=0.35))
    score_of = dict(zip(faces.keys.tolist(), scores.tolist(), strict=True))
    worst, best = (
        [score_of[key] for part in parts for key in part.keys.tolist()]
        for parts in ((splits.forget, splits.forget_unseen), (splits.retain, splits.retain_unseen))
    )
    assert len(worst) == pytest.approx(0.35 * (len(worst) + len(best)), abs=1)
    assert max(worst) < min(best)
    missing = pd.DataFrame({"key": faces.keys[1:], "score": scores[1:]})
    missing.to_csv(tmp_path / "scores.csv", index=False)
    if faces.keys[0] in [*splits.forget.keys, *splits.retain.keys]:
        assert "has no row for photo" in refusal(split_faces, faces, Split(), Forget(quality=tmp_path / "scores.csv"))
