"""Re-identification and relearning, on embeddings whose truth is known and against naive loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from conftest import key, recognised
from efface.data.vectors import units
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure
from efface.measures.identification import (
    Probes,
    cohorts,
    first_of_each,
    identification,
    last_of_each,
    linear_guesses,
    looked_for,
    prototypes,
    thresholds_among,
)
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
    people = prototypes(many, many.split == "retain")
    probes = many.split == "retain_unseen"
    alike, who = units(many.outputs[probes]) @ people.unit.T, many.identity[probes]
    wrong = np.sort(alike[who[:, None] != people.names[None]])[::-1]
    threshold = threshold_at(wrong, 0.01)
    assert threshold is not None
    assert thresholds_among(Probes.of(many, probes), people) == {0.01: pytest.approx(threshold, abs=1e-6), 0.001: None}
    assert (wrong >= threshold).sum() == int(0.01 * len(wrong))
    genuine = alike[who[:, None] == people.names[None]]
    assert value(found, "identification/tar_at_1%_far/retain") == pytest.approx((genuine >= threshold).mean())
    assert found[key("identification/tar_at_0.1%_far/retain")].value is None
    assert "too few" in found[key("identification/tar_at_0.1%_far/retain")].about


def test_probes_of_nobody_enrolled_are_never_genuine_and_claims_of_the_others_all_wrong() -> None:
    halved = replace(SEEN, identity=np.where(SEEN.identity == "retain0", "somebody", SEEN.identity))
    people = prototypes(SEEN, SEEN.split == "retain")
    probes = Probes.of(halved, halved.split == "retain_unseen")
    right, genuine = looked_for(probes, people)
    strange = probes.who == "somebody"
    assert strange.sum() == 2
    assert (genuine[strange] == -2).all()
    assert not right[strange].any()
    assert (genuine[~strange] > -1).all()


def test_blocks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    many = recognised(people=40, noise=0.4)
    whole = found_in(many)
    monkeypatch.setattr("efface.data.vectors.BLOCK", 1000)
    again = found_in(many)
    assert whole.keys() == again.keys()
    for name, one in whole.items():
        if one.value is None:
            assert again[name] == one
        else:
            assert (again[name].value, again[name].low) == pytest.approx((one.value, one.low), rel=1e-12)


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
    probes = Probes(np.eye(4, dtype=np.float32), np.arange(4), np.array(["a", "b", "c", "d"]))
    assert linear_guesses(unit, who, probes).tolist() == ["a", "b", "c", "d"]
    assert linear_guesses(unit[:5], who[:5], probes).tolist() == ["a"] * 4


@pytest.mark.parametrize(("people", "photos", "dimensions"), [(2, 3, 8), (9, 1, 32), (30, 5, 16)])
def test_a_linear_probe_guesses_as_scikit_learn_does(people: int, photos: int, dimensions: int) -> None:
    rng = np.random.default_rng(people)
    who = np.repeat(np.arange(people).astype(str), photos)
    unit, asked = (units(rng.normal(size=(count, dimensions))) for count in (len(who), 400))
    classifier = RidgeClassifier(alpha=0.1).fit(unit.astype(np.float64), who)
    found = linear_guesses(unit, who, Probes(asked, np.arange(400), np.full(400, "")))
    assert found.tolist() == classifier.predict(units(asked).astype(np.float64)).tolist()
