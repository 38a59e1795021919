"""Photos of a person among many: scores against known answers, suggestions, and what a human accepts."""

import json
import os
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

import efface.erasure.find as module
from conftest import refusal
from efface.cli import app
from efface.data.faces import Array
from efface.data.vectors import units
from efface.erasure.embedding import Embedder
from efface.erasure.find import Scored, find, read_accepted, thresholds
from efface.files import sha256_of

SIDE = 16


class Net(nn.Module):
    """Two photos are as alike as their pixels are, mirrored or not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat: torch.Tensor = (images * self.weight).flatten(1)
        return flat


def build(_shape: tuple[int, int, int]) -> nn.Module:
    """As --arch names it."""
    return Net()


MODEL: dict[str, Any] = {"arch": f"{__name__}:build", "size": (SIDE, SIDE)}


def picture(person: int, photo: int, noise: float = 25) -> Image.Image:
    """A person is a pattern, a photo that pattern and noise."""
    own = np.random.default_rng([7, person]).normal(0, 45, (SIDE, SIDE, 3))
    pixels = 128 + own + np.random.default_rng([8, person, photo]).normal(0, noise, own.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Examples of person 0, and 4 more photos of them among 60 of 20 others."""
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    for name in ("examples", "photos/deep"):
        (tmp_path / name).mkdir(parents=True)
    for photo in range(4):
        picture(0, photo).save(tmp_path / "examples" / f"{photo}.png")
        picture(0, 10 + photo).save(tmp_path / "photos" / "deep" / f"mine{photo}.png")
    for person in range(1, 21):
        for photo in range(3):
            picture(person, photo).save(tmp_path / "photos" / f"{person}-{photo}.png")
    return tmp_path


def found(folder: Path, **settings: Any) -> pd.DataFrame:
    find(folder / "examples", folder / "photos", folder / "out", model=folder / "net.pt", **MODEL, **settings)
    return pd.read_csv(folder / "out" / "candidates.csv", keep_default_na=False)


def test_their_photos_come_first_and_are_suggested(folder: Path) -> None:
    (folder / "photos" / "notes.txt").write_text("no photo")
    table = found(folder)
    assert len(table) == 64
    assert sorted(Path(path).name for path in table["path"][:4]) == [f"mine{n}.png" for n in range(4)]
    assert table["suggested"].tolist()[:4] == ["yes"] * 4
    assert table["suggested"].value_counts()["yes"] == 4
    assert table["suggested"].value_counts()["no"] > 50
    assert table["row"].tolist() == list(range(2, 66))
    assert set(table["accept"]) == {""}
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {"candidates.csv", "candidates.png"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    with Image.open(out / "candidates.png") as sheet:
        assert sheet.size[0] > 900


def test_scores_are_cosines_to_the_nearest_example_and_to_their_mean(folder: Path) -> None:
    table = found(folder)
    vectors = units(np.stack([both_ways(picture(0, photo)) for photo in range(4)]))
    row = table[table["path"].str.endswith("mine2.png")].iloc[0]
    own = units(both_ways(picture(0, 12))[None])[0]
    assert row["score"] == pytest.approx((vectors @ own).max(), abs=1e-5)
    assert row["nearest_example"].endswith(f"{(vectors @ own).argmax()}.png")
    assert row["score_to_mean"] == pytest.approx(units(vectors.mean(0, keepdims=True))[0] @ own, abs=1e-5)


def both_ways(photo: Image.Image) -> Array:
    small = photo.resize((SIDE, SIDE), Image.Resampling.BOX)
    images = [np.asarray(one, np.float32).transpose(2, 0, 1) / 127.5 - 1 for one in (small, ImageOps.mirror(small))]
    return (images[0] + images[1]).ravel()


def test_photos_are_shown_as_the_contract_of_the_model_has_them(folder: Path) -> None:
    """By the contract the network sees each channel less its mean: the cosines are those of the pixels less that."""
    contract = folder / "contract.toml"
    contract.write_text(
        f'[model]\nsha256 = "{sha256_of(folder / "net.pt")}"\ndimensions = {3 * SIDE * SIDE}\n[contract]\n'
        f'size = [{SIDE}, {SIDE}]\ntemplate = "whole"\nmean = 40.0\nstd = 60.0\nchannels = "bgr"\n'
        "[measured]\npairs = 9\n",
        encoding="utf-8",
    )
    find(
        *(folder / "examples", folder / "photos", folder / "out"),
        model=folder / "net.pt",
        arch=MODEL["arch"],
        contract=contract,
    )
    table = pd.read_csv(folder / "out" / "candidates.csv", keep_default_na=False)
    shown = {
        path: np.asarray(Image.open(path).resize((SIDE, SIDE), Image.Resampling.BOX), float)
        for path in [*sorted((folder / "examples").glob("*")), *map(Path, table["path"])]
    }
    both = {path: (one + one[:, ::-1]).ravel() - 80 for path, one in shown.items()}
    unit = {path: one / np.linalg.norm(one) for path, one in both.items()}
    examples = np.stack([unit[path] for path in sorted((folder / "examples").glob("*"))])
    for path, score in zip(table["path"], table["score"].astype(float), strict=True):
        assert score == pytest.approx((examples @ unit[Path(path)]).max(), abs=2e-3)
    assert list(table["suggested"][:4]) == ["yes"] * 4


def test_a_contract_of_another_model_is_refused(folder: Path) -> None:
    contract = folder / "contract.toml"
    contract.write_text(f'[model]\nsha256 = "{"0" * 64}"\n[contract]\nsize = [16, 16]\n', encoding="utf-8")
    arch = MODEL["arch"]
    assert "another model" in refusal(
        lambda: find(
            folder / "examples", folder / "photos", folder / "o", model=folder / "net.pt", arch=arch, contract=contract
        )
    )


def test_copies_are_named_however_they_were_saved(folder: Path) -> None:
    one = Image.open(folder / "examples" / "1.png")
    one.resize((160, 160)).save(folder / "photos" / "larger.jpg", quality=90)
    ImageOps.mirror(one).save(folder / "photos" / "mirrored.png")
    Image.open(folder / "photos" / "3-1.png").save(folder / "photos" / "zz.png")
    table = found(folder).set_index("path")
    copies = {Path(str(path)).name: Path(copy).name for path, copy in table["near_duplicate_of"].items() if copy}
    assert copies == {"larger.jpg": "1.png", "mirrored.png": "1.png", "zz.png": "3-1.png"}
    lone = find(folder / "examples" / "1.png", folder / "photos", folder / "lone", model=folder / "net.pt", **MODEL)
    assert "yes for copies of examples alone" in str(lone)
    assert lone.counts["yes"] == 2
    assert lone.counts["unsure"] >= 4


def test_thresholds_by_hand() -> None:
    rng = np.random.default_rng(0)
    others = rng.normal(0.1, 0.1, 2000)
    own = np.array([0.6, 0.8])
    scores = np.concatenate([others, rng.normal(0.7, 0.1, 200)])
    found = thresholds(own, scores)
    assert found.own == pytest.approx((0.7, np.std(own, ddof=1)))
    assert found.others == pytest.approx((0.1, 0.1), abs=0.02)
    assert found.no == pytest.approx(0.7 - 2 * np.std(own, ddof=1))
    assert found.yes == pytest.approx(0.1 + 3.32 * 0.1, abs=0.06)  # one of 2,200
    assert thresholds(own, scores, others).others == pytest.approx((others.mean(), others.std(ddof=1)))
    assert [found.suggested(score) for score in (0.1, 0.42, 0.9)] == ["no", "unsure", "yes"]
    assert thresholds(own, scores[:5]).suggested(0.99) == "unsure"
    assert thresholds(np.array([np.nan]), scores).suggested(0.99) == "unsure"


def test_where_most_photos_are_theirs_nobody_is_ruled_out() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.1, 0.1, 30), rng.normal(0.7, 0.1, 300)])
    limits = thresholds(rng.normal(0.7, 0.1, 6), scores)
    assert limits.suggested(0.6) != "no"
    known = thresholds(rng.normal(0.7, 0.1, 6), scores, rng.normal(0.1, 0.1, 50))
    assert known.suggested(0.6) == "yes"


def test_an_example_of_somebody_else_is_named(folder: Path) -> None:
    picture(30, 0).save(folder / "examples" / "stranger.png")
    done = find(folder / "examples", folder / "photos", folder / "out", model=folder / "net.pt", **MODEL)
    assert [Path(name).name for name in done.odd] == ["stranger.png"]


def test_unreadable_photos_are_all_named_or_left_out(folder: Path) -> None:
    for name in ("a.png", "b.jpg"):
        (folder / "photos" / name).write_bytes(b"no picture")
    said = refusal(found, folder)
    assert "a.png" in said
    assert "b.jpg" in said
    assert "2 of 70 photos" in said
    assert not (folder / "out" / "candidates.csv").exists()
    assert len(found(folder, skip_unreadable=True)) == 64


def test_a_killed_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(folder)
    os.rename(folder / "out", folder / "whole")
    shown: list[int] = []
    embeddings = Embedder.embeddings

    def counting(self: Embedder, images: Array) -> Any:
        if sum(shown) > 40:
            raise KeyboardInterrupt
        shown.append(len(images))
        return embeddings(self, images)

    monkeypatch.setattr(module, "BLOCK", 10)
    monkeypatch.setattr(Embedder, "embeddings", counting)
    with pytest.raises(KeyboardInterrupt):
        found(folder)
    journal = folder / "out" / "unfinished.jsonl"
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    before = len(journal.read_text().splitlines()) - 1
    assert before >= 30
    journal.write_text(journal.read_text() + '{"path": "half')
    shown.clear()

    def only_counting(self: Embedder, images: Array) -> Any:
        shown.append(len(images))
        return embeddings(self, images)

    monkeypatch.setattr(Embedder, "embeddings", only_counting)
    again = found(folder)
    assert sum(shown) == 4 + 64 - before
    pd.testing.assert_frame_equal(again, whole)
    assert not journal.exists()


def test_what_was_scored_by_others_examples_or_of_other_files_is_not_taken(tmp_path: Path) -> None:
    one = Scored("a.png", "1 2", "", 0.5, 0.4, 0, (3, 4))
    journal = tmp_path / "unfinished.jsonl"
    journal.write_text(json.dumps("me") + "\n" + json.dumps(asdict(one)) + "\n[1]\n")
    assert module._resumed(journal, "me") == {"a.png": one}
    assert module._resumed(journal, "you") == {}


def test_faiss_gives_the_same_answers() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    vectors, block = units(rng.normal(size=(300, 24))), units(rng.normal(size=(500, 24)))
    cosines, places = module.faiss_search(vectors)(block)
    expected, same = module._search(vectors, 10)(block)
    assert cosines == pytest.approx(expected, abs=1e-6)
    assert (places == same).all()


def test_many_photos_go_through_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Array] = []
    monkeypatch.setattr(module, "faiss_search", asked.append)
    vectors = np.eye(3, dtype=np.float32)
    module._search(vectors, 99_999)
    assert not asked
    module._search(vectors, 100_000)
    assert len(asked) == 1

    def missing(_vectors: Array) -> None:
        raise ImportError

    monkeypatch.setattr(module, "faiss_search", missing)
    assert module._search(vectors, 100_000)(vectors)[1].tolist() == [0, 1, 2]


def test_what_is_accepted_is_read_and_nothing_else(folder: Path) -> None:
    table = found(folder)
    path = folder / "out" / "candidates.csv"
    assert "accepts no photo" in refusal(read_accepted, path)
    table.loc[:2, "accept"] = ["yes", " X ", "No"]
    table.to_csv(path, index=False)
    assert read_accepted(path) == [Path(name) for name in table["path"][:2]]
    assert "has been written into" in refusal(found, folder)
    table.loc[3, "accept"] = "perhaps"
    table.to_csv(path, index=False)
    assert "is 'perhaps': expected yes, no or nothing" in refusal(read_accepted, path)
    table.drop(columns="accept").to_csv(path, index=False)
    assert "no column 'accept'" in refusal(read_accepted, path)


def test_names_are_no_formulas_and_no_markup(folder: Path) -> None:
    picture(0, 20).save(folder / "photos" / "=1+1,<b>.png")
    table = found(folder)
    table["accept"] = ["yes" if "<b>" in path else "" for path in table["path"]]
    table.to_csv(folder / "out" / "candidates.csv", index=False)
    assert read_accepted(folder / "out" / "candidates.csv") == [folder / "photos" / "=1+1,<b>.png"]


def test_what_cannot_be_searched_is_one_line(folder: Path) -> None:
    good: dict[str, Any] = {"model": folder / "net.pt", **MODEL}
    photos = folder / "photos"
    assert "do not exist" in refusal(find, folder / "nobody", photos, folder / "out", **good)
    (folder / "empty").mkdir()
    assert "holds no photos" in refusal(find, folder / "empty", photos, folder / "out", **good)
    assert "lies among the photos" in refusal(find, folder / "examples", photos, photos / "out", **good)
    assert "--arch" in refusal(find, folder / "examples", photos, folder / "out", model=folder / "net.pt")
    assert "does not exist" in refusal(find, folder / "examples", photos, folder / "out", model=folder / "no.pt")
    (folder / "examples" / "broken.png").write_bytes(b"")
    assert "nothing was searched" in refusal(find, folder / "examples", photos, folder / "out", **good)


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["find", "examples", "photos", "--model", "net.pt", "--arch", MODEL["arch"], "--size", "16", "16"]
    for place in (1, 2, 4):
        words[place] = str(folder / words[place])
    app([*words, "--out", str(folder / "out"), "--others", str(folder / "photos" / "5-0.png")], standalone_mode=False)
    assert "too few others to compare" in capsys.readouterr().out
