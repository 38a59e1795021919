"""The command line: every verb does its work, and bad input is one line and exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from conftest import TINY, refusal
from efface import __version__
from efface.cli import app, main
from efface.datasets.synthetic import synthetic
from efface.models import MODELS
from efface.models.load import save_weights
from efface.preparation.prepare import export_eyes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the verb, one seed."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "plan.toml").write_text(TINY.replace("seeds = [0, 1]", "seeds = [0]"))
    shown = said("run", str(folder / "plan.toml"), "--out", str(folder / "out"))
    assert shown.strip() == str(folder / "out" / "report.html")
    return folder


def said(*words: str) -> str:
    """What the command prints, when all goes well."""
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """The one line of a refusal."""
    monkeypatch.setattr(sys, "argv", ["efface", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


def test_version() -> None:
    assert said("--version").strip() == __version__


def test_check_names_the_rows(done: Path) -> None:
    assert "original, reference, finetune, ascent, ascent, rebalanced" in said("check", str(done / "plan.toml"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("people = 60", "people = -60"), "greater than 0"),
        (("epochs = 3 }", "epochs = 3, lr = inf }"), "finite number"),
        (("epochs = 3 }", "epochs = true }"), "train: epochs"),
        (("[methods.finetune]", "[folds]\ncount = 1000000000\n[methods.finetune]"), "less than or equal to 1000"),
        (("data = {", 'data = { group_file = "nowhere.csv",'), "group_file nowhere.csv does not exist"),
        (("hidden = 16 }", 'hidden = 16, weights = "nowhere.pt" }'), "model.weights nowhere.pt does not exist"),
    ],
)
def test_check_refuses_what_cannot_run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    change: tuple[str, str],
    says: str,
) -> None:
    assert change[0] in TINY
    (tmp_path / "plan.toml").write_text(TINY.replace(*change))
    assert says in refused(capsys, monkeypatch, "check", str(tmp_path / "plan.toml"))


@pytest.mark.parametrize("what", ["", "methods", "tasks", "datasets", "measures", "neggrad", "bioid", "eyes"])
def test_list(what: str) -> None:
    assert len(said("list", *([what] if what else [])).splitlines()) > 2


def test_list_of_a_method_is_its_reference() -> None:
    page = said("list", "neggrad_plus")
    for part in ("needs:", "works on: eyes, recognition, classes, attributes", "alpha = 0.95", "arXiv:2302.09880"):
        assert part in page


def test_report_is_written_again(done: Path) -> None:
    before = (done / "out" / "report.html").read_text()
    (done / "out" / "report.html").unlink()
    said("report", str(done / "out"))
    assert (done / "out" / "report.html").read_text() == before


def test_the_table_is_printed_for_a_readme(done: Path) -> None:
    parts = said("report", str(done / "out"), "--markdown").split("\n\n")
    glance, distances = [part for part in parts if part.startswith("|")]
    assert any("narrower" in part for part in parts), parts
    lines = glance.splitlines()
    assert "| ToW |" in distances.splitlines()[0]
    assert lines[0].startswith("| model | forgotten, % | attack AUC | normalised error, A |")
    assert {line.count("|") for line in lines} == {9}
    assert any(line.startswith("| ascent, rebalanced |") for line in lines)


def test_schemas_are_json() -> None:
    assert json.loads(said("schema", "results"))["$id"] == "efface.results/2"
    assert "forget" in json.loads(said("schema", "plan"))["properties"]
    assert json.loads(said("schema", "record"))["$id"] == "urn:efface:erasure/v0.1"


def test_prepare_then_run_on_packed_faces(tmp_path: Path) -> None:
    """Photos in BioID's layout, packed, exported again, and read back alike."""
    face_table = synthetic(people=12, photos_per_person=2, size=(64, 48))
    export_eyes(face_table, tmp_path / "photos")
    words = said(
        "prepare",
        "bioid",
        str(tmp_path / "photos"),
        "--out",
        str(tmp_path / "packed"),
        "--size",
        "32",
        "24",
        "--export",
        str(tmp_path / "again"),
    )
    assert "24 faces" in words
    assert np.load(tmp_path / "packed" / "images.npy").shape == (24, 1, 24, 32)
    assert len(list((tmp_path / "again").glob("*.eye"))) == 24


@pytest.mark.parametrize("style", ["cover", "pixelate", "blur"])
def test_anonymize_hides_where_the_model_says(tmp_path: Path, style: str) -> None:
    """A network that always answers (0.65, 0.4) and (0.35, 0.4) of the picture hides there and nowhere else."""
    model = MODELS["eyenet"]((1, 24, 24), widths=(4, 6, 8), hidden=16)
    weights = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    weights["head.3.bias"] = torch.tensor([0.15, -0.1, -0.15, -0.1])
    model.load_state_dict(weights)
    record = {"model": "eyenet", "model_settings": {"widths": [4, 6, 8], "hidden": 16}, "shape": [1, 24, 24]}
    save_weights(model, tmp_path / "w.safetensors", record)
    image = np.random.default_rng(0).integers(50, 200, (60, 80, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "face.png")
    said(
        "anonymize",
        str(tmp_path / "face.png"),
        "--weights",
        str(tmp_path / "w.safetensors"),
        "--out",
        str(tmp_path / "hidden"),
        "--style",
        style,
    )
    changed = (np.asarray(Image.open(tmp_path / "hidden" / "face.png")) != image).any(2)
    assert changed[20:28, 22:58].mean() > 0.95, "the band between and around the eyes"
    assert not changed[:12].any()
    assert not changed[38:].any()


def test_anonymize_refuses_a_model_that_finds_no_eyes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = {"task": "recognition", "model": "iresnet"}
    save_weights(torch.nn.Linear(2, 2), tmp_path / "net.safetensors", record)
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    words = (
        "anonymize",
        str(tmp_path / "photo.png"),
        "--weights",
        str(tmp_path / "net.safetensors"),
        "--out",
        str(tmp_path / "out"),
    )
    assert "finds no eyes" in refused(capsys, monkeypatch, *words)
    assert not (tmp_path / "out").exists()


def test_quality_scores_a_tree_of_photos(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "photos" / "ann").mkdir(parents=True)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "photos" / "ann" / "a.png")
    assert "1 photos by pixels" in said("quality", str(tmp_path / "photos"), "--out", str(tmp_path / "out"))
    assert (tmp_path / "out" / "quality.png").exists()
    words = ("quality", str(tmp_path / "nowhere"), "--out", str(tmp_path / "other"))
    assert "does not exist" in refused(capsys, monkeypatch, *words)


def test_anonymize_writes_nothing_when_a_photo_is_broken(
    done: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no photo")
    weights = next((done / "out" / "models").glob("original*.safetensors"))
    words = ("anonymize", str(tmp_path), "--weights", str(weights), "--out", str(tmp_path / "x"))
    assert "b.jpg" in refused(capsys, monkeypatch, *words)
    assert not (tmp_path / "x").exists()


def test_anonymize_says_which_copy_is_whose_and_what_was_left_out(tmp_path: Path, done: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "a.png"):
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "b.jpg").write_bytes(b"no photo")
    (tmp_path / "photos" / "c.mov").write_bytes(b"")
    weights = next((done / "out" / "models").glob("original*.safetensors"))
    words = ["anonymize", str(tmp_path / "photos"), "--weights", str(weights), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--skip-unreadable"], catch_exceptions=False)
    assert result.stdout.splitlines() == [
        f"{tmp_path / 'photos' / name} -> {tmp_path / 'out' / name}.png" for name in ("a.jpg", "a.png")
    ]
    assert result.stderr == "2 files left out (1 .mov, 1 .jpg): c.mov, b.jpg\n"


def test_prepare_says_all_that_it_found(tmp_path: Path) -> None:
    for name in ("ann/0.png", "ann /1.png", "bob/0.png", "carl/album/0.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "photos" / name)
    words = ["prepare", "folder", str(tmp_path / "photos"), "--eyes", "none", "--out", str(tmp_path / "packed")]
    assert said(*words) == (
        f"{tmp_path / 'packed'}: 3 faces of 2 people; 0 photos refused (listed in manifest.json), 0 with several "
        "faces, 2 pairs of near duplicates of different people; 1 file left out (1 .png): carl/album/0.png\n"
    )
    for name in ("ann/0.png", "bob/0.png"):
        (tmp_path / "photos" / name).write_bytes(b"")
    words[-1] = str(tmp_path / "other")
    line = refusal(said, *words)
    assert "2 of 3 photos cannot be used" in line
    assert "ann/0.png cannot be decoded (it is empty)" in line
    assert "bob/0.png cannot be decoded (it is empty)" in line
    assert "2 photos unreadable and left out (ann/0, bob/0)" in said(*words, "--skip-unreadable")


def test_output_that_has_no_room_is_one_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as output:
        words = [sys.executable, "-m", "efface", "list", "methods"]
        done = subprocess.run(words, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "efface: a file cannot be written: No space left on device; make room, or give another folder\n"
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("[methods.finetune]", "[methods.finetun]"), "did you mean 'finetune'"),
        (("epochs = 1\n[methods.ascent]", "epochz = 1\n[methods.ascent]"), "'epochz'; did you mean 'epochs'"),
        (('name = "eyenet"', 'name = "eyent"'), "did you mean 'eyenet'"),
        (('name = "synthetic"', 'name = "synthetik"'), "did you mean 'synthetic'"),
        (("people = 60", "peeple = 60"), "did you mean 'people'"),
        (('task = "eyes"', 'task = "eye"'), "did you mean 'eyes'"),
        (("epochs = 3", 'epochs = "three"'), "epochs"),
        (('group = "B"', 'group = "Q"'), "nobody of group 'Q'"),
        (("share = 0.5", "share = 1.0"), "whole_group = true"),
        (("share = 0.5", "share = 0.001"), "takes 0 of"),
        (('use = "neggrad"', 'use = "neggrad"\nafter = "later"'), "must name a method that stands above it"),
        (("people = 60", "people = 2"), "nobody is left to train on"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_in_one_line_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    complaint: str,
) -> None:
    assert change[0] in TINY
    (tmp_path / "plan.toml").write_text(TINY.replace(*change))
    assert complaint in refused(capsys, monkeypatch, "run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name != ".lock"]


@pytest.mark.parametrize(
    "words",
    [
        ("report", "nowhere"),
        ("run", "nowhere.toml", "--out", "out"),
        ("list", "nothing_like_it"),
        ("schema", "poems"),
        ("check", "."),
        ("prepare", "synthetic", ".", "--out", "out"),
        ("prepare", "bioid", "nowhere", "--out", "out"),
    ],
)
def test_other_bad_input(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(capsys, monkeypatch, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--threads", "0"), "threads is 0: expected 1 to 1024"),
        (("--threads", "-3"), "threads is -3"),
        (("--threads", str(10**30)), "expected 1 to 1024"),
        (("--threads", "10^30"), "--threads"),
        (("--threads", "9" * 5000), "--threads"),
        (("--device", "meta"), "device 'meta' cannot be used"),
        (("--device", "abacus\n"), "device 'abacus\\n' cannot be used"),
        (("--device", ""), "cannot be used"),
        (("--nope",), "--nope"),
        (("--out",), "--out"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    complaint: str,
) -> None:
    (tmp_path / "plan.toml").write_text(TINY)
    said = refused(capsys, monkeypatch, "run", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out"), *words)
    assert complaint in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("run",), ("nothing",), ("check", "a", "b"), ("run", "a" * 300, "--out", "b")])
def test_a_command_that_is_none_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    refused(capsys, monkeypatch, *words)


def test_no_command_is_a_request_for_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["efface"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert "prepare" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_a_name_that_the_terminal_lacks_is_shown_by_its_escape(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "plan.toml").write_text(TINY.replace("[methods.finetune]", '[methods."忘 ✓"]\nuse = "finetune"'))
    (tmp_path / "wrong.toml").write_text(TINY.replace("[methods.finetune]", '[methods."忘 ✓"]'))
    for name, code in (("plan.toml", 0), ("wrong.toml", 2)):
        words = [sys.executable, "-m", "efface", "check", str(tmp_path / name)]
        done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False)
        assert done.returncode == code
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["anonymize", "quality"])
@pytest.mark.parametrize(
    "changes",
    [
        {"shape": ["sh", "-c", "touch ran"], "model_settings": {"factory": "subprocess:call"}},
        {"model_settings": {"factory": "os:system"}},
        {"model": "os:system"},
        {"model_settings": {"factory": "os:system", "dimensions": 10**9}},
    ],
)
def test_the_record_of_weights_runs_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    changes: dict[str, object],
) -> None:
    monkeypatch.chdir(tmp_path)
    task = "eyes" if verb == "anonymize" else "recognition"
    record = {"task": task, "model": "own_backbone", "classes": 2, "shape": [1, 8, 8], **changes}
    save_weights(torch.nn.Linear(1, 1), tmp_path / "net.safetensors", record)
    (tmp_path / "p").mkdir()
    Image.new("L", (32, 32)).save(tmp_path / "p" / "a.png")
    refused(capsys, monkeypatch, verb, "p", "--weights", "net.safetensors", "--out", "out")
    assert sorted(os.listdir()) == ["net.safetensors", "p"]


def plain(shape: tuple[int, int, int]) -> torch.nn.Module:
    """A backbone of a user's."""
    layers = torch.nn.BatchNorm2d(shape[0]), torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), 8)
    return torch.nn.Sequential(*layers)


def test_the_user_names_what_makes_a_backbone(tmp_path: Path) -> None:
    settings = {"factory": "test_cli:plain", "dimensions": 8}
    record = {"task": "recognition", "model": "own_backbone", "classes": 2, "shape": [3, 8, 8]}
    model = MODELS["own_backbone"]((3, 8, 8), 2, **settings)
    save_weights(model, tmp_path / "net.safetensors", {**record, "model_settings": settings})
    (tmp_path / "p" / "ann").mkdir(parents=True)
    Image.new("L", (32, 32), 50).save(tmp_path / "p" / "ann" / "a.png")
    weights = ("--weights", str(tmp_path / "net.safetensors"), "--arch", "test_cli:plain")
    assert "stability" in said("quality", str(tmp_path / "p"), "--out", str(tmp_path / "out"), *weights)


def test_the_module_runs_as_a_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "efface", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == __version__
