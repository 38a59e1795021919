"""The one training loop: it learns, repeats, and goes on where it was cut off."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import Faces
from efface.models import MODELS
from efface.tasks import TASKS
from efface.testing import tiny_problem
from efface.training import train as training
from efface.training.train import counting_steps, optimizer_of, step_decay, train, training_step

EYES = TASKS["eyes"]


@pytest.fixture(scope="module")
def faces() -> Faces:
    return tiny_problem(EYES)[0].retain


def trained(
    faces: Faces,
    checkpoint: Path | None = None,
    epochs: int = 4,
    loader: BatchLoader | None = None,
) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = MODELS["eyenet"](faces.shape, widths=(4, 6, 8), hidden=16)
    return train(
        model, EYES, faces, loader or BatchLoader(torch.device("cpu"), 0), checkpoint, epochs=epochs
    ).state_dict()


def test_it_learns(faces: Faces) -> None:
    def loss(weights: dict[str, Tensor]) -> float:
        model = MODELS["eyenet"](faces.shape, widths=(4, 6, 8), hidden=16)
        model.load_state_dict(weights)
        batch = next(BatchLoader(torch.device("cpu"), 1)(faces, batch=len(faces)))
        with torch.no_grad():
            return float(EYES.loss(model, batch).mean())

    assert loss(trained(faces, epochs=30)) < 0.8 * loss(trained(faces, epochs=0))


def test_a_training_cut_off_ends_with_the_same_weights(
    faces: Faces,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    whole = trained(faces)

    class CutOff(Exception):
        pass

    class Breaking(BatchLoader):
        def __call__(self, *args, **settings):  # type: ignore[no-untyped-def]
            if self.passes == 2:
                raise CutOff
            return super().__call__(*args, **settings)

    first = Breaking(torch.device("cpu"), 0)
    first.watch(faces)
    with counting_steps(first), pytest.raises(CutOff):
        trained(faces, tmp_path / "checkpoint", loader=first)
    loader = BatchLoader(torch.device("cpu"), 0)
    torch.manual_seed(99)
    loader.watch(faces)
    with counting_steps(loader):
        resumed = trained(faces, tmp_path / "checkpoint", loader=loader)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert loader.faces_used == 4 * len(faces), "the bill holds what was paid before the cut"
    assert loader.passes_over_watched == 4
    assert loader.steps == 4 * batches_of(len(faces), 32)


def test_weight_decay_is_part_of_adams_gradient_and_apart_from_adamws() -> None:
    """The first step of either is the learning rate against the gradient's sign."""
    found = {}
    for name in ("adam", "adamw"):
        weight = torch.nn.Parameter(torch.tensor([2.0, -2.0]))
        training_step(optimizer_of(name, [weight], 0.1, 0.5), -0.3 * weight.sum())
        found[name] = weight.detach().tolist()
    assert found["adam"] == pytest.approx([2.0 - 0.1, -2.0 + 0.1], abs=1e-5)  # of -0.3 + 0.5 * 2 and -0.3 - 0.5 * 2
    assert found["adamw"] == pytest.approx([2.0 * 0.95 + 0.1, -2.0 * 0.95 + 0.1], abs=1e-5)


def test_steps_of_a_tenth_come_where_they_are_said() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    schedule, rates = step_decay(optimiser, [2, 5]), []
    for _ in range(6):
        rates.append(optimiser.param_groups[0]["lr"])
        training_step(optimiser, weight.sum())
        schedule.step()
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01])


def test_weights_are_handed_over_after_the_epochs_to_keep(faces: Faces) -> None:
    found: dict[int, dict[str, Tensor]] = {}

    def keeping(epoch: int, model: torch.nn.Module) -> None:
        found[epoch] = {name: value.clone() for name, value in model.state_dict().items()}

    torch.manual_seed(0)
    model = MODELS["eyenet"](faces.shape, widths=(4, 6, 8), hidden=16)
    cpu = torch.device("cpu")
    train(model, EYES, faces, BatchLoader(cpu, 0), None, keeping, epochs=4, milestones=(9,), keep=(2, 4))
    assert list(found) == [2, 4]
    assert all(torch.equal(value, found[4][name]) for name, value in model.state_dict().items())
    torch.manual_seed(0)
    short = MODELS["eyenet"](faces.shape, widths=(4, 6, 8), hidden=16)
    train(short, EYES, faces, BatchLoader(cpu, 0), epochs=2, milestones=(9,))
    assert all(torch.equal(value, found[2][name]) for name, value in short.state_dict().items())


def test_steps_of_weights_are_counted_and_those_of_pictures_are_not() -> None:
    loader, weight, picture = BatchLoader(torch.device("cpu"), 0), torch.nn.Parameter(torch.zeros(1)), torch.zeros(1)
    picture.requires_grad_()
    ours, learner = torch.optim.SGD([weight], lr=1.0), torch.optim.Adam([picture], lr=1.0)
    with counting_steps(loader):
        for _ in range(3):
            training_step(ours, weight.sum())
            training_step(learner, picture.sum())
    training_step(ours, weight.sum())
    assert loader.steps == 3


def test_clipping_bounds_the_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    training_step(optimiser, (weight * torch.tensor([30.0, 40.0, 0.0])).sum(), clip=1.0)
    assert torch.allclose(weight.detach(), torch.tensor([-0.6, -0.8, 0.0]), atol=1e-5)
