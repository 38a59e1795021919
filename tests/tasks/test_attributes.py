"""Classes and attributes: the network has torchvision's names, losses are the libraries', labels are read as meant."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special
from torch import nn
from torch.nn import functional

from conftest import answered, faces_of, refusal
from efface.data.augment import augmented
from efface.data.batches import Batch, BatchLoader
from efface.data.faces import Faces, Splits
from efface.evaluation.constant import constant_prediction
from efface.evaluation.evaluate import score_faces
from efface.evaluation.evidence import in_words
from efface.experiment.resolve import resolve
from efface.models.load import save_weights, start_from
from efface.models.pointwise import Pointwise
from efface.models.resnet import ResNet18, resnet18
from efface.plan.file import parse_plan
from efface.report.pictures import answer_in_words
from efface.tasks import TASKS
from efface.tasks.attributes import in_order, number_the_classes, unsure_of_class, yes_or_no

RNG = np.random.default_rng(0)


# The network


def test_the_full_network_has_torchvisions_names_shapes_and_size() -> None:
    model = resnet18((3, 224, 224), 1000)
    names = list(model.state_dict())
    assert sum(weight.numel() for weight in model.parameters()) == 11_689_512
    assert len(names) == 122
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer2.0.downsample.0.weight",
        "layer4.1.bn2.num_batches_tracked",
        "fc.bias",
    } <= set(names)
    assert model.state_dict()["conv1.weight"].shape == (64, 3, 7, 7)
    assert model.state_dict()["layer3.0.downsample.0.weight"].shape == (256, 128, 1, 1)
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)


def test_the_small_stem_keeps_the_size_of_a_small_face() -> None:
    model = resnet18((1, 32, 32), 5, width=4, stem="small")
    assert model.maxpool(model.conv1(torch.zeros(2, 1, 32, 32))).shape[-2:] == (32, 32)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("normalise", "black", "white"),
    [
        ("none", [-1.0] * 3, [1.0] * 3),
        ("zero_one", [0.0] * 3, [1.0] * 3),
        ("imagenet", [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]),
    ],
)
def test_inputs_are_brought_to_the_range_the_weights_know(
    normalise: Any,
    black: list[float],
    white: list[float],
) -> None:
    model = resnet18((3, 8, 8), 2, width=4, normalise=normalise)
    for pixel, wanted in ((-1.0, black), (1.0, white)):
        seen = torch.full((1, 3, 8, 8), pixel) * model.scale + model.shift
        assert seen[0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-6)
    assert "scale" not in model.state_dict()


def test_a_narrow_pointwise_convolution_is_the_same_sum() -> None:
    ours, theirs = Pointwise(4, 6, 2), nn.Conv2d(4, 6, 1, 2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(3, 4, 7, 8)
    assert torch.allclose(ours(images), theirs(images), atol=1e-6)


@pytest.mark.slow
def test_a_narrow_network_trains_on_two_threads() -> None:
    """In a process of its own: where the fault strikes, the process dies."""
    code = (
        "import torch; from efface.models.resnet import resnet18; torch.set_num_threads(2)\n"
        "model = resnet18((1, 24, 24), 5, width=4, stem='small').to(memory_format=torch.channels_last)\n"
        "for step in range(40):\n"
        "    images = torch.randn(32 - 3 * (step % 2), 1, 24, 24).contiguous(memory_format=torch.channels_last)\n"
        "    model(images).square().mean().backward()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pretrained_network_lends_all_but_a_last_layer_that_does_not_fit(tmp_path: Any) -> None:
    lender, model, same = (resnet18((3, 8, 8), classes, width=4) for classes in (10, 3, 10))
    save_weights(lender, tmp_path / "w.safetensors", {})
    own = model.fc.weight.clone()
    start_from(model, tmp_path / "w.safetensors")
    assert torch.equal(model.state_dict()["layer4.1.conv2.weight"], lender.state_dict()["layer4.1.conv2.weight"])
    assert torch.equal(model.fc.weight, own)
    start_from(same, tmp_path / "w.safetensors")
    assert torch.equal(same.fc.weight, lender.fc.weight)
    assert "conv1.weight" in refusal(start_from, resnet18((3, 8, 8), 3, width=8), tmp_path / "w.safetensors")


# Augmentation


def test_augmentation_follows_from_its_seed_and_leaves_the_process_alone() -> None:
    images = torch.rand(6, 3, 16, 16) * 2 - 1
    state = torch.random.get_rng_state()
    for how in ("flip", "benchmark"):
        first = augmented(images, how, np.random.default_rng(1))
        assert torch.equal(first, augmented(images, how, np.random.default_rng(1)))
        assert not torch.equal(first, augmented(images, how, np.random.default_rng(2)))
        assert first.min() >= -1 - 1e-6
        assert first.max() <= 1 + 1e-6
    assert torch.equal(state, torch.random.get_rng_state())
    assert augmented(images, "none", np.random.default_rng(1)) is images


def test_a_flip_is_the_image_or_its_mirror_image() -> None:
    images = torch.rand(40, 1, 4, 4)
    flipped = augmented(images, "flip", np.random.default_rng(0))
    mirrored = torch.tensor([torch.equal(one, other.flip(2)) for one, other in zip(flipped, images, strict=True)])
    kept = torch.tensor([torch.equal(one, other) for one, other in zip(flipped, images, strict=True)])
    assert (mirrored ^ kept).all()
    assert 8 < mirrored.sum() < 32


def test_the_benchmarks_transforms_change_grey_and_colour() -> None:
    for channels in (1, 3):
        images = torch.rand(8, channels, 16, 16)
        assert augmented(images, "benchmark", np.random.default_rng(0)).shape == images.shape
        assert (augmented(images, "benchmark", np.random.default_rng(0)) != images).any(3).any(2).any(1).all()


def test_a_pass_that_is_repeated_is_augmented_alike() -> None:
    faces = faces_of({"A": 6}, shape=(3, 8, 8))
    first = [batch.images for batch in BatchLoader(torch.device("cpu"), 3)(faces, batch=4, augment="benchmark")]
    again = [batch.images for batch in BatchLoader(torch.device("cpu"), 3)(faces, batch=4, augment="benchmark")]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


# Losses and scores


class Fixed(nn.Module):
    """Answers the same whatever it is asked."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = torch.from_numpy(logits)

    def forward(self, _images: torch.Tensor) -> torch.Tensor:
        return self.logits


LOGITS, TRUTH = RNG.normal(0, 2, (20, 5)), RNG.integers(0, 5, 20)
SEVERAL = RNG.integers(0, 2, (20, 5)).astype(np.float32)


def test_losses_are_torchs_on_tensors_and_on_arrays() -> None:
    images, rows = torch.zeros(20, 1, 2, 2), np.arange(20)
    loss = TASKS["classes"].loss(Fixed(LOGITS), Batch(images, torch.from_numpy(TRUTH), rows))
    wanted = functional.cross_entropy(torch.from_numpy(LOGITS), torch.from_numpy(TRUTH), reduction="none")
    assert torch.allclose(loss, wanted)
    assert TASKS["classes"].scores["loss"].of(answered(LOGITS, TRUTH)) == pytest.approx(wanted.numpy())
    loss = TASKS["attributes"].loss(Fixed(LOGITS), Batch(images, torch.from_numpy(SEVERAL).double(), rows))
    wanted = functional.binary_cross_entropy(
        torch.from_numpy(LOGITS).sigmoid(), torch.from_numpy(SEVERAL).double(), reduction="none"
    ).mean(1)
    assert torch.allclose(loss, wanted)
    assert TASKS["attributes"].scores["loss"].of(answered(LOGITS, SEVERAL)) == pytest.approx(wanted.numpy())


def test_divergence_is_kullback_and_leiblers_from_the_other_to_ours() -> None:
    ours, theirs = RNG.normal(0, 2, (6, 4)), RNG.normal(0, 2, (6, 4))
    p, q = special.softmax(theirs, 1), special.softmax(ours, 1)
    found = TASKS["classes"].divergence(torch.from_numpy(ours), torch.from_numpy(theirs))
    assert found.numpy() == pytest.approx((p * np.log(p / q)).sum(1))
    p, q = special.expit(theirs), special.expit(ours)
    wanted = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(1)
    found = TASKS["attributes"].divergence(torch.from_numpy(ours), torch.from_numpy(theirs))
    assert found.numpy() == pytest.approx(wanted)
    assert TASKS["classes"].divergence(torch.from_numpy(ours), torch.from_numpy(ours)).abs().max() < 1e-12


def test_scores_count_what_they_say() -> None:
    classes, attributes = TASKS["classes"].scores, TASKS["attributes"].scores
    seen = answered(np.array([[3.0, 2, 1], [3, 2, 1], [3, 2, 1]]), np.array([0, 1, 2]))
    assert classes["accuracy"].of(seen).tolist() == [1, 0, 0]
    assert classes["top2"].of(seen).tolist() == [1, 1, 0]
    assert classes["error"].of(seen).tolist() == [0, 1, 1]
    several = answered(np.array([[3.0, -2], [3, -2]]), np.array([[1.0, 0], [0, 0]]))
    assert attributes["accuracy"].of(several).tolist() == [1, 0.5]
    assert attributes["error"].of(several).tolist() == [0, 0.5]


@pytest.mark.parametrize("name", ["classes", "attributes"])
def test_the_one_answer_for_everybody_decides_between_equally_common_ones(name: str) -> None:
    targets = np.array([0, 1, 0, 1]) if name == "classes" else np.array([[0.0], [1.0], [0.0], [1.0]])
    predictions = replace(answered(np.zeros((4, 2 if name == "classes" else 1)), targets), split=np.full(4, "retain"))
    assert constant_prediction(score_faces(predictions, TASKS[name]), TASKS[name]).scores["accuracy"].mean() == 0.5


def test_a_constant_answer_names_nobody() -> None:
    same = answered(np.zeros((4, 3)), np.array([0, 1, 2, 0]))
    assert TASKS["classes"].scores["accuracy"].of(same).tolist() == [0, 0, 0, 0]


def test_the_signal_is_the_logit_of_the_confidence_turned_round() -> None:
    chance = special.softmax(LOGITS, 1)[np.arange(20), TRUTH]
    assert unsure_of_class(answered(LOGITS, TRUTH)) == pytest.approx(-np.log(chance / (1 - chance)))


# Labels


def test_classes_are_in_the_order_of_their_first_number() -> None:
    assert in_order(["more than 70", "20-29", "7-12", "a", "0-6"]) == ["0-6", "7-12", "20-29", "more than 70", "a"]


def splits_of(trained: list[str], tested: list[str]) -> Splits:
    def labelled(labels: list[str]) -> Faces:
        faces = faces_of({"A": len(labels)}, photos=1)
        return Faces(faces.images, np.array(labels, str), faces.identities, faces.groups, faces.keys)

    empty = labelled([])
    return Splits(labelled(trained), empty, labelled(trained), empty, empty, empty, labelled(tested), labelled(tested))


def test_labels_become_numbers_once_the_people_are_divided() -> None:
    splits, names = number_the_classes(splits_of(["old", "7-12", "0-6"], ["7-12"]), ("age",))
    assert names == ("0-6", "7-12", "old")
    assert splits.retain.targets.tolist() == [2, 1, 0]
    assert splits.test.targets.tolist() == [1]


def test_a_class_nobody_was_trained_on_and_a_single_class_are_refused() -> None:
    assert "has the label '90'" in refusal(number_the_classes, splits_of(["1", "2"], ["90"]), ("age",))
    assert "nothing to tell apart" in refusal(number_the_classes, splits_of(["1", "1"], ["1"]), ("age",))


@pytest.mark.parametrize("words", [["1", "-1"], ["1", "0"], ["True", "False"], ["yes", " no "], [1, 0], [1.0, -1.0]])
def test_yes_and_no_in_the_words_of_the_field(words: list[Any]) -> None:
    table = pd.DataFrame({"key": ["a", "b"], "person": ["a", "b"], "Male": words})
    assert yes_or_no(table, ["Male"]).tolist() == [[1], [0]]


def test_anything_else_is_refused_by_name() -> None:
    table = pd.DataFrame({"key": ["a", "b"], "person": ["a", "b"], "age": ["1", "20-29"]})
    message = refusal(yes_or_no, table, ["age"])
    assert "face 'b'" in message
    assert "use task 'classes'" in message


PLAN: dict[str, Any] = {
    "task": "classes",
    "goal": "influence removed",
    "data": {"name": "synthetic", "label": "age"},
    "forget": {"share": 0.2},
    "model": {"name": "resnet18"},
}


@pytest.mark.parametrize(
    ("task", "label", "complaint"),
    [
        ("classes", [], "needs label = one column"),
        ("classes", ["age", "smile"], "needs label = one column"),
        ("attributes", [], "one column or more"),
        ("eyes", ["age"], "takes no label"),
    ],
)
def test_a_plan_says_what_is_to_be_answered(task: str, label: list[str], complaint: str) -> None:
    plan = {
        **PLAN,
        "task": task,
        "data": {"name": "synthetic", "label": label},
        "model": {"name": TASKS[task].models[0]},
    }
    assert complaint in refusal(resolve, parse_plan(plan, "plan"), "plan")
    assert resolve(parse_plan(PLAN, "plan"), "plan").plan.data[0].label == ("age",)


def test_starting_afresh_draws_from_the_same_distribution_as_the_first_time() -> None:
    torch.manual_seed(0)
    model = ResNet18(3, 4, 32, "small", "none")
    first = float(model.state_dict()["layer4.1.conv2.weight"].std())
    model.reset_parameters()
    assert float(model.state_dict()["layer4.1.conv2.weight"].std()) == pytest.approx(first, rel=0.02)


# In words


def test_truth_and_answers_in_words() -> None:
    assert in_words(np.array([1, 0]), ("young", "old")).tolist() == ["old", "young"]
    assert in_words(np.array([[1.0, 1], [0, 0]]), ("Male", "Young")).tolist() == ["Male, Young", "none"]
    assert in_words(np.zeros((2, 2, 2)), ()).tolist() == ["", ""]
    assert answer_in_words(np.array([0.0, np.log(3)]), ["young", "old"], one_of_several=True) == "old (75%)"
    assert answer_in_words(np.array([2.0, -1]), ["Male", "Young"], one_of_several=False) == "Male"
    assert answer_in_words(np.array([-2.0, -1]), ["Male", "Young"], one_of_several=False) == "none"
