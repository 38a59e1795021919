"""Photos come to a network of somebody else's as it was trained to see them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from conftest import SHARED, refusal
from efface.data.batches import as_input
from efface.erasure.contract import ContractedNetwork, InputContract, as_face, decoded, input_contract
from efface.models import MODELS
from efface.models.depths import depths


class Sees(nn.Module):
    """Keeps what it was shown; answers with the pixel at the left of the first row."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images
        return images[:, :, 0, 0]


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (PIXELS - 127.5) / 127.5),
        ({"mean": (0.0,), "std": (255.0,)}, PIXELS / 255),
        ({"mean": (0.0,), "std": (1.0,)}, PIXELS),
        ({"channels": "bgr", "mean": (127.5,), "std": (128.0,)}, (PIXELS[:, ::-1] - 127.5) / 128),
        (
            {"channels": "bgr", "mean": (1.0, 2.0, 3.0), "std": (4.0, 5.0, 6.0)},
            (PIXELS[:, ::-1] - np.reshape([1, 2, 3], (3, 1, 1))) / np.reshape([4, 5, 6], (3, 1, 1)),
        ),
        ({"channels": "grey"}, (np.tensordot([0.299, 0.587, 0.114], PIXELS, (0, 1))[:, None] - 127.5) / 127.5),
    ],
)
def test_a_network_sees_pixels_as_its_contract_says(settings: dict[str, Any], expected: Any) -> None:
    model = ContractedNetwork(Sees(), InputContract((5, 4), **settings))
    model(as_input(PIXELS, torch.device("cpu")))
    assert np.allclose(model.network.seen.numpy(), expected, atol=2e-4)  # type: ignore[operator]


def test_grey_photos_fill_three_channels_and_flip_adds_the_mirror_image() -> None:
    model = ContractedNetwork(Sees(), InputContract((5, 4), mean=(0.0,), std=(1.0,), flip=True))
    answer = model(as_input(PIXELS[:, :1], torch.device("cpu")))
    left, right = (PIXELS[:, 0, 0, place].astype(float) for place in (0, -1))
    assert np.allclose(answer.numpy(), np.repeat((left + right)[:, None], 3, 1), atol=1e-3)


def test_the_names_of_weights_begin_with_network() -> None:
    model = ContractedNetwork(nn.Linear(2, 3), InputContract((8, 8)))
    assert set(model.state_dict()) == {"network.weight", "network.bias"}


def test_a_contract_comes_back_as_it_was_written() -> None:
    contract = InputContract((96, 112), "sphereface", (127.5,), (128.0,), "bgr", True)
    assert input_contract(contract.plain()) == contract
    assert input_contract({"size": [112, 112], "mean": 0, "std": 255}) == InputContract(
        (112, 112), mean=(0.0,), std=(255.0,)
    )
    assert InputContract((96, 112), channels="grey").shape == (1, 112, 96)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": [7, 112]}, "size"),
        ({"size": [112, 30_000]}, "size"),
        ({"size": 112}, "size"),
        ({"size": [112]}, "size"),
        ({"template": "mtcnn"}, "template"),
        ({"template": "sphereface", "size": [112, 112]}, "96 wide and 112 high"),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}, "pixel values from 0 to 1"),
        ({"std": 0}, "std"),
        ({"std": float("inf")}, "std"),
        ({"mean": float("nan")}, "mean"),
        ({"mean": [1.0, 2.0]}, "mean has 2 numbers"),
        ({"mean": []}, "mean has 0 numbers"),
        ({"channels": "grey", "mean": [1.0, 2.0, 3.0]}, "one, or one for each of 1"),
        ({"channels": "rgba"}, "channels"),
        ({"flip": "yes"}, "flip"),
        ({"szie": 3}, "szie"),
    ],
)
def test_a_contract_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    message = refusal(input_contract, {"size": [112, 112], **changes}, "contract.toml")
    assert words in message
    assert message.startswith("contract.toml")


def test_neighbours_differ_in_one_thing() -> None:
    contract = InputContract((96, 112), "sphereface", (127.5,), (128.0,), "bgr")
    found = contract.neighbours()
    assert [what for what, _ in found] == [
        "pixels from 0 to 1",
        "pixels from 0 to 255",
        "pixels by ImageNet's mean and deviation",
        "channels in the order RGB",
        "template whole",
    ]
    mean = dict(found)["pixels by ImageNet's mean and deviation"].mean
    assert np.allclose(mean, (103.53, 116.28, 123.675))  # blue first
    whole = dict(found)["template whole"]
    assert ("template sphereface", contract) in whole.neighbours()
    grey = InputContract((112, 112), channels="grey").neighbours()
    assert all(input_contract(one.plain()) == one for _, one in [*found, *grey])
    assert not any("order" in what for what, _ in grey)


def drawn(size: tuple[int, int]) -> Image.Image:
    """A photo that is no face, of smooth colours."""
    across, down = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([across, down, (across + down) / 2], 2).astype(np.uint8))


def shown(photos: list[Path], contract: InputContract, **settings: Any) -> Any:
    """The photos as the contract wants them, by their file names."""
    return decoded([str(photo) for photo in photos], [photo.name for photo in photos], contract, **settings)


@pytest.mark.parametrize("large", [0, 2**28])
def test_photos_of_the_right_size_or_aligned_at_112_need_no_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr("efface.erasure.contract.LARGE", large)
    for name, size in (("a", (96, 112)), ("b", (112, 112))):
        drawn(size).save(tmp_path / f"{name}.png")
    contract = InputContract((96, 112), "sphereface")
    (own, cut), rows = shown([tmp_path / "a.png", tmp_path / "b.png"], contract)
    assert np.array_equal(own, np.asarray(drawn((96, 112))).transpose(2, 0, 1))
    assert np.array_equal(cut, np.asarray(drawn((112, 112))).transpose(2, 0, 1)[:, :, 8:-8])
    assert rows.tolist() == [0, 1]
    half = as_face(drawn((112, 112)), "", InputContract((56, 56)))
    assert np.abs(half.astype(int) - np.asarray(drawn((56, 56))).transpose(2, 0, 1)).max() < 4
    grey, _ = shown([tmp_path / "b.png"], InputContract((96, 112), "sphereface", channels="grey"))
    assert np.array_equal(grey[0, 0], np.asarray(drawn((112, 112)).convert("L"))[:, 8:-8])


def test_a_whole_photo_is_stretched(tmp_path: Path) -> None:
    drawn((250, 125)).save(tmp_path / "a.png")
    face = shown([tmp_path / "a.png"], InputContract((50, 50), "whole"))[0][0]
    assert np.abs(face.astype(int) - np.asarray(drawn((50, 50))).transpose(2, 0, 1)).max() < 6


def test_every_photo_that_cannot_be_used_is_named_or_left_out(tmp_path: Path) -> None:
    drawn((112, 112)).save(tmp_path / "good.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    photos = [tmp_path / "broken.jpg", tmp_path / "good.png", tmp_path / "absent.jpg"]
    message = refusal(shown, photos, InputContract((112, 112)))
    assert "2 of 3 photos" in message
    assert "broken.jpg" in message
    assert "absent.jpg" in message
    images, rows = shown(photos, InputContract((112, 112)), skip_unreadable=True)
    assert images.shape == (1, 3, 112, 112)
    assert rows.tolist() == [1]
    assert "1 of 1" in refusal(shown, photos[:1], InputContract((112, 112)), skip_unreadable=True)


def test_a_photo_that_is_not_aligned_needs_a_detector(tmp_path: Path) -> None:
    drawn((120, 130)).save(tmp_path / "large.png")
    for skip in (False, True):
        message = refusal(shown, [tmp_path / "large.png"], InputContract((112, 112)), skip_unreadable=skip)
        assert "photo 'large.png' is 120x130" in message
        assert "--detector" in message


def test_faces_are_aligned_where_a_detector_finds_them(tmp_path: Path) -> None:
    detector, folder = SHARED / "weights/yunet_n_320_320.onnx", SHARED / "faces/lfw"
    pytest.importorskip("cv2")
    if not detector.is_file() or not folder.is_dir():
        pytest.skip("no photos of real people here")
    photos = sorted((folder / "photos").glob("*/*.jpg"))[:4]
    contract = InputContract((96, 112), "sphereface")
    found, _ = shown(photos, contract, detector=detector)
    theirs = [Image.open(folder / "aligned" / photo.relative_to(folder / "photos")) for photo in photos]
    cut = np.stack([as_face(photo.convert("RGB"), "", contract) for photo in theirs])
    apart = [np.abs(found.astype(float) - np.roll(cut, shift, 3))[..., 5:-5].mean() for shift in (0, -4, 4)]
    assert apart[0] < min(apart[1:])
    square = replace(contract, template="arcface", size=(112, 112))
    assert np.array_equal(shown(photos, square, detector=detector)[0][..., 8:-8], found)
    Image.new("RGB", (200, 200)).save(tmp_path / "nobody.png")
    assert "nobody.png no face detected" in refusal(shown, [tmp_path / "nobody.png"], contract, detector=detector)


def test_methods_find_the_depths_of_the_network_inside() -> None:
    inside = MODELS["iresnet"]((3, 16, 16), 2, depth=10, width=4, dimensions=8).backbone
    assert isinstance(inside, nn.Module)
    model = ContractedNetwork(inside, InputContract((16, 16)))
    assert list(depths(model).items()) == list(depths(inside).items())
