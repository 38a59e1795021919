"""A function's signature is its schema: defaults filled in, everything else refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from conftest import refusal
from efface.settings import Count, Factor, Limit, Number, Seed, Share, defaults, schema, summary, validated


def blurred(
    image: object,
    *,
    strength: float,
    passes: int = 2,
    edge: Literal["wrap", "reflect"] = "wrap",
    sizes: tuple[int, int] = (3, 5),
    names: Sequence[str] = ("a",),
    limit: float | None = None,
    progress: Any = print,
) -> None:
    """Blur an image
    in place.

    Not more than that.
    """


def settings(**given: Any) -> dict[str, Any]:
    """All settings of `blurred`."""
    return validated(blurred, given, "the blur", given_elsewhere=("progress",))


def test_defaults_are_filled_in_beside_what_is_given() -> None:
    assert settings(strength=0.5, passes=7) == {
        "strength": 0.5,
        "passes": 7,
        "edge": "wrap",
        "sizes": (3, 5),
        "names": ("a",),
        "limit": None,
    }


def test_a_whole_number_becomes_a_float_where_one_is_wanted() -> None:
    found = settings(strength=1, limit=2)
    assert [(value, type(value)) for value in (found["strength"], found["limit"])] == [(1.0, float), (2.0, float)]


def test_a_list_becomes_a_tuple_where_one_is_wanted() -> None:
    assert settings(strength=1, sizes=[7, 9])["sizes"] == (7, 9)


def test_what_was_given_is_left_as_it_was() -> None:
    given = {"strength": 1, "sizes": [7, 9]}
    validated(blurred, given, "the blur", ("progress",))
    assert given == {"strength": 1, "sizes": [7, 9]}


def test_an_unknown_setting_is_refused_with_the_nearest_that_exists() -> None:
    assert refusal(settings, strength=1, pases=3) == "the blur: unknown setting 'pases'; did you mean 'passes'?"


def test_an_unknown_setting_near_nothing_is_refused_with_all_that_exist() -> None:
    message = refusal(settings, strength=1, q=3)
    for name in ("strength", "passes", "edge", "sizes"):
        assert name in message


@pytest.mark.parametrize("name", ["image", "progress"])
def test_what_code_passes_itself_is_no_setting(name: str) -> None:
    assert f"unknown setting '{name}'" in refusal(settings, strength=1, **{name: 3})


def test_a_required_setting_is_asked_for() -> None:
    assert refusal(settings) == "the blur: setting 'strength' is missing"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strength", "much"),
        ("strength", [1]),
        ("passes", 2.5),
        ("passes", None),
        ("edge", "warp"),
        ("sizes", [1, 2, 3]),
        ("sizes", 3),
        ("names", "a"),
        ("names", [1]),
        ("strength", True),
        ("strength", "0.5"),
        ("strength", float("nan")),
        ("strength", float("inf")),
        ("strength", 10**400),
        ("passes", True),
        ("passes", "2"),
        ("passes", 2.0),
        ("passes", float("inf")),
        ("sizes", [True, 5]),
        ("sizes", [3, "5"]),
        ("limit", False),
        ("limit", -float("inf")),
        ("names", ["a"] * 3 + [True]),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(name: str, value: object) -> None:
    assert refusal(settings, **({"strength": 1.0} | {name: value})).startswith(f"the blur: {name}")


def test_only_keyword_parameters_with_a_default_have_one() -> None:
    assert defaults(blurred) == {
        "passes": 2,
        "edge": "wrap",
        "sizes": (3, 5),
        "names": ("a",),
        "limit": None,
        "progress": print,
    }
    assert set(schema(blurred, ("progress",)).model_fields) == {*defaults(blurred), "strength"} - {"progress"}


def test_the_summary_is_the_first_paragraph_as_one_line() -> None:
    assert summary(blurred) == "Blur an image in place."
    assert summary(lambda: None) == ""


def bounded(
    *,
    count: Count = 1,
    number: Number = 0,
    seed: Seed = 0,
    share: Share = 0.5,
    factor: Factor = 2.0,
    limit: Limit = 2.0,
    anything: Annotated[float, Field(allow_inf_nan=True)] = 1.0,
    several: Sequence[float] | None = None,
    sure: bool = False,
) -> None:
    """Settings with bounds."""


INFINITY = float("inf")


def test_infinity_is_no_bound_where_a_setting_says_so_and_nothing_is_no_number() -> None:
    found = validated(bounded, {"factor": INFINITY, "limit": INFINITY, "anything": INFINITY}, "settings")
    assert [found[name] for name in ("factor", "limit", "anything")] == [INFINITY] * 3
    for name in ("factor", "limit"):
        assert name in refusal(validated, bounded, {name: float("nan")}, "settings")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("count", [0, -1, True, 10**30, 1.0]),
        ("number", [-1, False, 10**30]),
        ("seed", [-1, True, 2**63]),
        ("share", [-0.1, 1.1, True, float("nan"), "0.5"]),
        ("factor", [1, 0, -1, True]),
        ("limit", [0, -1, True]),
        ("several", [[1.0, True], [float("nan")], "12", [INFINITY]]),
        ("sure", [1, 0, "yes", "true", None]),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(name: str, values: list[object]) -> None:
    for value in values:
        assert refusal(validated, bounded, {name: value}, "settings").startswith(f"settings: {name}")


def test_a_refusal_of_a_very_large_number_is_short() -> None:
    assert "a number of 33220 bits" in refusal(validated, bounded, {"count": 10**10_000}, "settings")
    assert len(refusal(validated, bounded, {"count": "x" * 10_000}, "settings")) < 300
