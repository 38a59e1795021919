"""`import efface` on models and data of one's own: a torch Dataset, a network of ours, and what is refused."""

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import efface
from conftest import refusal
from efface.data.own import faces_from
from efface.models import MODELS
from efface.tasks import TASKS
from efface.testing import tiny_problem

EYES = [[15.0, 10.0], [8.0, 10.0]]


class Photos(Dataset[Any]):
    """Noise of so many people, two photos of each, as a user's own dataset."""

    def __init__(self, people: range) -> None:
        self.rows = [(person, photo) for person in people for photo in range(2)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, str, str]:
        person, photo = self.rows[index]
        rng = np.random.default_rng([person, photo])
        image = torch.from_numpy(rng.random((1, 24, 24), dtype=np.float32))
        return image, torch.tensor(EYES), f"person {person}", "AB"[person % 2]


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS["eyenet"]((1, 24, 24), widths=(4, 6, 8), hidden=8)


def channels_last(model: torch.nn.Module) -> torch.nn.Module:
    """A copy in the memory layout in which this package trains."""
    copied: torch.nn.Module = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return copied


def test_a_model_forgets_with_16_bits_and_answers_with_32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efface.training.environment.computes_bf16", lambda _device: True)
    model = network()
    asked: dict[str, Any] = {"task": "eyes", "forget": Photos(range(3)), "retain": Photos(range(3, 12)), "epochs": 1}
    wide, narrow, best = (
        efface.forget(model, **asked, method="finetune", precision=one) for one in ("fp32", "bf16", "auto")
    )
    ours, theirs, same = (torch.cat([one.flatten() for one in after.parameters()]) for after in (narrow, wide, best))
    assert not torch.equal(ours, theirs)
    assert torch.equal(ours, same)
    torch.testing.assert_close(ours, theirs, atol=0.01, rtol=0)
    assert type(narrow) is type(model)
    assert "'half' is unknown" in refusal(efface.forget, model, **asked, precision="half")
    for method in (wrapped, inner):
        after = efface.forget(model, **asked | {"method": method}, precision="bf16")
        assert not any(hasattr(type(part), "of_32_bits") for part in after.modules())
    assert "returned None: expected the network" in refusal(efface.forget, model, **asked | {"method": forgetful})
    model.forward = model.forward
    assert "forward stands on the object" in refusal(efface.forget, model, **asked, precision="bf16")


def wrapped(model: torch.nn.Module, task: Any, data: Any, loader: Any, *, epochs: int) -> torch.nn.Module:
    """A network around the network."""
    return torch.nn.Sequential(model, torch.nn.Identity())


def inner(model: torch.nn.Module, task: Any, data: Any, loader: Any, *, epochs: int) -> torch.nn.Module:
    """A copy."""
    return torch.nn.Sequential(copy.deepcopy(model))


def forgetful(model: torch.nn.Module, task: Any, data: Any, loader: Any, *, epochs: int) -> None:
    """Works in place and says nothing."""


def test_a_model_forgets_what_a_dataset_holds_and_is_left_as_it_was() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    asked: dict[str, Any] = {
        "task": "eyes",
        "forget": Photos(range(3)),
        "retain": Photos(range(3, 12)),
        "method": "neggrad_plus",
    }
    after = efface.forget(model, **asked, epochs=1)
    again = efface.forget(model, **asked, epochs=1)
    other = efface.forget(model, **asked, epochs=1, seed=1)
    weights = [one.state_dict() for one in (after, again, other)]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any((weights[0][name] != value).any() for name, value in before.items())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in before)
    assert any((weights[0][name] != weights[2][name]).any() for name in before)


def test_forgetting_by_the_library_is_forgetting_by_the_method() -> None:
    splits, model = tiny_problem(TASKS["classes"])
    data: dict[str, Any] = {"forget": splits.forget, "retain": splits.retain, "public": splits.public}
    after = efface.forget(model, task="classes", method="salun", epochs=1, device="cpu", **data)
    from efface.data.batches import BatchLoader
    from efface.data.faces import MethodData
    from efface.methods import METHODS
    from efface.training.environment import deterministic_torch

    with deterministic_torch(torch.device("cpu"), torch.get_num_threads()):
        original = channels_last(model).requires_grad_(False).eval()
        wanted = METHODS["salun"](
            channels_last(model),
            TASKS["classes"],
            MethodData(**data, original=original),
            BatchLoader(torch.device("cpu"), 0),
            epochs=1,
        )
    assert all(torch.equal(after.state_dict()[name], value) for name, value in wanted.state_dict().items())


def test_two_models_are_audited_beside_a_reference_or_without_one() -> None:
    one, other = network(), network()
    other.load_state_dict({name: value * 1.1 for name, value in other.state_dict().items()})
    faces = {"forget": Photos(range(30)), "strangers": Photos(range(30, 60)), "test": Photos(range(60, 90))}
    without = efface.audit_models(one, other, task="eyes", faces=faces)
    beside = efface.audit_models(one, other, task="eyes", faces=faces, reference=one)
    families = {key.family for key in without}
    assert {"attack", "membership", "score", "increase", "fairness", "forgotten"} <= families
    assert not families & {"distance", "harm of forgetting"}
    assert not any(key.against == "reference" for key in without)
    assert {"distance", "harm of method"} <= {key.family for key in beside}
    for key, measure in without.items():
        assert beside[key] == measure, key
    assert efface.evaluate(one, task="eyes", faces=faces)["forgotten/signal_to_original"].value == 0  # type: ignore[index]


def test_pixels_of_floats_are_those_of_bytes() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    of_bytes, of_floats = (faces_from([(one, EYES)], "forget") for one in (image, image.astype(np.float32) / 255))
    assert np.array_equal(of_bytes.images[:], of_floats.images[:])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"forget": []}, "forget holds no face"),
        ({"forget": 3}, "forget is a int: expected Faces, or a list or Dataset"),
        ({"forget": [np.zeros((1, 24, 24))]}, "forget[0] is no (image, target"),
        ({"forget": [(np.zeros((24, 24), np.uint8), EYES)]}, "expected (channels, height, width)"),
        ({"forget": [(np.full((1, 24, 24), 7.0), EYES)]}, "expected uint8, or floats between 0 and 1"),
        ({"forget": [(np.zeros((1, 24, 24), np.uint8), [[90.0, 1.0], [0.0, 1.0]])]}, "forget[0]: eyes at (90, 1)"),
        ({"forget": [(np.zeros((3, 24, 24), np.uint8), EYES)]}, "images differ in shape"),
        ({"task": "eye"}, "task 'eye' is unknown; did you mean 'eyes'?"),
        ({"method": "cure"}, "method 'cure' works on recognition, not on 'eyes'"),
        ({"method": "scrap"}, "method 'scrap' is unknown; did you mean 'scrub'?"),
        ({"epoch": 2}, "unknown setting 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(change: dict[str, Any], why: str) -> None:
    asked: dict[str, Any] = {"task": "eyes", "forget": Photos(range(2)), "retain": Photos(range(2, 4))}
    assert why in refusal(efface.forget, network(), **asked | change)


def test_a_split_that_does_not_exist_is_refused() -> None:
    faces = {"forget": Photos(range(2)), "tset": Photos(range(2, 4))}
    assert "did you mean 'test'?" in refusal(efface.evaluate, network(), task="eyes", faces=faces)
    assert "forget" in refusal(efface.evaluate, network(), task="eyes", faces={})


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, efface; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
