"""Re-identification and relearning, on embeddings whose truth is known and against naive loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import key, recognised
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure
from efface.measures.identification import cohorts, first_of_each, identification, last_of_each, probe, prototypes
from efface.measures.predictions import Predictions
from efface.measures.verification import threshold_at

SEEN = recognised(people=8, noise=0.6)


def found_in(predictions: Predictions) -> dict[MeasureKey, Measure]:
    return identification(predictions, Bootstrap(predictions, 50))


def value(found: dict[MeasureKey, Measure], name: str) -> float:
    number = found[MeasureKey.parse(name)].value
    assert number is not None
    return number


def test_rank_one_is_that_of_a_loop() -> None:
    unit = SEEN.outputs / np.linalg.norm(SEEN.outputs, axis=1, keepdims=True)
    gallery = {
        person: unit[(SEEN.identity == person) & ((SEEN.split == "forget") | (SEEN.split == "retain"))].mean(0)
        for person in np.unique(SEEN.identity[np.isin(SEEN.split, ["forget", "retain"])]).tolist()
    }
    gallery = {person: mean / np.linalg.norm(mean) for person, mean in gallery.items()}
    right = [
        max(gallery, key=lambda person: float(gallery[person] @ unit[row])) == SEEN.identity[row]
        for row in np.flatnonzero(SEEN.split == "forget_unseen")
    ]
    assert 0.2 < np.mean(right) < 1
    assert value(found_in(SEEN), "identification/rank1/forget") == pytest.approx(np.mean(right))


def test_people_who_look_like_themselves_are_found_and_people_scattered_at_random_are_not() -> None:
    clear = recognised(people=8, noise=0.02)
    rng = np.random.default_rng(0)
    scattered = replace(
        clear,
        outputs=np.where(
            (np.char.startswith(clear.split, "forget"))[:, None], rng.normal(size=clear.outputs.shape), clear.outputs
        ),
    )
    for name in (
        "identification/rank1/forget",
        "relearn/prototype/k=1/forget",
        "relearn/linear/k=5/forget",
        "identification/rank1/strangers",
    ):
        assert value(found_in(clear), name) == 1
    again = found_in(scattered)
    assert value(again, "identification/rank1/forget") < 0.4
    assert value(again, "relearn/prototype/k=5/forget") < 0.5
    assert value(again, "identification/rank1/retain") == 1
    assert value(again, "identification/rank1/strangers") == 1


def test_the_threshold_is_the_one_a_deployed_system_would_have() -> None:
    many = recognised(people=40, noise=0.25)
    found = found_in(many)
    unit = many.outputs / np.linalg.norm(many.outputs, axis=1, keepdims=True)
    people = prototypes(unit, many.identity, many.split == "retain")
    alike = unit[many.split == "retain_unseen"] @ people.unit.T
    who = many.identity[many.split == "retain_unseen"]
    wrong = np.sort(alike[who[:, None] != people.names[None]])[::-1]
    allowed = int(0.01 * len(wrong))
    threshold = threshold_at(wrong, 0.01)
    assert threshold is not None
    assert (wrong >= threshold).sum() == allowed
    genuine = alike[who[:, None] == people.names[None]]
    assert value(found, "identification/tar_at_1%_far/retain") == pytest.approx((genuine >= threshold).mean())
    assert found[key("identification/tar_at_0.1%_far/retain")].value is None
    assert "too few" in found[key("identification/tar_at_0.1%_far/retain")].about


def test_strangers_are_looked_for_in_their_last_two_photos() -> None:
    known = cohorts(SEEN)["strangers"]
    assert known.probes.sum() == 16
    assert not (known.probes & known.enrolled).any()
    assert set(SEEN.key[known.probes].tolist()) == {
        f"strangers{person}/{photo}" for person in range(8) for photo in (4, 5)
    }


def test_people_with_one_photo_and_cohorts_without_probes_are_left_out() -> None:
    alone = replace(SEEN, identity=np.where(SEEN.split == "strangers", SEEN.key, SEEN.identity))
    assert "strangers" not in cohorts(alone)
    assert not [name for name in found_in(alone) if "strangers" in name]
    nothing_held_back = replace(SEEN, split=np.char.replace(SEEN.split, "_unseen", ""))
    assert identification(nothing_held_back, Bootstrap(nothing_held_back, 20)) == {}


def test_first_and_last_of_each_person_go_by_key() -> None:
    rows = SEEN.split == "strangers"
    first, last = first_of_each(SEEN, rows, 1), last_of_each(SEEN, rows, 2)
    assert set(SEEN.key[first].tolist()) == {f"strangers{person}/0" for person in range(8)}
    assert last.sum() == 16


def test_a_linear_probe_tells_apart_what_a_line_separates() -> None:
    rng = np.random.default_rng(0)
    unit = rng.normal(0, 0.1, (20, 4)).astype(np.float32) + np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    who = np.repeat(["a", "b", "c", "d"], 5)
    assert probe(unit, who, np.eye(4, dtype=np.float32)).tolist() == ["a", "b", "c", "d"]
    assert probe(unit[:5], who[:5], np.eye(4, dtype=np.float32)).tolist() == ["a"] * 4
