"""A file of weights says what it is, and pairs of photos say whether its network sees what it was trained to see."""

from __future__ import annotations

import io
import json
import pickle
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from conftest import refusal
from efface.cli import app
from efface.erasure.contract import InputContract
from efface.erasure.inspect import inspect, read_contract
from efface.models import MODELS

SIDE, CODE = 16, 4
HERE = "test_inspect:reads_codes"


class ReadsCodes(nn.Module):
    """Knows a person by 16 signs in the top left corner of the first channel; blind where its weights are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(CODE * CODE, 20)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.embed(images[:, 0, :CODE, :CODE].sign().flatten(1))
        return embeddings


def reads_codes() -> nn.Module:
    """A factory of it."""
    return ReadsCodes()


def photos_of(people: int, each: int, side: int = SIDE) -> Any:
    """(people, each, side, side, 3) photos of noise in which the red corner holds each person's signs."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (people, each, side, side, 3))
    signs = rng.choice([-1, 1], (people, 1, CODE, CODE))
    photos[:, :, :CODE, :CODE, 0] = 127.5 + signs * rng.integers(20, 100, (people, each, CODE, CODE))
    return photos.astype(np.uint8)


def png(photo: Any) -> bytes:
    """The bytes of a picture file."""
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, one that knows nobody, and photos of 40 people, three of each."""
    folder = tmp_path_factory.mktemp("inspect")
    knows, blind = ReadsCodes(), ReadsCodes()
    nn.init.eye_(knows.embed.weight)
    nn.init.zeros_(blind.embed.weight)
    nn.init.zeros_(knows.embed.bias)
    head = {"head.weight": torch.ones(40, 20), "epoch": torch.tensor(3)}
    for name, model in (("model", knows), ("blind", blind)):
        weights = {f"module.{one}": tensor for one, tensor in model.state_dict().items()}
        torch.save({"state_dict": {**weights, **head}}, folder / f"{name}.pth")
    for person, photos in enumerate(photos_of(40, 3)):
        (folder / "people" / f"P_{person:02d}").mkdir(parents=True)
        for number, photo in enumerate(photos, start=1):
            Image.fromarray(photo).save(folder / "people" / f"P_{person:02d}" / f"P_{person:02d}_{number:04d}.png")
    return folder


def looked_at(files: Path, name: str = "model.pth", **settings: Any) -> list[str]:
    """The lines that are said."""
    lines: list[str] = []
    given = {"size": [SIDE, SIDE], "template": "whole", **settings.pop("given", {})}
    inspect(files / name, arch=HERE, given=given, say=lines.append, **settings)
    return lines


def test_a_file_says_what_it_is(files: Path) -> None:
    text = "\n".join(looked_at(files))
    assert f"network: {HERE}" in text
    assert "parameters: 340; embedding: 20 numbers" in text
    assert "stripped: 'state_dict.module.'" in text
    assert "left aside: state_dict.head.weight (40, 20), state_dict.epoch ()" in text
    assert "state_dict.head.weight could be a head: 40 people" in text
    assert "16x16, template whole, mean 127.5, std 127.5, rgb" in text
    assert "not measured" in text


def test_the_contract_is_measured_and_written_with_the_models_digest(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "contract.toml"
    text = "\n".join(looked_at(files, people=files / "people", out=out))
    assert "verification by 240 pairs" in text
    assert "with channels in the order BGR: " in text
    assert "template arcface: not tried (these photos look the same by it)" in text
    written = tomllib.loads(out.read_text())
    assert written["measured"]["accuracy"][0] > 0.95
    assert written["measured"]["neighbours"]["channels in the order BGR"]["better_by"][2] < -0.3
    digest = written["model"]["sha256"]
    assert read_contract(out, digest) == (InputContract((SIDE, SIDE), "whole"), True)
    assert "another model" in refusal(read_contract, out, "0" * 64)
    looked_at(files, out=out)
    assert read_contract(out, digest) == (InputContract((SIDE, SIDE), "whole"), False)


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"channels": "bgr"}, "'channels in the order RGB' fits better"),
        ({"channels": "bgr"}, "give --channels rgb"),
        ({"mean": 0, "std": 255}, "'pixels from -1 to 1' fits better"),
        ({"mean": 0, "std": 255}, "give --mean 127.5 --std 127.5"),
    ],
)
def test_another_contract_that_fits_better_stops_it_and_nothing_is_written(
    files: Path, tmp_path: Path, given: dict[str, Any], flags: str
) -> None:
    message = refusal(looked_at, files, people=files / "people", given=given, out=tmp_path / "contract.toml")
    assert flags in message
    assert not any(tmp_path.iterdir())


def test_a_network_that_knows_nobody_stops_it(files: Path) -> None:
    assert "no contract that was tried" in refusal(looked_at, files, "blind.pth", people=files / "people")


def test_pairs_by_a_protocol_and_in_a_set_are_told_apart(files: Path, tmp_path: Path) -> None:
    protocol, rows = tmp_path / "pairs.txt", []
    for people in (range(20), range(20, 40)):
        rows += [f"P_{one:02d}\t1\t2" for one in people]
        rows += [f"P_{one:02d}\t3\tP_{(one + 1) % 40:02d}\t1" for one in people]
    protocol.write_text("\n".join(["2\t20", *rows, ""]).replace("P_05\t1\t2", "P_05\t1\t9"))
    text = "\n".join(looked_at(files, pairs=protocol, photos=files / "people"))
    assert "verification by 79 pairs; 1 name a photo that is not here" in text
    photos = photos_of(40, 3, 112)
    pairs = [(one[0], one[1]) for one in photos] + [(photos[place - 1, 2], photos[place, 2]) for place in range(40)]
    pictures = [png(photo) for pair in pairs for photo in pair]
    (tmp_path / "set.bin").write_bytes(pickle.dumps((pictures, [True] * 40 + [False] * 40), 2))
    text = "\n".join(looked_at(files, pairs=tmp_path / "set.bin", given={"size": [112, 112]}))
    assert "verification by 80 pairs" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pairs": Path("pairs.txt")}, "--photos"),
        ({"photos": Path("photos")}, "--pairs"),
        ({"pairs": Path("a.bin"), "people": Path("people")}, "one of them"),
        ({"people": Path("absent")}, "does not exist"),
        ({"given": {"std": 0}}, "std"),
        ({"given": {"size": [20, 3000]}}, "size"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_what_cannot_be_measured_is_refused(files: Path, settings: dict[str, Any], words: str) -> None:
    assert words in refusal(looked_at, files, **settings)


def test_people_of_one_photo_make_no_pairs(files: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / name / "1.png")
    assert "2 photos of 2 people: pairs of photos of one person" in refusal(looked_at, files, people=tmp_path)


def test_size_and_template_follow_from_weights_of_this_package(tmp_path: Path) -> None:
    def lines(name: str, shape: tuple[int, int, int], **settings: Any) -> str:
        made = MODELS[name](shape, 3, **settings)
        torch.save(made.state_dict(), tmp_path / "net.pth")
        said: list[str] = []
        inspect(tmp_path / "net.pth", say=said.append)
        return "\n".join(said)

    assert "input contract: 96x112, template sphereface" in lines("mobilefacenet", (3, 112, 96), width=8, dimensions=8)
    grey = lines("iresnet", (1, 40, 40), depth=10, width=4, dimensions=8)
    assert "48x48, template arcface, mean 127.5, std 127.5, grey; by its weights up to 15 pixels less fit" in grey
    assert "give --size WIDTH HEIGHT" in refusal(lines, "eyenet", (1, 24, 24), widths=(2, 3, 4), hidden=5)


def test_a_network_that_embeds_nobody_cannot_be_measured(files: Path, tmp_path: Path) -> None:
    torch.save(MODELS["eyenet"]((3, 16, 16), widths=(2, 3, 4), hidden=5).state_dict(), tmp_path / "eyes.pth")
    given = {"size": [SIDE, SIDE]}
    assert "leave the pairs out" in refusal(inspect, tmp_path / "eyes.pth", given=given, people=files / "people")


@pytest.mark.parametrize("text", ["[", "", "[model]\nsha256 = 1\n", 'model = 1\ncontract = "x"\n'])
def test_a_contract_that_inspect_did_not_write_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "contract.toml").write_text(text)
    assert "contract.toml" in refusal(read_contract, tmp_path / "contract.toml", "0" * 64)


def test_the_verb(files: Path, tmp_path: Path) -> None:
    words = ["inspect", str(files / "model.pth"), "--arch", HERE, "--size", "16", "16", "--template", "whole"]
    out = ["--mean", "127.5,127.5,127.5", "--std", "128", "--out", str(tmp_path / "contract.toml")]
    result = CliRunner().invoke(app, words + out, catch_exceptions=False)
    assert result.exit_code == 0
    assert "mean 127.5 127.5 127.5, std 128, rgb" in result.stdout
    assert json.dumps([127.5] * 3) in (tmp_path / "contract.toml").read_text()
    assert "--mean 'a,b'" in refusal(CliRunner().invoke, app, [*words, "--mean", "a,b"], catch_exceptions=False)
