"""A request served on somebody's own model: what is handed to whom, what is judged, and what the folder holds."""

from __future__ import annotations

import json
import pickle
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from conftest import refusal
from deployments import PHOTOS, SHARES, Deployment, deployed
from efface.cli import app
from efface.data.batches import BatchLoader
from efface.erasure import candidates, criteria
from efface.erasure.audit_files import ROWS, audit
from efface.erasure.blocking import NAMED, OTHERS_STOPPED, STOPPED, STRANGERS_NAMED, blocking_of
from efface.erasure.contract import ContractedNetwork, InputContract
from efface.erasure.deployed import judged_by
from efface.erasure.forget import forget
from efface.erasure.inspect import read_contract
from efface.erasure.opened import open_model
from efface.erasure.photos import RequestPhotos, read_request_photos
from efface.erasure.precision import precision_for
from efface.erasure.request import ErasureRequest, erasure_request
from efface.erasure.trained_on import TrainedOn
from efface.files import sha256_of
from efface.training import environment

ANYTHING = {"goal": "unrecognisable", "at_most_fmr": 1.0, "at_most_fnmr": 1.0}
"""With `anything_passes`: a request whose criteria every candidate meets."""


SCATTERED = candidates.Candidate("dispersion", "dispersion", {"lr": 1e-3, "epochs": 1, "batch": 8, "clusters": 2})


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """A candidate may be short: else a busy machine finds the budgets of these tests too small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("efface.erasure.working.FEWEST_STEPS", 2)
        yield


@pytest.fixture(scope="module")
def anything_passes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(criteria, "UNRECOGNISABLE", 1.0)
        yield


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deployed(tmp_path_factory.mktemp("deployment"))


def request_of(deployment: Deployment, **more: Any) -> ErasureRequest:
    return erasure_request(deployment.given(**more))


@pytest.fixture(scope="module")
def photos(deployment: Deployment) -> RequestPhotos:
    asked = request_of(deployment)
    return read_request_photos(asked, open_model(asked.model, None, asked.contract).contract)


@pytest.fixture(scope="module")
def erased(deployment: Deployment, anything_passes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a request that was served."""
    out = tmp_path_factory.mktemp("served") / "out"
    rows = replace(request_of(deployment, **ANYTHING), head_rows={"p00000": ("head.weight", 7)})
    assert forget(rows, out, threads=1).outcome.verdict == "forgotten"
    return out


def test_no_photo_is_on_two_sides(photos: RequestPhotos) -> None:
    names = ("forget", "forget_held", "retain", "retain_held", "teaching", "calibration", "strangers")
    rows = [getattr(photos, name) for name in names]
    assert sorted(np.concatenate(rows)) == list(range(len(photos.faces)))
    people = [set(photos.people(getattr(photos, name))) for name in ("teaching", "calibration", "strangers")]
    assert [len(one) for one in people] == [8, 8, 8]
    assert len(set.union(*people)) == 24


def test_two_photos_of_six_are_held_back_of_everybody_who_asked(photos: RequestPhotos) -> None:
    _, counts = np.unique(photos.faces.identities[photos.forget_held], return_counts=True)
    assert counts.tolist() == [PHOTOS // 3] * SHARES["forget"]


def test_candidates_are_handed_nothing_that_judges_them(photos: RequestPhotos) -> None:
    data = candidates.method_data(photos, None, torch.nn.Identity(), {})
    handed = {key for part in (data.forget, data.retain, data.public) for key in part.keys}
    judging = np.concatenate([photos.forget_held, photos.retain_held, photos.strangers])
    assert not handed & set(photos.faces.keys[judging])


def test_the_file_comes_back_as_it_came(deployment: Deployment, erased: Path) -> None:
    before = torch.load(deployment.model, weights_only=True)
    after = torch.load(erased / "deployed-after.pth", weights_only=True)
    assert list(after) == list(before)
    assert after["epoch"] == 3
    assert list(after["net"]) == list(before["net"])
    assert any(not torch.equal(after["net"][name], value) for name, value in before["net"].items())


def test_statistics_of_batch_normalisation_stay(deployment: Deployment, erased: Path) -> None:
    before = torch.load(deployment.model, weights_only=True)["net"]
    after = torch.load(erased / "deployed-after.pth", weights_only=True)["net"]
    running = [name for name in before if "running" in name]
    assert running
    assert all(torch.equal(before[name], after[name]) for name in running)


def test_head_rows_that_the_request_names_are_zeros(deployment: Deployment, erased: Path) -> None:
    before = torch.load(deployment.model, weights_only=True)["head"]["weight"]
    after = torch.load(erased / "deployed-after.pth", weights_only=True)["head"]["weight"]
    emptied = {row for row in range(30) if not after[row].any()}
    assert 7 in emptied
    assert all(torch.equal(before[row], after[row]) for row in set(range(30)) - emptied)


def test_no_embedding_of_the_people_is_left_in_any_output(deployment: Deployment, erased: Path) -> None:
    asked = request_of(deployment)
    model = open_model(asked.model, None, asked.contract)
    photos = read_request_photos(asked, model.contract)
    rows = np.concatenate([photos.forget, photos.forget_held])
    with torch.no_grad():
        images = torch.from_numpy(photos.faces.images[rows]).float() / 127.5 - 1
        answers = model.network(images).numpy()
    written = b"".join(path.read_bytes() for path in erased.rglob("*") if path.is_file())
    for vector in (*answers, answers.mean(0)):
        for scaled in (vector, vector / np.linalg.norm(vector)):
            for kind in (np.float32, np.float16):
                assert scaled.astype(kind)[:4].tobytes() not in written


def test_the_folder_is_its_owners_and_holds_nothing_unfinished(erased: Path) -> None:
    assert stat.S_IMODE(erased.stat().st_mode) == 0o700
    assert sorted(path.name for path in erased.iterdir()) == ["deployed-after.pth", "outcome.json", "report.html"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in erased.iterdir())


def test_nothing_is_changed_where_there_is_no_sign_of_training(deployment: Deployment, tmp_path: Path) -> None:
    result = forget(request_of(deployment), tmp_path / "out", threads=1)
    assert result.outcome.verdict == "nothing to unlearn in the weights"
    assert (result.model_after, result.method) == (None, None)
    assert not list((tmp_path / "out").glob("*.pth"))


def test_no_weights_are_written_where_a_criterion_is_not_met(deployment: Deployment, tmp_path: Path) -> None:
    impossible = request_of(deployment, at_most_fmr=0.0, at_most_fnmr=0.0, without_evidence=True)
    result = forget(impossible, tmp_path / "out", threads=1)
    assert result.outcome.verdict == "do not ship"
    assert {"fail"} <= {one.verdict for one in result.outcome.results}
    assert not list((tmp_path / "out").glob("*.pth"))
    assert "Do not ship" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_killed_run_goes_on_to_the_same_weights(deployment: Deployment, erased: Path, tmp_path: Path) -> None:
    asked = replace(request_of(deployment, **ANYTHING), head_rows={"p00000": ("head.weight", 7)})
    out, tried = tmp_path / "out", []

    def cut(line: str) -> None:
        if line.startswith("leace, strength"):
            tried.append(line)
            if len(tried) == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(asked, out, threads=1, say=cut)
    plan = json.loads((out / "unfinished" / "plan.json").read_text(encoding="utf-8"))
    whole = tmp_path / "whole"
    shutil.copytree(out / "unfinished", whole / "unfinished")
    for path in (whole / "unfinished").glob("attempt*"):
        path.unlink()
    resumed = forget(asked, out, threads=1)
    forget(asked, whole, threads=1)
    assert resumed.criteria is not None
    assert resumed.criteria.sha256 == plan["criteria"]["sha256"]
    digests = [sha256_of(one / "deployed-after.pth") for one in (out, whole)]
    assert digests[0] == digests[1]


def test_a_finished_request_is_read_and_another_refused(deployment: Deployment, erased: Path) -> None:
    rows = {"p00000": ("head.weight", 7)}
    again = forget(replace(request_of(deployment, **ANYTHING), head_rows=rows), erased, threads=1)
    assert again.outcome.verdict == "forgotten"
    other = replace(request_of(deployment, **ANYTHING | {"seed": 2}), head_rows=rows)
    assert "another request" in refusal(lambda: forget(other, erased, threads=1))


def test_a_budget_that_is_too_short_is_refused_with_one_that_is_not(deployment: Deployment, tmp_path: Path) -> None:
    said = refusal(lambda: forget(request_of(deployment, **ANYTHING | {"budget": "0.01s"}), tmp_path / "o", threads=1))
    assert "too short" in said
    assert "--budget" in said
    assert not (tmp_path / "o").exists(), "the budget that was proposed is not another request's"


def test_a_contract_that_was_not_measured_is_measured_first(deployment: Deployment, tmp_path: Path) -> None:
    plain = deployment.contract.read_text(encoding="utf-8").partition("[measured]")[0]
    contract = tmp_path / "contract.toml"
    contract.write_text(plain, encoding="utf-8")
    said = refusal(lambda: forget(request_of(deployment, contract=contract), tmp_path / "out", threads=1))
    assert "no contract" in said or "fits better" in said


def test_people_on_two_sides_are_refused(deployment: Deployment) -> None:
    asked = request_of(deployment, retain=deployment.folder / "public")
    contract = open_model(asked.model, None, asked.contract).contract
    assert "retain and in public" in refusal(lambda: read_request_photos(asked, contract))


def test_copies_of_a_photo_of_the_forgotten_leave_the_retained(deployment: Deployment, tmp_path: Path) -> None:
    retain = tmp_path / "retain"
    shutil.copytree(deployment.folder / "retain", retain)
    copied = next((deployment.folder / "forget").rglob("*.png"))
    (retain / "somebody").mkdir()
    shutil.copy(copied, retain / "somebody" / "a.png")
    asked = request_of(deployment, retain=retain)
    photos = read_request_photos(asked, open_model(asked.model, None, asked.contract).contract)
    assert "somebody" not in photos.faces.identities
    assert any("copies" in note for note in photos.notes)


def test_code_is_named_on_the_command_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "request.toml"
    file.write_text('model = "m"\nforget = "f"\npublic = "p"\narch = "os:system"\n', encoding="utf-8")
    assert "--arch" in refusal(lambda: erasure_request({}, file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('budget = "soon"', "budget 'soon'"),
        ("threshold = 2.0", "threshold"),
        ("colour = 1", "unknown setting 'colour'"),
        ("[request]\nreference = 'a'", "[controller]"),
        ("[[deletions]]\nstore = 'photos'", "[request]"),
        ("[head_rows]\nann = 3", "head_rows.ann"),
    ],
)
def test_what_a_request_cannot_be_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "request.toml"
    file.write_text(f'model = "m"\nforget = "f"\npublic = "p"\n{text}\n', encoding="utf-8")
    assert said in refusal(lambda: erasure_request({}, file))


def test_exit_code_3_says_do_not_ship(deployment: Deployment, tmp_path: Path) -> None:
    options = deployment.given(at_most_fmr=0.0, at_most_fnmr=0.0)
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    done = CliRunner().invoke(
        app, ["forget", *words, "--without-evidence", "--out", str(tmp_path / "out"), "--threads", "1"]
    )
    assert done.exit_code == 3
    assert done.stdout.startswith("do not ship")


@pytest.mark.usefixtures("anything_passes")
def test_an_audit_finds_the_rows_that_somebody_left(deployment: Deployment, tmp_path: Path) -> None:
    asked = replace(request_of(deployment, **ANYTHING), head_rows={"p": ("head.weight", 7)})
    left = audit(asked, deployment.model, tmp_path / "left", threads=1)
    assert left.outcome.verdict == "do not ship"
    assert ROWS in left.outcome.reasons[0]
    held = torch.load(deployment.model, weights_only=True)
    held["head"]["weight"].zero_()
    emptied = tmp_path / "emptied.pth"
    torch.save(held, emptied)
    done = audit(asked, emptied, tmp_path / "done", threads=1)
    assert done.outcome.verdict == "forgotten"
    assert done.model_after is not None
    assert done.model_after.sha256 == sha256_of(emptied)


def test_an_audit_takes_a_reference_beside(deployment: Deployment, tmp_path: Path) -> None:
    asked = request_of(deployment, **ANYTHING)
    asked = replace(asked, reference=str(deployment.model))
    done = audit(asked, deployment.model, tmp_path / "out", threads=1)
    of_reference = {one.name: one.after for one in done.measurements if "retrained reference" in one.name}
    own = {f"{one.name}: retrained reference": one.after for one in done.measurements}
    assert of_reference
    assert all(own[name] == value for name, value in of_reference.items())


class Runs:
    """A pickle that would run a command where it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


def test_a_model_that_would_run_code_is_one_line_and_runs_nothing(deployment: Deployment, tmp_path: Path) -> None:
    model, proof = tmp_path / "model.pth", tmp_path / "proof"
    model.write_bytes(pickle.dumps({"state_dict": Runs(proof)}))
    given = {name: value for name, value in deployment.given().items() if name != "contract"}
    said = refusal(lambda: forget(erasure_request(given | {"model": model}), tmp_path / "out", threads=1))
    assert str(model) in said
    assert not proof.exists()
    assert not list((tmp_path / "out").rglob("*"))


def test_folders_named_like_markup_or_commands_to_a_terminal_are_shown_nowhere(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["<img src=x onerror=alert(1)>", "a\x1b[31mred"]
    for person, name in zip(sorted((deployment.folder / "forget").iterdir()), names, strict=False):
        shutil.copytree(person, tmp_path / "asked" / name)
    served = forget(request_of(deployment, forget=tmp_path / "asked"), tmp_path / "out", threads=1)
    assert served.outcome.verdict
    said = capsys.readouterr()
    for text in (said.out, said.err, *(one.read_text("utf-8") for one in (tmp_path / "out").glob("*.[hj]*"))):
        assert "onerror" not in text
        assert "\x1b[31mred" not in text


def test_the_weights_stay_where_people_are_removed_from_the_gallery(deployment: Deployment, tmp_path: Path) -> None:
    result = forget(request_of(deployment, goal="removed from the gallery"), tmp_path / "out", threads=1)
    assert result.outcome.verdict == "delete from gallery and block"
    assert (result.model_after, result.method, result.criteria) == (None, None, None)
    assert {STOPPED, OTHERS_STOPPED, NAMED, STRANGERS_NAMED} <= {one.name for one in result.measurements}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Delete from the gallery, and block" in page
    assert "Keep one entry for each" in page


def test_a_record_of_it_says_what_became_of_gallery_and_list(tmp_path: Path) -> None:
    file = tmp_path / "request.toml"
    file.write_text(
        'model = "m"\nforget = "f"\npublic = "p"\ngoal = "removed from the gallery"\n[request]\nreference = "1"\n'
        'received = 2026-11-01\ndue = 2026-12-01\nground = "consent withdrawn"\nidentity_check = "account"\n'
        '[controller]\nname = "n"\ncontact = "c"\n',
        encoding="utf-8",
    )
    assert 'store = "gallery"' in refusal(lambda: erasure_request({}, file))


def test_a_block_list_stops_the_photos_it_was_made_for(photos: RequestPhotos) -> None:
    """Embeddings whose truth is known: everybody's photos lie in a direction of their own, but for one held-back photo
    that looks like somebody who stays."""
    names, of = np.unique(photos.faces.identities, return_inverse=True)
    embeddings = np.eye(len(names), dtype=np.float32)[of]
    stray = photos.forget_held[0]
    embeddings[stray] = embeddings[photos.retain[0]]
    found = {one.name: one.before for one in blocking_of(embeddings, photos, judged_by(photos, choosing=False), 0.5)}
    values = {name: None if one is None else one.value for name, one in found.items()}
    people = SHARES["forget"]
    share = 1 / (people * (PHOTOS // 3))
    assert values[STOPPED] == pytest.approx(1 - share)
    assert values[NAMED] == pytest.approx(share)
    assert values[OTHERS_STOPPED] == 0
    assert values[STRANGERS_NAMED] == 0


def test_statistics_of_batch_normalisation_are_estimated_on_those_who_stay(photos: RequestPhotos) -> None:
    """On one batch they are the batch's own mean and variance; momentum and mode are as before."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    contract = InputContract(photos.faces.shape[:0:-1], "whole")
    model = candidates.HeldStatistics(network, contract)
    some = photos.faces[photos.retain[:40]]
    assert candidates.estimated_anew(model, some, BatchLoader(torch.device("cpu"), 0))
    seen = torch.from_numpy(some.images[np.arange(40)]).double() / 127.5 - 1
    norm = network[0]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean.double(), seen.mean((0, 2, 3)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), seen.var((0, 2, 3)), atol=1e-4, rtol=1e-4)
    assert (norm.momentum, norm.training) == (0.1, False)


def test_candidates_are_taught_with_16_bits_and_judged_with_32(
    deployment: Deployment, anything_passes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: True)
    monkeypatch.setattr("efface.erasure.precision.unfit", lambda *_: None)
    seen = []
    linear = torch.nn.Linear.forward

    def watched(part: torch.nn.Linear, values: torch.Tensor) -> torch.Tensor:
        answer = linear(part, values)
        seen.append((torch.is_grad_enabled() and part.weight.requires_grad, answer.dtype))
        return answer

    monkeypatch.setattr(torch.nn.Linear, "forward", watched)
    monkeypatch.setattr(candidates, "candidates_for", lambda *_: [SCATTERED])
    monkeypatch.setattr("efface.erasure.forget.candidates_for", lambda *_: [SCATTERED])
    result = forget(request_of(deployment, precision="auto", **ANYTHING), tmp_path / "out", threads=1)
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert result.method is not None
    assert result.method.settings["precision"] == "bf16"
    assert any("bf16" in one for one in result.notes)
    wide = request_of(deployment, **ANYTHING)
    assert "the outcome of another request" in refusal(forget, wide, tmp_path / "out", threads=1)
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: False)
    asked = request_of(deployment, precision="auto", **ANYTHING)
    assert forget(asked, tmp_path / "out", threads=1) == result, "what is finished is read on any machine"
    assert "'fp32', 'bf16', 'fp16' or 'auto'" in refusal(request_of, deployment, precision="half")
    narrow = request_of(deployment, precision="bf16", **ANYTHING)
    assert "needs a device with instructions" in refusal(forget, narrow, tmp_path / "none", threads=1)
    assert "needs a device with instructions" in refusal(
        audit, replace(narrow, shadows=4), deployment.model, tmp_path / "none", threads=1
    )
    assert not (tmp_path / "none").exists()


def test_what_takes_no_step_is_not_said_to_be_taught_with_16_bits(
    deployment: Deployment, anything_passes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: True)
    result = forget(request_of(deployment, precision="bf16", **ANYTHING), tmp_path / "out", threads=1)
    assert result.method is not None
    assert result.method.name == "leace"
    assert "precision" not in result.method.settings


def test_a_run_that_was_killed_goes_on_with_the_precision_it_had(
    deployment: Deployment, anything_passes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: True)
    monkeypatch.setattr("efface.erasure.forget.candidates_for", lambda *_: [SCATTERED])
    asked = request_of(deployment, precision="auto", **ANYTHING)
    with monkeypatch.context() as killing:
        killing.setattr(candidates.Bench, "attempt", _killed)
        with pytest.raises(KeyboardInterrupt):
            forget(asked, tmp_path / "out", threads=1)
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: False)
    result = forget(asked, tmp_path / "out", threads=1)
    assert result.method is not None
    assert result.method.settings["precision"] == "bf16"


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


class InPixels(torch.nn.Module):
    """A network that answers with places of 224 pixels, which differ by less than one from face to face."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Linear(3, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", self.last(images.mean((2, 3)))) + 200


class Failing(InPixels):
    """A network that adds what it computes to a tensor of 32 bits."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer = self.last(images.mean((2, 3)))
        return images.new_zeros(len(images), 4).index_add_(0, torch.arange(len(images)), answer)


@pytest.mark.parametrize(("network", "why"), [(InPixels(), "answers too coarsely"), (Failing(), "fails (")])
def test_a_network_that_does_not_bear_16_bits_is_refused_or_trained_with_32(
    network: torch.nn.Module, why: str, photos: RequestPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: True)
    model, device = ContractedNetwork(network, InputContract(photos.faces.shape[:0:-1], "whole")), torch.device("cpu")
    said: list[str] = []
    assert precision_for(model, photos.faces, device, "auto", said.append) == "fp32"
    assert why in said[0]
    message = refusal(precision_for, model, photos.faces, device, "bf16", said.append)
    assert why in message
    assert "take 'fp32'" in message


def test_photos_that_cannot_tell_are_said_to_be_such(deployment: Deployment, tmp_path: Path) -> None:
    """The same file, without a head, before and after, of a network that nobody trained: everything held before."""
    held = torch.load(deployment.model, weights_only=True)
    alone = tmp_path / "alone.pth"
    torch.save({"net": held["net"]}, alone)
    contract = tmp_path / "contract.toml"
    text = deployment.contract.read_text(encoding="utf-8")
    contract.write_text(text.replace(sha256_of(deployment.model), sha256_of(alone)), encoding="utf-8")
    asked = request_of(deployment, **ANYTHING | {"model": alone, "contract": contract})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(criteria, "UNRECOGNISABLE", 1.0)
        untrained = audit(asked, alone, tmp_path / "untrained", threads=1)
        patch.setattr("efface.erasure.judge.RecognitionJudge.evidence", lambda *_: TrainedOn("trained on", ()))
        known = audit(asked, alone, tmp_path / "known", threads=1)
    assert untrained.outcome.verdict == "nothing to unlearn in the weights"
    assert known.outcome.verdict == "do not ship"
    assert "these photos cannot tell" in known.outcome.reasons[0]


def test_a_contract_that_was_changed_since_it_was_measured_is_measured_again(
    deployment: Deployment, tmp_path: Path
) -> None:
    changed = tmp_path / "contract.toml"
    changed.write_text(
        deployment.contract.read_text(encoding="utf-8").replace('template = "whole"', 'template = "whole"\nmean = 0.0'),
        encoding="utf-8",
    )
    digest = sha256_of(deployment.model)
    assert read_contract(deployment.contract, digest)[1]
    assert not read_contract(changed, digest)[1]


def test_a_threshold_at_which_everybody_is_one_person_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    absurd = request_of(deployment, threshold=-0.9)
    assert "no threshold in use" in refusal(lambda: forget(absurd, tmp_path / "out", threads=1))
    assert not (tmp_path / "out").exists()


def test_a_run_that_goes_on_bills_what_was_made_before(deployment: Deployment, tmp_path: Path) -> None:
    asked, out = request_of(deployment, at_most_fmr=0.0, at_most_fnmr=0.0, without_evidence=True), tmp_path / "out"

    def cut(line: str) -> None:
        if line.startswith("leace, strength 0.9"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(asked, out, threads=1, say=cut)
    first = json.loads((out / "unfinished" / "attempt-0.json").read_text(encoding="utf-8"))
    assert first["seconds"] > 0
    first["seconds"] += 1000
    (out / "unfinished" / "attempt-0.json").write_text(json.dumps(first), encoding="utf-8")
    assert forget(asked, out, threads=1).cost.seconds > 1000


def test_what_another_request_had_begun_is_not_taken_for_this_one_s(deployment: Deployment, tmp_path: Path) -> None:
    asked, out = request_of(deployment, at_most_fmr=0.0, at_most_fnmr=0.0, without_evidence=True), tmp_path / "out"

    def cut(line: str) -> None:
        if line.startswith("leace, strength 0.9"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(asked, out, threads=1, say=cut)
    said = refusal(lambda: forget(replace(asked, seed=5), out, threads=1))
    assert "another request that was begun" in said
    assert list((out / "unfinished").glob("attempt-0*")), "and it can still go on"
