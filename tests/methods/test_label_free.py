"""CURE and its rivals: their losses against loops, their clusters, and that each does what it is named for."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn
from torch.nn import functional

from conftest import refusal
from efface.data.batches import BatchLoader
from efface.data.faces import Images, MethodData, Splits
from efface.data.vectors import units
from efface.errors import InputError
from efface.methods import METHODS, clusters
from efface.methods.clusters import cluster, farthest, matched
from efface.methods.cure import Clusters, distribution_shift, feature_shift, kept_apart, linear_head
from efface.methods.dampening import dampening
from efface.methods.dispersion import crowded
from efface.methods.distillation import paired_batches, perturb, steps_of, teacher_of
from efface.methods.laf import Autoencoder, aligned, bounded, fitted
from efface.methods.scrub import scrub
from efface.methods.unsir import far_noise
from efface.models.reset import reinitialise
from efface.tasks import TASKS
from efface.testing import tiny_problem
from efface.training.environment import deterministic_torch

TASK, CPU = TASKS["recognition"], torch.device("cpu")


@pytest.fixture(scope="module")
def problem() -> tuple[Splits, nn.Module]:
    return tiny_problem(TASK)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def applied(problem: tuple[Splits, nn.Module], name: str, **settings: Any) -> nn.Module:
    splits, original = problem
    with deterministic_torch(CPU, 1, 1):
        return METHODS[name](copy.deepcopy(original), TASK, splits.data, BatchLoader(CPU, 1), **settings)


def outputs(model: nn.Module, data: MethodData, part: str) -> Tensor:
    return torch.from_numpy(np.array(BatchLoader(CPU, 0).outputs(model, getattr(data, part))))


def alike(problem: tuple[Splits, nn.Module], model: nn.Module, part: str) -> float:
    """Mean cosine of the embeddings of a part to what the original answers."""
    splits, original = problem
    now, was = (outputs(one, splits.data, part) for one in (model, original))
    return float(functional.cosine_similarity(now, was).mean())


# Clusters

CENTRES = np.eye(4, 6)
BLOBS = np.repeat(CENTRES, 20, axis=0) + np.random.default_rng(0).normal(0, 0.05, (80, 6))


def test_many_faces_are_clustered_by_batches_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MANY", len(BLOBS) - 1)
    by_batches, centroids = cluster(BLOBS, "kmeans", 4, 0)
    monkeypatch.undo()
    whole, others = cluster(BLOBS, "kmeans", 4, 0)
    assert adjusted_rand_score(whole, by_batches) == 1
    nearest = np.linalg.norm(centroids[:, None] - others[None], axis=2).min(1)
    assert nearest.max() < 1e-3


@pytest.mark.parametrize("algorithm", ["kmeans", "gmm", "dbscan"])
def test_every_algorithm_finds_clusters_that_are_there(algorithm: Any) -> None:
    labels, centroids = cluster(BLOBS, algorithm, 4, 0, reach=0.4)
    assert adjusted_rand_score(np.repeat(range(4), 20), labels) == 1
    assert centroids.shape == (4, 6)
    for one in range(4):
        assert centroids[one] == pytest.approx(units(BLOBS)[labels == one].mean(0))


def test_what_dbscan_calls_noise_joins_the_nearest() -> None:
    stray = np.vstack([BLOBS, [[0.8, 0.5, 0, 0, 0.4, 0.4]]])
    labels, centroids = cluster(stray, "dbscan", 4, 0, reach=0.3)
    assert labels[-1] == labels[0]
    assert labels.max() == len(centroids) - 1


@pytest.mark.parametrize(
    ("algorithm", "count", "reach", "words"),
    [
        ("kmeans", 81, 0.5, "81 clusters of 80 faces were asked for: expected 2 to 80"),
        ("gmm", 1, 0.5, "1 clusters of 80 faces"),
        ("dbscan", 4, 1e-6, "dbscan found 0 clusters in 80 faces"),
        ("dbscan", 4, 2.0, "dbscan found 1 cluster in 80 faces"),
    ],
)
def test_clusters_that_cannot_be_are_refused(algorithm: Any, count: int, reach: float, words: str) -> None:
    assert words in refusal(cluster, BLOBS, algorithm, count, 0, reach=reach)


def test_the_farthest_cluster_is_that_of_a_loop() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    expected = [max(range(6), key=lambda other: float(np.linalg.norm(points[one] - points[other]))) for one in range(6)]
    assert farthest(points).tolist() == expected


def test_clusters_found_anew_keep_their_numbers() -> None:
    old = CENTRES.astype(np.float32)
    labels, centroids = matched(np.array([0, 1, 2, 3]), (old + 0.01)[[2, 0, 3, 1]], old)
    assert labels.tolist() == [2, 0, 3, 1]
    assert centroids == pytest.approx(old + 0.01)


@pytest.mark.parametrize("count", [2, 6])
def test_more_or_fewer_clusters_than_before_leave_their_number_as_it_was(count: int) -> None:
    old = CENTRES.astype(np.float32)
    new = np.vstack([old, old + 0.3])[:count] + np.float32(0.01)
    labels, centroids = matched(np.arange(count), new, old)
    assert centroids.shape == old.shape
    assert labels[:2].tolist() == [0, 1]
    assert labels.max() < 4


def test_when_embeddings_have_collapsed_the_last_clusters_stay() -> None:
    clusters = Clusters("dbscan", 4, 0.4, 3, seed=0)
    before = clusters.targets(BLOBS)
    assert (clusters.targets(np.ones_like(BLOBS)) == before).all()
    assert clusters.times == 2


# CURE's losses


def test_kept_apart_is_that_of_a_loop() -> None:
    unit, was, kept = (functional.normalize(random(count, 5, seed=seed)) for seed, count in enumerate((4, 4, 3)))
    margin = 0.1
    own = [max(0.0, float(unit[i] @ was[i]) - margin) for i in range(4)]
    others = [[float(unit[i] @ kept[k]) for k in range(3)] for i in range(4)]
    for which, hinged in {
        "nearest": np.mean([max(0.0, max(row) - margin) for row in others]),
        "mean": np.mean([max(0.0, float(np.mean(row)) - margin) for row in others]),
        "all": np.mean([max(0.0, one - margin) for row in others for one in row]),
    }.items():
        assert float(kept_apart(unit, was, kept, margin, which)) == pytest.approx(  # type: ignore[arg-type]
            np.mean(own) + hinged, abs=1e-6
        )


def test_distribution_shift_is_the_divergence_from_the_teacher() -> None:
    held, stays = random(3, 5), random(3, 5, seed=1)
    found = 0.0
    for student, teacher in zip(functional.normalize(held), functional.normalize(stays), strict=True):
        p, q = (np.exp(one.numpy() / 0.5) / np.exp(one.numpy() / 0.5).sum() for one in (teacher, student))
        found += float((p * np.log(p / q)).sum()) / 3
    assert float(distribution_shift(held, stays, 0.5)) == pytest.approx(found, abs=1e-6)
    assert float(distribution_shift(held, held, 0.5)) == pytest.approx(0, abs=1e-6)


def test_feature_matching_is_the_squared_distance_in_the_units_it_says() -> None:
    held, stays = random(4, 5), 3 * random(4, 5, seed=1)
    plain = np.mean(
        [sum((float(a) - float(b)) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(held, stays, strict=True)]
    )
    assert float(feature_shift(held, stays, "plain", 7.0)) == pytest.approx(plain, rel=1e-5)
    assert float(feature_shift(held, stays, "scaled", 7.0)) == pytest.approx(plain / 7, rel=1e-5)
    cosine = functional.cosine_similarity(held, stays).mean()
    assert float(feature_shift(held, stays, "unit", 7.0)) == pytest.approx(2 - 2 * float(cosine), rel=1e-5)


def test_cures_rate_falls_at_its_milestones(problem: tuple[Splits, nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []

    def recorded(optimiser: torch.optim.Optimizer, _: Tensor) -> None:
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()

    monkeypatch.setattr(sys.modules["efface.methods.cure"], "training_step", recorded)
    batch = len(problem[0].forget) // 2
    applied(problem, "cure", epochs=4, lr=1.0, batch=batch, milestones=(1, 3))
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_a_classifier_at_the_centroids_names_each_cluster_and_a_random_one_does_not_have_to() -> None:
    labels, centroids = cluster(BLOBS, "kmeans", 4, 0)
    linear = linear_head(centroids, "centroids")
    assert (linear(torch.from_numpy(units(BLOBS))).argmax(1).numpy() == labels).all()
    assert float(linear_head(centroids, "random").bias.detach().abs().sum()) > 0


def reach_of_two(embeddings: Tensor) -> float:
    """A reach at which dbscan, with two neighbours, finds two clusters at least."""
    for reach in np.geomspace(0.01, 1, 60):
        try:
            cluster(embeddings.numpy(), "dbscan", 2, 0, reach=reach, neighbours=2)
        except InputError:
            continue
        return float(reach)
    raise AssertionError("no reach separates these embeddings")


@pytest.mark.parametrize(
    "settings",
    [
        {"clustering": "gmm"},
        {"clustering": "dbscan", "neighbours": 2},
        {"classifier": "random"},
        {"contrast_with": "mean"},
        {"contrast_with": "all"},
        {"optimiser": "sgd", "lr": 0.01},
        {"optimiser": "adam", "milestones": (1,)},
        {"feature_matching": "plain"},
        {"every": 1},
    ],
)
def test_cure_runs_with_every_choice(problem: tuple[Splits, nn.Module], settings: dict[str, Any]) -> None:
    if settings.get("clustering") == "dbscan":
        settings = {**settings, "reach": reach_of_two(outputs(problem[1], problem[0].data, "forget"))}
    model = applied(problem, "cure", epochs=2, **settings)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("cure", {"clusters": 100_000}, "100000 clusters of"),
        ("cure", {"retain_clusters": 100_000}, "100000 clusters of"),
        ("cure", {"clustering": "dbscan", "reach": 1e-6}, "dbscan found 0 clusters"),
        ("unsir", {"clusters": 100_000}, "100000 clusters of"),
        ("dispersion", {"clusters": 100_000}, "100000 clusters of"),
    ],
)
def test_clusters_that_the_faces_do_not_have_are_refused(
    problem: tuple[Splits, nn.Module],
    name: str,
    settings: dict[str, Any],
    words: str,
) -> None:
    assert words in refusal(applied, problem, name, **settings)


# What each method is named for


@pytest.mark.parametrize("name", ["cure", "scrub", "bad_teacher", "unsir", "dispersion", "neggrad_plus"])
def test_the_forgotten_move_farther_from_the_original_than_the_retained(
    problem: tuple[Splits, nn.Module],
    name: str,
) -> None:
    settings: dict[str, Any] = {"lr": 2e-3, "epochs": 20, "batch": 16}
    settings |= {"labels": False, "alpha": 0.5} if name == "neggrad_plus" else {}
    model = applied(problem, name, **settings)
    assert alike(problem, model, "forget") < alike(problem, model, "retain") - 0.1


def test_bad_teacher_takes_the_forgotten_and_not_the_retained_to_the_untrained_network(
    problem: tuple[Splits, nn.Module],
) -> None:
    splits, original = problem
    with deterministic_torch(CPU, 1, 1):
        bad = reinitialise(copy.deepcopy(original))
    model = applied(problem, "bad_teacher", lr=2e-3, epochs=20, batch=16)

    def astray(one: nn.Module, part: str) -> float:
        return float(
            functional.cosine_similarity(outputs(one, splits.data, part), outputs(bad, splits.data, part)).mean()
        )

    gained = {part: astray(model, part) - astray(original, part) for part in ("forget", "retain")}
    assert gained["forget"] > 0
    assert gained["forget"] > gained["retain"]


def test_scrub_steps_away_then_back_and_stops_stepping_away(problem: tuple[Splits, nn.Module]) -> None:
    splits, original = problem
    forgotten = set(splits.forget.keys.tolist())
    seen: list[str] = []

    class Recording(BatchLoader):
        def count(self, faces: Any, rows: Any) -> None:
            seen.append("away" if faces.keys[rows[0]] in forgotten else "back")
            super().count(faces, rows)

    batch = len(splits.forget)
    scrub(copy.deepcopy(original), TASK, splits.data, Recording(CPU, 0), epochs=3, max_epochs=2, batch=batch)
    assert sorted(set(seen[:-5])) == ["away", "back"]  # the teacher's answers
    assert seen[-5:] == ["away", "back", "away", "back", "back"]


@pytest.mark.parametrize("name", ["cure", "scrub", "bad_teacher", "unsir", "laf", "dispersion"])
def test_the_same_epochs_and_batch_are_the_same_budget_of_retained_faces(
    problem: tuple[Splits, nn.Module],
    name: str,
) -> None:
    splits, original = problem
    retained = set(splits.retain.keys.tolist())
    faces_used = 0

    class Counting(BatchLoader):
        def count(self, faces: Any, rows: Any) -> None:
            nonlocal faces_used
            faces_used += len(rows) * (faces.keys[rows[0]] in retained)
            super().count(faces, rows)

    batch = len(splits.forget) // 3
    assert len(splits.forget) == 3 * batch
    assert len(splits.retain) % batch == 0
    with deterministic_torch(CPU, 1, 1):
        METHODS[name](copy.deepcopy(original), TASK, splits.data, Counting(CPU, 1), epochs=2, batch=batch)
    assert faces_used == len(splits.retain) + 2 * 3 * batch


def test_scrub_with_gamma_learns_the_labels_of_the_retained(problem: tuple[Splits, nn.Module]) -> None:
    splits, _ = problem
    data = splits.data

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return float(
                TASK.loss(model.eval(), BatchLoader(CPU, 0).fetch(data.retain, np.arange(len(data.retain)))).mean()
            )

    unlabelled, labelled = (loss(applied(problem, "scrub", gamma=gamma, batch=16)) for gamma in (0.0, 1.0))
    assert labelled < unlabelled


def test_scrub_with_gamma_passes_a_face_through_the_network_once_a_step(problem: tuple[Splits, nn.Module]) -> None:
    splits, original = problem
    shown = []
    for gamma in (0.0, 1.0):
        model, count = copy.deepcopy(original), 0

        def counting(_: nn.Module, inputs: tuple[Tensor]) -> None:
            nonlocal count
            count += len(inputs[0])

        model.register_forward_pre_hook(counting)
        with deterministic_torch(CPU, 1, 1):
            scrub(model, TASK, replace(splits.data, original=original), BatchLoader(CPU, 1), gamma=gamma, epochs=1)
        shown.append(count)
    assert shown[0] == shown[1] > 0


def test_noise_of_unsir_lies_far_from_its_centre(problem: tuple[Splits, nn.Module]) -> None:
    _, model = problem
    centre = functional.normalize(random(4, 8))
    before = functional.cosine_similarity(model.eval()(far_noise(model, centre, (1, 24, 24), 1, 1e-9, 0.1)), centre)
    after = functional.cosine_similarity(model(far_noise(model, centre, (1, 24, 24), 30, 0.1, 0.1)), centre)
    assert float(after.mean().detach()) < float(before.mean().detach()) - 0.2


@pytest.mark.parametrize("strength", [1.0, 0.5, 1000.0])
def test_dampening_shrinks_what_only_the_forgotten_use_as_worked_out_by_hand(
    problem: tuple[Splits, nn.Module],
    strength: float,
) -> None:
    splits, _ = problem
    data = splits.data
    dark = np.zeros_like(data.retain.images.store)
    dark[data.forget.images.rows, 0, 0, 0] = 255
    dark[:, 0, 1, 1] = 255

    class Two(nn.Module):
        """Answers with two pixels, each times a weight."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([2.0, 3.0]))

        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([(images[:, 0, 0, 0] + 1) / 2, (images[:, 0, 1, 1] + 1) / 2], 1) * self.weight

    faces = {
        part: replace(getattr(data, part), images=Images(dark, getattr(data, part).images.rows))
        for part in ("forget", "retain", "public")
    }
    # The gradient of the squared norm is 2 w x²: on the first weight 4 for the forgotten and 0 for the retained, so 4
    # times the forgotten's share for all; on the second 6 for both.
    model = dampening(Two(), TASK, MethodData(**faces), BatchLoader(CPU, 0), alpha=1.1, strength=strength, batch=1)
    share = len(data.forget) / (len(data.forget) + len(data.retain))
    assert model.get_parameter("weight").tolist() == pytest.approx([2 * min(1, strength * share), 3.0])


@pytest.mark.parametrize("beyond", [False, True])
def test_dampening_starts_where_alpha_says(problem: tuple[Splits, nn.Module], beyond: bool) -> None:
    splits, original = problem
    most = 1 + len(splits.retain) / len(splits.forget)
    model = applied(problem, "dampening", alpha=1.01 * most if beyond else 0.5, batch=1)
    same = all(torch.equal(weight, original.get_parameter(name)) for name, weight in model.named_parameters())
    assert same == beyond


@pytest.mark.parametrize("name", ["dampening", "jit"])
def test_statistics_of_normalisation_stay_where_faces_are_only_looked_at(
    problem: tuple[Splits, nn.Module],
    name: str,
) -> None:
    model = applied(problem, name)
    assert all(torch.equal(value, model.get_buffer(which)) for which, value in problem[1].named_buffers())


def test_jit_asks_for_no_retained_face(problem: tuple[Splits, nn.Module]) -> None:
    splits, original = problem
    loader = BatchLoader(CPU, 0)
    METHODS["jit"](copy.deepcopy(original), TASK, splits.data, loader, epochs=3)
    assert loader.faces_used == 3 * len(splits.forget)


def test_jit_smooths_the_model_around_the_forgotten(problem: tuple[Splits, nn.Module]) -> None:
    splits, original = problem
    images = BatchLoader(CPU, 0).fetch(splits.forget, np.arange(len(splits.forget))).images
    noise = 0.1 * random(*images.shape)

    def moved(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model.eval()(images + noise) - model(images)).norm(dim=1).mean())

    assert moved(applied(problem, "jit", lr=0.3, epochs=5)) < 0.9 * moved(original)


def test_dispersion_scatters_clusters_as_its_loss_says(problem: tuple[Splits, nn.Module]) -> None:
    unit = functional.normalize(random(4, 3))
    pairs = [(0, 1), (2, 3)]
    found = float(np.log(np.mean([np.exp(2 * float(unit[i] @ unit[j])) for i, j in pairs])))
    assert float(crowded(3 * unit, torch.tensor([0, 0, 1, 1]), 2.0)) == pytest.approx(found, abs=1e-6)
    assert float(crowded(unit, torch.arange(4), 2.0)) == 0

    def spread(model: nn.Module) -> float:
        now = functional.normalize(outputs(model, problem[0].data, "forget"))
        return float((now @ now.T).mean())

    assert spread(applied(problem, "dispersion", lr=2e-3, clusters=2)) < spread(problem[1])


def test_the_autoencoder_of_laf_rebuilds_what_it_has_seen_and_not_the_rest() -> None:
    seen, other = random(400, 3) @ random(3, 12, seed=1), random(400, 3, seed=2) @ random(3, 12, seed=3)
    with deterministic_torch(CPU, 1):
        model = fitted(Autoencoder(12, 32, 6), seen.numpy(), 600, 3e-3, 0)
    assert float(bounded(model, seen).mean()) < 0.5 * float(bounded(model, other).mean())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_laf_moves_the_forgotten_to_where_the_autoencoder_of_the_retained_is_the_better_one(
    problem: tuple[Splits, nn.Module],
) -> None:
    """Both parts lie in planes of their own: the tiny recogniser's answers are too much alike to be told apart."""
    data = problem[0].data
    pixels = np.full_like(data.retain.images.store, 128)
    for seed, part in enumerate((data.forget, data.retain)):
        code = random(len(part), 2, seed=seed) @ functional.normalize(random(2, 12, seed=seed + 2))
        pixels[part.images.rows, 0, 0, :12] = (128 + 40 * code).clamp(0, 255).byte().numpy()
    faces = {
        part: replace(getattr(data, part), images=Images(pixels, getattr(data, part).images.rows))
        for part in ("forget", "retain", "public")
    }
    planes = MethodData(**faces)

    class Pixels(nn.Module):
        """Embeds a face as its first twelve pixels, turned by a matrix that starts as none."""

        def __init__(self) -> None:
            super().__init__()
            self.turn = nn.Parameter(torch.eye(12))

        def forward(self, images: Tensor) -> Tensor:
            return 3 * images[:, 0, 0, :12] @ self.turn

    with deterministic_torch(CPU, 1):
        judges = [
            fitted(Autoencoder(12, 64, 4), outputs(Pixels(), planes, part).numpy(), 400, 3e-3, 0)
            for part in ("retain", "forget")
        ]
        model = METHODS["laf"](
            Pixels(),
            TASK,
            planes,
            BatchLoader(CPU, 1),
            lr=1e-2,
            epochs=20,
            batch=16,
            latent=4,
            autoencoder_steps=400,
            autoencoder_lr=3e-3,
        )

    def misfit(model: nn.Module) -> float:
        now = outputs(model, planes, "forget")
        return float((bounded(judges[0], now) - bounded(judges[1], now)).mean())

    kept = functional.cosine_similarity(outputs(model, planes, "retain"), outputs(Pixels(), planes, "retain")).mean()
    moved = functional.cosine_similarity(outputs(model, planes, "forget"), outputs(Pixels(), planes, "forget")).mean()
    assert misfit(Pixels()) > 0 > misfit(model)
    assert kept > moved + 0.1


def test_alignment_of_laf_is_least_where_nothing_moved() -> None:
    was = random(6, 8)
    assert float(aligned(was, was, 0.1)) < float(aligned(was.roll(1, 0), was, 0.1))
    unit = functional.normalize(was)
    expected = np.mean([np.log(sum(np.exp(float(unit[i] @ unit[j]) / 0.1) for j in range(6))) - 10 for i in range(6)])
    assert float(aligned(was, was, 0.1)) == pytest.approx(expected, abs=1e-4)


# What they share


def test_teachers_answers_stand_in_the_order_of_the_faces(problem: tuple[Splits, nn.Module]) -> None:
    splits, original = problem
    loader = BatchLoader(CPU, 0)
    teacher = teacher_of(original, splits.data, loader)
    assert loader.faces_used == len(splits.forget) + len(splits.retain)
    for _, forgotten, retained in paired_batches(loader, splits.data, epochs=1, batch=16):
        with torch.no_grad():
            now = original.eval()(retained.images)
        assert torch.allclose(teacher.of_retained(retained), now, atol=1e-5)
        assert set(forgotten.rows.tolist()) <= set(range(len(splits.forget)))


@pytest.mark.parametrize("left_over", [0, 1, 2])
def test_steps_are_counted_as_they_are_made(problem: tuple[Splits, nn.Module], left_over: int) -> None:
    data = problem[0].data
    batch = len(data.forget) - left_over
    made = sum(1 for _ in paired_batches(BatchLoader(CPU, 0), data, epochs=3, batch=batch))
    assert made == steps_of(data, epochs=3, batch=batch)


def test_a_nudge_is_small_seeded_and_everywhere(problem: tuple[Splits, nn.Module]) -> None:
    first, again, other = (copy.deepcopy(problem[1]) for _ in range(3))
    for model, seed in ((first, 1), (again, 1), (other, 2)):
        perturb(model, seed)
    before, weights = (dict(model.named_parameters())["backbone.fc.weight"].detach() for model in (problem[1], first))
    assert float((weights - before).square().mean().sqrt() / before.square().mean().sqrt()) == pytest.approx(
        1e-3, rel=0.3
    )
    assert torch.equal(weights, dict(again.named_parameters())["backbone.fc.weight"])
    assert not torch.equal(weights, dict(other.named_parameters())["backbone.fc.weight"])
