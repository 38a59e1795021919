"""Networks in bf16: the same weights, answers of 32 bits close to those of fp32, and every method works on them."""

import copy
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from efface.data.batches import Batch, BatchLoader
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.experiment.shadows import way_of
from efface.experiment.stacked import train_stacked
from efface.methods import METHODS, tasks_of
from efface.models import MODELS
from efface.models.precision import computing_in, in_precision
from efface.settings import Precision
from efface.tasks import TASKS
from efface.testing import tiny_problem, with_teachers
from efface.training import environment
from efface.training.environment import deterministic_torch, precision_on
from efface.training.train import train

CPU = torch.device("cpu")
BRIEFLY: dict[str, dict[str, Any]] = {
    "retrain": {"epochs": 1},
    "cure": {"epochs": 1},
    "unsir": {"noise_steps": 1},
    "laf": {"autoencoder_steps": 2},
    "unsir_official": {"noise_steps": 1, "impair_steps": 1},
    "miu": {"epochs": 1, "tuning": 1},
    "out_of_fold": {"steps": 2},
    **{
        name: {"epochs": 1} for name in ("salun", "l1_sparse", "sfr_on", "msg", "eu_k", "cf_k", "ct", "delete", "scrub")
    },
}


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Root mean square of the difference, over the spread of the second."""
    return float(np.sqrt(np.square(ours - theirs).mean()) / np.asarray(theirs, np.float64).std())


@pytest.mark.parametrize("name", ["eyenet", "resnet18", "iresnet", "mobilefacenet"])
def test_bf16_is_the_same_network_with_answers_close_by(name: str) -> None:
    torch.manual_seed(0)
    wide = MODELS[name]((3, 32, 32), 5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    narrow = in_precision(copy.deepcopy(wide), "bf16")
    assert in_precision(wide, "fp32") is wide
    assert isinstance(narrow, type(wide))
    assert type(narrow).__name__ == type(wide).__name__
    assert list(narrow.state_dict()) == list(wide.state_dict())
    assert all(torch.equal(value, wide.state_dict()[key]) for key, value in narrow.state_dict().items())
    images = torch.rand(8, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        theirs, ours = wide.eval()(images), narrow.eval()(images)
        again = copy.deepcopy(narrow)(images)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, again), "a copy computes as its original does"
    assert not torch.equal(ours, theirs)
    assert 0 < apart(ours.numpy(), theirs.numpy()) < 0.05
    assert not torch.is_autocast_enabled("cpu")


def test_prelu_of_few_channels_computes_with_32_bits_on_a_cpu_and_hands_on_16() -> None:
    wide = nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(4))
    narrow = in_precision(copy.deepcopy(wide), "bf16")
    handed: list[tuple[torch.Tensor, torch.Tensor]] = []
    narrow[1].register_forward_hook(lambda _part, given, answer: handed.append((given[0], answer)))
    narrow(torch.randn(2, 3, 8, 8)).sum().backward()
    ((given, answer),) = handed
    assert given.dtype == answer.dtype == torch.bfloat16
    assert torch.equal(answer, wide[1](given.float()).bfloat16())
    assert narrow[1].weight.grad is not None
    assert list(narrow.state_dict()) == list(wide.state_dict())
    assert type(in_precision(nn.Sequential(nn.PReLU(64)), "bf16")[0]) is nn.PReLU, "these are fast as they are"


@pytest.mark.parametrize("name", ["resnet18", "iresnet"])
def test_a_network_computes_with_32_bits_again_after(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]((3, 32, 32), 5, width=4).eval()
    images, kinds = torch.rand(2, 3, 32, 32), [type(part) for part in model.modules()]
    before = model(images)
    with computing_in(model, "bf16"):
        assert not torch.equal(model(images), before)
        assert type(in_precision(in_precision(model, "fp16"), "bf16")) is not kinds[0]
    with suppress(ZeroDivisionError), computing_in(model, "bf16"):
        raise ZeroDivisionError
    assert [type(part) for part in model.modules()] == kinds
    assert torch.equal(model(images), before)


class Announced(nn.Module):
    """A class that asks something of its subclasses, and answers with a tuple where that is asked for."""

    def __init_subclass__(cls, *, name: str) -> None:
        raise AssertionError(name)

    def forward(self, images: torch.Tensor, *, both: bool = False) -> Any:
        product = images.flatten(1) @ images.flatten(1).T
        return {"one": (product, [product])} if both else product


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_networks_of_any_class_and_call_compute_with_16_bits(precision: Precision) -> None:
    model = in_precision(Announced(), precision)
    images = torch.rand(4, 3, 2, 2)
    assert model(images).dtype == torch.float32
    if precision == "bf16":
        first, (second,) = model(images, both=True)["one"]
        assert first.dtype == second.dtype == torch.float32
    assert not torch.equal(model(images), Announced()(images))


def test_losses_and_heads_have_32_bits() -> None:
    seen: list[torch.dtype] = []

    class Watching(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            product = images.flatten(1) @ images.flatten(1).T
            seen.append(product.dtype)
            return product

    net = in_precision(Watching(), "bf16")
    assert net(torch.rand(4, 3, 2, 2)).dtype == torch.float32
    assert seen == [torch.bfloat16]
    recogniser = in_precision(MODELS["iresnet"]((3, 16, 16), 5, depth=10, width=4, dimensions=8), "bf16")
    faces = Batch(torch.rand(6, 3, 16, 16), torch.arange(6) % 5, np.arange(6))
    loss = TASKS["recognition"].loss(recogniser, faces)
    loss.mean().backward()  # type: ignore[no-untyped-call]
    assert loss.dtype == torch.float32
    assert {one.grad.dtype for one in recogniser.parameters() if one.grad is not None} == {torch.float32}


@pytest.mark.parametrize("name", list(TASKS))
def test_training_in_bf16_ends_close_to_fp32_and_repeats(name: str) -> None:
    task = TASKS[name]
    splits, original = tiny_problem(task)
    loss: dict[str, float] = {}
    models: dict[str, list[nn.Module]] = {"fp32": [], "bf16": [], "fp16": []}
    tried = ["fp32", "bf16", "bf16", *(["fp16"] if name == "eyes" else [])]  # CPUs are slow with convolutions in fp16
    for precision in cast("list[Precision]", tried):
        with deterministic_torch(CPU, 1, 0):
            start = in_precision(copy.deepcopy(original), precision)
            model = train(start, task, splits.retain, BatchLoader(CPU, 3), epochs=4, lr=1e-3)
        models[precision].append(model)
        assert all(one.dtype == torch.float32 for one in model.parameters())
        batch = next(BatchLoader(CPU, 0)(splits.retain, batch=len(splits.retain)))
        with torch.no_grad():
            loss[precision] = float(task.loss(model.eval(), batch).mean())
            loss["before"] = float(task.loss(original.eval(), batch).mean())
    first, again = models["bf16"]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert loss["bf16"] != loss["fp32"]
    gained = loss["before"] - loss["fp32"]
    assert gained > 0
    assert loss["before"] - loss["bf16"] == pytest.approx(gained, rel=0.25)
    if "fp16" in tried:
        assert loss["before"] - loss["fp16"] == pytest.approx(gained, rel=0.1)


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_gradients_of_any_size_pass_a_network_in_fp16(size: float) -> None:
    """Weights and pictures get them, and so do weights that are also used outside of the network."""
    torch.manual_seed(0)
    wide = MODELS["resnet18"]((3, 16, 16), 3, width=4, stem="small").eval()
    narrow = in_precision(copy.deepcopy(wide), "fp16")
    images = torch.rand(8, 3, 16, 16)

    def gradients(model: nn.Module, *, autocast_alone: bool = False) -> torch.Tensor:
        weights, shown = list(model.parameters()), images.clone().requires_grad_()
        with torch.autocast("cpu", torch.float16, enabled=autocast_alone):
            answer = model(shown)
        loss = size * (answer.float().square().sum() + weights[0].square().sum())
        return torch.cat([one.flatten() for one in torch.autograd.grad(loss, [*weights, shown])])

    true, ours, unscaled = gradients(wide), gradients(narrow), gradients(wide, autocast_alone=True)
    assert ours.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(true / size, ours / size, 0) > 0.999
    assert ours.norm() / true.norm() == pytest.approx(1, abs=0.01)
    if size != 1:
        lost = cosine(true / size, unscaled / size, 0)
        assert not lost > 0.99, "autocast alone loses them"


def test_no_gradient_and_no_network_in_fp16_stay_none() -> None:
    narrow = in_precision(MODELS["eyenet"]((3, 16, 16), widths=(2, 2, 2), hidden=4), "fp16")
    loss = (0 * narrow(torch.rand(2, 3, 16, 16))).sum()
    loss.backward()
    assert [one.grad.abs().sum() for one in narrow.parameters() if one.grad is not None] == [0] * 10


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_works_on_a_network_in_bf16(name: str) -> None:
    task = TASKS[next(one for one in ("recognition", "classes", "eyes", "attributes") if one in tasks_of(name))]
    splits, original = tiny_problem(task)
    with deterministic_torch(CPU, 1, 1):
        start = in_precision(copy.deepcopy(original), "bf16")
        data = replace(
            with_teachers(splits, original, task),
            checkpoints={1: copy.deepcopy(original.state_dict())},
            original=copy.deepcopy(start).requires_grad_(False).eval(),
        )
        model = METHODS[name](start, task, data, BatchLoader(CPU, 1), **BRIEFLY.get(name, {}))
    answers = outputs(model, splits.forget.images, CPU)
    assert answers.dtype == np.float32
    assert np.isfinite(answers).all()
    assert all(one.dtype == torch.float32 for one in model.parameters())


def test_networks_in_bf16_are_stacked_and_those_in_fp16_are_not() -> None:
    task = TASKS["eyes"]
    splits, original = tiny_problem(task)
    models = [in_precision(copy.deepcopy(original), "bf16") for _ in range(2)]
    feeds = [BatchLoader(CPU, seed) for seed in range(2)]
    how: dict[str, Any] = {"lr": 1e-3, "batch": 16, "weight_decay": 0.0, "optimiser": "adamw", "milestones": ()}
    train_stacked(models, task, [splits.retain] * 2, feeds, epochs=1, augment="none", **how)
    before = dict(original.named_parameters())
    for model in models:
        assert all(value.dtype == torch.float32 for value in model.parameters())
        assert any(not torch.equal(value, before[key]) for key, value in model.named_parameters())

    assert way_of("auto", task, "cuda", 1, "bf16") == "stacked"
    assert way_of("auto", task, "cuda", 1, "fp16") == "in turn"
    with pytest.raises(InputError, match="'stacked' does not work in fp16"):
        way_of("stacked", task, "cuda", 1, "fp16")


def test_what_a_device_computes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for lines, able in (("flags : fpu avx512_bf16", True), ("Features : fp asimd bf16", True), ("flags : avx2", False)):
        told = dict([[part.strip() for part in lines.split(":")]])
        monkeypatch.setattr(environment, "_told_of_cpu", lambda name, told=told: told.get(name, ""))
        assert precision_on(CPU, "auto") == ("bf16" if able else "fp32")
        assert precision_on(CPU, "fp32") == "fp32"
        if able:
            assert precision_on(CPU, "bf16") == "bf16"
            continue
        with pytest.raises(InputError, match="precision = 'bf16' needs a device with instructions for it") as refused:
            precision_on(CPU, "bf16")
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="precision = 'half' is unknown: expected one of fp32, bf16, fp16, auto"):
        precision_on(CPU, "half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="precision = 'fp16' is for GPUs, and the device is 'cpu'"):
        precision_on(CPU, "fp16")
