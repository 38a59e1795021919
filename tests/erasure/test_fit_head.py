"""A head that people leave: afterwards its files are those of a fit that never had them."""

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid
from torch import nn

from conftest import packed, refusal
from efface.cli import app
from efface.data.faces import EYES
from efface.data.photos import load
from efface.data.vectors import units
from efface.datasets import READERS, read_photos
from efface.erasure.embedding import load_embedder
from efface.erasure.fit_head import HEAD, SUMS, fit_head, take_out
from efface.files import sha256_of
from efface.models import MODELS
from efface.models.load import save_weights
from efface.preparation.packed import open_packed

PEOPLE, PHOTOS = 12, 3


class Net(nn.Module):
    """A network of somebody's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images)
        return features


def build(_shape: tuple[int, int, int]) -> nn.Module:
    """As --arch names it."""
    return Net()


ARCH = f"{__name__}:build"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "net.pt"
    torch.save({"state_dict": {f"module.{name}": one for name, one in Net().state_dict().items()}}, path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest; only the last person is of the class z."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(PEOPLE):
        for photo in range(PHOTOS):
            name = f"p{number}-{photo}.png"
            Image.fromarray(rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)).save(folder / name)
            smile, group = int(rng.random() < 0.5), "z" if number == PEOPLE - 1 else "xy"[number % 2]
            rows.append((name, f"P{number}", rng.uniform(1, 90), rng.normal(), smile, group))
    table = pd.DataFrame(rows, columns=["path", "person", "age", "weight", "smile", "class"])
    table.to_csv(folder / "manifest.csv", index=False)
    return folder


def without(photos: Path, folder: Path, people: set[str]) -> Path:
    """The same folder without some people."""
    folder.mkdir()
    table = pd.read_csv(photos / "manifest.csv")
    table = table[~table["person"].isin(people)].assign(path=lambda rows: [str(photos / name) for name in rows["path"]])
    table.to_csv(folder / "manifest.csv", index=False)
    return folder


def tensors(out: Path) -> dict[str, Any]:
    with safe_open(out / HEAD, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


KINDS: dict[str, dict[str, Any]] = {
    "regression": {"task": "regression", "labels": ["age", "weight"]},
    "attributes": {"task": "attributes", "labels": ["smile"]},
    "classes": {"task": "classes", "labels": ["class"]},
    "recognition": {"task": "recognition"},
}
GONE = ["P3", f"P{PEOPLE - 1}"]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_both_files_are_those_of_a_fit_without_them(
    kind: str, keep: bool, weights: Path, photos: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {**KINDS[kind], "model": weights, "arch": ARCH, "size": (16, 20), "keep_features": keep}
    fit_head(photos, tmp_path / "all", **settings)
    given: dict[str, Any] = {} if keep else {"photos": photos, "model": weights, "arch": ARCH, "size": (16, 20)}
    take_out(tmp_path / "all", GONE[:1], **given)
    done = take_out(tmp_path / "all", GONE[1:], **given)
    assert "identical to retraining the head" in str(done)
    assert "nothing was forgotten there" in str(done)
    fit_head(without(photos, tmp_path / "left", set(GONE)), tmp_path / "never", **settings)
    ours, expected = tensors(tmp_path / "all"), tensors(tmp_path / "never")
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert ours[name].shape == value.shape
        assert np.abs(ours[name] - value).max() < 1e-8
    with np.load(tmp_path / "all" / SUMS) as one, np.load(tmp_path / "never" / SUMS) as other:
        for name in other:
            if other[name].dtype.kind == "f":
                assert one[name].shape == other[name].shape
                assert np.abs(one[name] - other[name]).max(initial=0) < 1e-8
            else:
                assert (one[name] == other[name]).all()


def test_they_are_scikit_learns(weights: Path, photos: Path, tmp_path: Path) -> None:
    table = pd.read_csv(photos / "manifest.csv")
    embedder = load_embedder(weights, ARCH, (16, 20))
    images = np.stack([np.asarray(Image.open(photos / name)).transpose(2, 0, 1) for name in table["path"]])
    features = embedder.features(images).astype(np.float64)
    left = ~table["person"].isin(GONE)
    for kind in ("regression", "recognition"):
        fit_head(photos, tmp_path / kind, **KINDS[kind], model=weights, arch=ARCH, size=(16, 20), keep_features=True)
        take_out(tmp_path / kind, GONE)
    refit = Ridge(alpha=1.0).fit(features[left], table[left][["age", "weight"]])
    found = tensors(tmp_path / "regression")
    assert np.abs(found["weight"] - refit.coef_).max() < 1e-8
    assert np.abs(found["bias"] - refit.intercept_).max() < 1e-8
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    refit = NearestCentroid().fit(unit[left], table[left]["person"])
    assert np.abs(tensors(tmp_path / "recognition")["prototypes"] - refit.centroids_).max() < 1e-6  # of 32 bits
    with safe_open(tmp_path / "recognition" / HEAD, "np") as file:
        assert json.loads(file.metadata()["efface"])["outputs"] == refit.classes_.tolist()


def test_files_are_their_owners_and_name_nobody_who_left(weights: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "head"
    fit_head(photos, out, **KINDS["recognition"], model=weights, arch=ARCH, size=(16, 20), keep_features=True)
    with np.load(out / SUMS) as before:
        gone = before["people"] == "P3"
        traces = [*before["pictures"][gone], *before["features"][gone], before["gram"][before["names"] == "P3"][0]]
    take_out(out, ["P3"])
    assert {path.name for path in out.iterdir()} == {HEAD, SUMS}
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    with np.load(out / SUMS, allow_pickle=False) as after:
        held = b"".join(after[name].tobytes() for name in after) + (out / HEAD).read_bytes()
    assert not [trace for trace in traces if trace.tobytes() in held]
    assert b'"P3"' not in held
    assert "P3".encode("utf-32-le") + bytes(4) not in held


def test_eyes_on_the_features_of_an_own_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"key": [f"k{n}" for n in range(6)], "person": list("aabbcc")})
    table = table.assign(**dict(zip(EYES, rng.uniform(2, 20, (4, 6)), strict=True)))
    faces = packed(tmp_path / "faces", table, (1, 24, 24))
    settings = {"widths": [4, 6, 8], "hidden": 8}
    model = MODELS["eyenet"]((1, 24, 24), widths=(4, 6, 8), hidden=8)
    record = {"model": "eyenet", "model_settings": settings, "shape": [1, 24, 24], "task": "eyes", "classes": 0}
    save_weights(model, tmp_path / "net.safetensors", record)
    fit_head(faces, tmp_path / "head", model=tmp_path / "net.safetensors", task="eyes", penalty=0.1)
    take_out(tmp_path / "head", ["b"], photos=faces, model=tmp_path / "net.safetensors")
    embedder = load_embedder(tmp_path / "net.safetensors")
    features = embedder.features(np.array(open_packed(faces).images))
    assert features.shape == (6, 8)  # the hidden units
    left = (table["person"] != "b").to_numpy()
    refit = Ridge(alpha=0.1).fit(features[left].astype(np.float64), table[left][EYES])
    assert np.abs(tensors(tmp_path / "head")["weight"] - refit.coef_).max() < 1e-8


def test_what_cannot_be_used_is_one_line(weights: Path, photos: Path, tmp_path: Path) -> None:
    good: dict[str, Any] = {"model": weights, "arch": ARCH, "size": (16, 20)}
    out = tmp_path / "head"
    assert "takes one --label" in refusal(fit_head, photos, out, task="classes", **good)
    assert "takes no --label" in refusal(fit_head, photos, out, task="recognition", labels=["age"], **good)
    assert "did you mean 'age'" in refusal(fit_head, photos, out, task="regression", labels=["agee"], **good)
    assert "not a number" in refusal(fit_head, photos, out, task="regression", labels=["class"], **good)
    assert "neither yes" in refusal(fit_head, photos, out, task="attributes", labels=["age"], **good)
    assert "expected a number above 0" in refusal(
        fit_head, photos, out, task="regression", labels=["age"], penalty=0, **good
    )
    assert "no packed folder" in refusal(fit_head, photos, out, task="eyes", **good)
    assert "--arch" in refusal(fit_head, photos, out, task="recognition", model=weights)
    assert not out.exists()
    assert "does not exist" in refusal(take_out, out, ["P3"])
    fit_head(photos, out, task="recognition", **good)
    assert "holds a head already" in refusal(fit_head, photos, out, task="recognition", **good)
    before = (out / SUMS).read_bytes()
    assert refusal(take_out, out, ["P3", "Zoe"]).endswith("give names as in the manifest")
    assert "did you mean 'P3'?" in refusal(take_out, out, ["P33"])
    assert "keeps no features" in refusal(take_out, out, ["P3"])
    other = tmp_path / "other.safetensors"
    save_file({name: one + 1 for name, one in Net().state_dict().items()}, other)
    assert "sha256 differs" in refusal(take_out, out, ["P3"], photos=photos, model=other, arch=ARCH, size=(16, 20))
    less = without(photos, tmp_path / "less", {"P3"})
    assert "3 of the 3 photos of P3" in refusal(take_out, out, ["P3"], photos=less, **good)
    assert "nobody would be left" in refusal(take_out, out, [f"P{n}" for n in range(PEOPLE)], photos=photos, **good)
    assert (out / SUMS).read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "names", "targets", "pickle"])
def test_damaged_sums_are_one_line(damage: str, weights: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "head"
    fit_head(photos, out, **KINDS["classes"], model=weights, arch=ARCH, size=(16, 20), keep_features=True)
    with np.load(out / SUMS) as file:
        columns = dict(file)
    if damage == "cut":
        (out / SUMS).write_bytes((out / SUMS).read_bytes()[:-200])
    else:
        wrong = {
            "names": columns["names"][:1],
            "targets": columns["targets"] + 7,
            "pickle": np.array([{}, {}], object),
        }
        np.savez(out / SUMS, **{**columns, ("names" if damage == "pickle" else damage): wrong[damage]})
    assert "is not what `efface fit-head` wrote" in refusal(take_out, out, ["P3"])


def test_the_command(weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "head")
    words = ["fit-head", str(photos), "--model", str(weights), "--arch", ARCH, "--size", "16", "20", "--out", out]
    app([*words, "--task", "regression", "--label", "age", "--keep-features"], standalone_mode=False)
    app(["fit-head", "--out", out, "--forget", "P3", "--forget", "P5"], standalone_mode=False)
    assert "P3, P5 taken out (6 photos" in capsys.readouterr().out
    with np.load(tmp_path / "head" / SUMS) as file:
        assert not np.isin(["P3", "P5"], file["people"]).any()
    assert "people leave it with --forget" in refusal(
        app, ["fit-head", "--out", str(tmp_path / "other")], standalone_mode=False
    )


def test_photos_are_shown_as_a_contract_says(photos: Path, weights: Path, tmp_path: Path) -> None:
    """Blue first, from 0 to 1: the head is the one of a network behind such a contract, and people leave it by the
    same contract alone."""
    contract = tmp_path / "contract.toml"
    contract.write_text(
        f'[model]\nsha256 = "{sha256_of(weights)}"\n[contract]\nsize = [16, 20]\ntemplate = "whole"\n'
        'mean = [0.0]\nstd = [255.0]\nchannels = "bgr"\n',
        encoding="utf-8",
    )
    given: dict[str, Any] = {"photos": photos, "model": weights, "arch": ARCH, "contract": contract}
    fit_head(out=tmp_path / "head", **KINDS["recognition"], **given)
    embedder = load_embedder(weights, ARCH, contract=contract)
    table = read_photos(READERS["folder"], photos)
    mine = table["person"] == "P3"
    shown = np.stack([embedder.face(load(Path(path), upright=True)) for path in table["path"][mine]])
    people = tensors(tmp_path / "head")["prototypes"]
    meant = units(units(embedder.features(shown)).mean(0)[None])[0]
    place = sorted(set(table["person"])).index("P3")
    assert float(units(people)[place] @ meant) == pytest.approx(1, abs=1e-5)
    assert "with another --contract" in refusal(
        take_out, tmp_path / "head", ["P3"], photos=photos, model=weights, arch=ARCH, size=(16, 20)
    )
    assert take_out(tmp_path / "head", ["P3"], **given).taken_out == ["P3"]
