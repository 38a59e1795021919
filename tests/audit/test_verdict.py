"""Thresholds against whole intervals, controls, and what so little data could have shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import key
from efface.audit.verdict import detectable, difference_to_reference, verdicts
from efface.measure_key import MeasureKey
from efface.plan.tables import Criterion
from efface.results import CONSTANT, NONMEMBERS, ORIGINAL, REFERENCE, SECOND_REFERENCE, MeasureRecord, Summary

AUC, BEYOND, UTILITY = (
    key("attack/lira/auc/photo"),
    key("attack/lira/auc/against reference/photo"),
    key("accuracy/test/all"),
)
ACCEPT = {AUC: Criterion(within=0.05), UTILITY: Criterion(at_least=0.5)}


def record(value: float | None, half: float = 0.02) -> MeasureRecord:
    spread = (None, None) if value is None else (value - half, value + half)
    return MeasureRecord(value=value, low=spread[0], high=spread[1], aim="as retrained", about="why not")


def row(name: str, beyond: float | None, utility: float = 0.6, half: float = 0.02) -> Summary:
    measures = {} if beyond is None else {AUC: record(0.5 + beyond, 0.05), BEYOND: record(beyond, half)}
    return Summary(arm="", method=name, seeds=[0], measures={**measures, UTILITY: record(utility)})


CONTROLS = (row(ORIGINAL, 0.3), row(REFERENCE, 0.0), row(SECOND_REFERENCE, 0.01), row(NONMEMBERS, -0.01))


def said(*rows: Summary, accept: Mapping[MeasureKey, Criterion] = ACCEPT) -> dict[str, str]:
    return {one.method: one.verdict for one in verdicts([*rows], accept)}


def test_a_row_passes_by_its_whole_interval_alone() -> None:
    found = said(
        *CONTROLS,
        row("good", 0.01),
        row("wide", 0.01, half=0.06),
        row("leaks", 0.2),
        row("overshoots", -0.2),
        row("edge", 0.05),
        row("useless", 0.0, utility=0.3),
    )
    assert found == {
        ORIGINAL: "fail",
        SECOND_REFERENCE: "pass",
        NONMEMBERS: "pass",
        "good": "pass",
        "wide": "not enough data",
        "leaks": "fail",
        "overshoots": "fail",
        "edge": "not enough data",
        "useless": "fail",
    }


@pytest.mark.parametrize(
    ("name", "beyond", "half", "why"),
    [
        (ORIGINAL, 0.0, 0.02, "the original passes as well"),
        (ORIGINAL, 0.06, 0.05, "too few people or seeds"),
        (SECOND_REFERENCE, 0.2, 0.02, "tighter than the noise floor"),
        (NONMEMBERS, 0.2, 0.02, "something other than membership"),
        (NONMEMBERS, 0.03, 0.05, "too few people or seeds"),
    ],
)
def test_nothing_counts_when_a_control_comes_out_wrong(name: str, beyond: float, half: float, why: str) -> None:
    rows = [row(name, beyond, half=half) if one.method == name else one for one in CONTROLS]
    found = {one.method: one for one in verdicts([*rows, row("good", 0.0), row("leaks", 0.3)], ACCEPT)}
    assert found["good"].verdict == "not enough data"
    assert why in found["good"].why
    speaks_against_the_instrument = beyond == 0.2
    assert found["leaks"].verdict == ("not enough data" if speaks_against_the_instrument else "fail")


def test_the_negative_control_answers_only_for_what_can_be_asked_of_it() -> None:
    nobody = Summary(arm="", method=NONMEMBERS, seeds=[0], measures={AUC: record(0.5), BEYOND: record(0.0)})
    assert said(*(nobody if one.method == NONMEMBERS else one for one in CONTROLS))[NONMEMBERS] == "pass"


@pytest.mark.parametrize(
    ("utility", "doubt"),
    [
        (0.3, ""),
        (0.6, "more than a constant answer"),
        (0.51, "too few people or seeds to say that the constant-prediction control"),
    ],
)
def test_nothing_passes_where_an_answer_that_sees_no_picture_does(utility: float, doubt: str) -> None:
    blind = row(CONSTANT, 0.3, utility)  # what it does to the attack is not asked of it
    found = {one.method: one for one in verdicts([*CONTROLS, blind, row("good", 0.0), row("leaks", 0.3)], ACCEPT)}
    assert [met.measure for met in found[CONSTANT].criteria] == [UTILITY]
    assert found["good"].verdict == ("not enough data" if doubt else "pass")
    assert doubt in found["good"].why
    assert found["leaks"].verdict == "fail"


def test_a_measure_that_is_not_there_is_not_enough_data() -> None:
    found = {one.method: one for one in verdicts([*CONTROLS, row("blind", None)], ACCEPT)}
    assert found["blind"].verdict == "not enough data"
    assert found["blind"].criteria[0].why == "not measured"


def test_closeness_is_measured_on_the_same_people_where_it_can_be() -> None:
    paired = difference_to_reference(AUC, row("a", 0.04), CONTROLS[1])
    assert paired is not None
    assert (paired.value, paired.low, paired.high) == pytest.approx((0.04, 0.02, 0.06))
    joined = difference_to_reference(UTILITY, row("a", 0.0, utility=0.7), CONTROLS[1])
    assert joined is not None
    assert joined.value == pytest.approx(0.1)
    assert joined.high == pytest.approx(0.1 + np.hypot(0.02, 0.02))


def test_the_second_retrained_model_is_judged_by_the_mean_over_pairs_of_retrained_models() -> None:
    floor = row(SECOND_REFERENCE, 0.0).model_copy(update={"differences": {AUC: record(0.2)}})
    rows = [floor if one.method == SECOND_REFERENCE else one for one in CONTROLS]
    assert said(*rows)[SECOND_REFERENCE] == "fail"


def test_no_thresholds_no_verdicts() -> None:
    assert verdicts([*CONTROLS], {}) == []


def test_what_so_little_data_could_have_shown_is_seen_in_four_of_five_repetitions() -> None:
    """The interval of a mean of 50 draws; a shift of the size it names is beyond zero that often."""
    rng = np.random.default_rng(0)
    error = 1 / np.sqrt(50)
    shift = detectable(-1.96 * error, 1.96 * error)
    means = shift + rng.normal(size=(4000, 50)).mean(1)
    assert (means - 1.96 * error > 0).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("given", [{}, {"within": 0.1, "at_most": 1.0}, {"within": -0.1}, {"about": 0.1}])
def test_a_criterion_says_exactly_one_thing(given: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Criterion.model_validate(given)


def test_a_row_that_has_seen_its_judges_passes_nothing() -> None:
    found = {
        one.method: one
        for one in verdicts([*CONTROLS, row("partial", 0.0), row("good", 0.0)], ACCEPT, partial=["partial"])
    }
    assert found["good"].verdict == "pass"
    assert (found["partial"].verdict, found["partial"].why) == (
        "not enough data",
        "it was trained on the attack's non-members",
    )


def test_without_a_threshold_on_others_a_network_that_knows_nothing_would_pass() -> None:
    found = {one.method: one for one in verdicts([*CONTROLS, row("good", 0.0)], {AUC: ACCEPT[AUC]})}
    assert found["good"].verdict == "not enough data"
    assert "no threshold concerns utility" in found["good"].why


def test_a_count_of_one_seed_has_no_interval_to_pass_by() -> None:
    def counted(seeds: list[int]) -> str:
        one = row("a", 0.0).model_copy(update={"seeds": seeds})
        steps = MeasureRecord(value=5, low=5, high=5, aim="as retrained", about="")
        one = one.model_copy(update={"measures": one.measures | {key("relearn/ain"): steps}})
        return {
            met.measure: met.verdict
            for met in verdicts([*CONTROLS, one], ACCEPT | {key("relearn/ain"): Criterion(at_least=1.0)})[-1].criteria
        }[key("relearn/ain")]

    assert counted([0]) == "not enough data"
    assert counted([0, 1, 2]) == "pass"


def test_an_under_trained_reference_is_no_yardstick() -> None:
    def with_errors(one: Summary, retained: float) -> Summary:
        errors = {key("error/retain/all"): record(retained, 0.01), key("error/test/all"): record(0.5)}
        return one.model_copy(update={"measures": one.measures | errors})

    for poor, word in ((0.1, "pass"), (0.12, "pass"), (0.4, "not enough data")):
        rows = [
            with_errors(one, poor if one.method in (REFERENCE, SECOND_REFERENCE) else 0.1)
            for one in (*CONTROLS, row("good", 0.0))
        ]
        found = {one.method: one for one in verdicts(rows, ACCEPT)}
        assert found["good"].verdict == word
        assert ("under-trained" in found["good"].why) == (word != "pass")
