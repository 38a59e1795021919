"""A plan's TOML file: read, laid out into its arms, and what is wrong with it said in one line."""

from __future__ import annotations

import logging
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from efface.errors import InputError, refusing
from efface.files import read_text
from efface.plan.tables import LONGEST_NAME, MOST, Plan
from efface.settings import first_complaint

LOG = logging.getLogger("efface")


def read_plan(path: Path) -> dict[str, Plan]:
    """The arms of a plan file by name, in order; a plan without `[arms]` has one arm, named "".

    An arm is the plan with its own table laid over it: tables are merged, everything else is replaced.

    Raises InputError for a missing file, broken TOML, an unknown key or a value of the wrong kind.
    """
    text = read_text(path, "plan")
    with refusing(f"plan {path} is not valid TOML"):
        raw = tomllib.loads(text)
    arms = raw.pop("arms", {})
    if not isinstance(arms, dict) or not all(isinstance(arm, dict) for arm in arms.values()):
        raise InputError(f'plan {path}: arms must be tables, each laid over the plan: [arms."a name"]')
    for name in arms:
        if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise InputError(f"plan {path}: arm '{name[:80]}': a name has 1 to {LONGEST_NAME} printable characters")
    if len(arms) > MOST:
        raise InputError(f"plan {path} has {len(arms):,} arms: expected at most {MOST:,}")
    plans = {
        name: parse_plan(overlaid(raw, arm), f"plan {path}" + (f", arm '{name}'" if name else ""))
        for name, arm in (arms or {"": {}}).items()
    }
    if (count := sum(arms_of(plan) for plan in plans.values())) > MOST:
        raise InputError(f"plan {path} asks for {count:,} arms, skews and rounds counted: expected at most {MOST:,}")
    skewed = {title: one for name, plan in plans.items() for title, one in at_each_skew(name, plan).items()}
    return {title: one for name, plan in skewed.items() for title, one in in_rounds(name, plan).items()}


def arms_of(plan: Plan) -> int:
    """How many arms a plan becomes."""
    skews = len(plan.forget.skew) if isinstance(plan.forget.skew, tuple) else 1
    return skews * (plan.forget.rounds if plan.forget.round is None else 1)


def at_each_skew(name: str, plan: Plan) -> dict[str, Plan]:
    """An arm per skew of a request that has several."""
    if not isinstance(plan.forget.skew, tuple):
        return {name: plan}
    return {
        f"{name}, skew {skew:.0%}".removeprefix(", "): plan.model_copy(
            update={"forget": plan.forget.model_copy(update={"skew": skew})}
        )
        for skew in plan.forget.skew
    }


def in_rounds(name: str, plan: Plan) -> dict[str, Plan]:
    """An arm per round of a request that comes in several."""
    if plan.forget.rounds == 1 or plan.forget.round is not None:
        return {name: plan}
    return {
        f"{name}, round {number}".removeprefix(", "): plan.model_copy(
            update={"forget": plan.forget.model_copy(update={"round": number})}
        )
        for number in range(1, plan.forget.rounds + 1)
    }


def parse_plan(raw: dict[str, Any], where: str) -> Plan:
    """A validated plan from plain data; `where` opens the message of an InputError. A measure's name of an earlier
    version is accepted, with one line that says what it is called now."""
    try:
        plan = Plan.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{where}: {first_complaint(error, Plan)}") from None
    accept = raw.get("accept", {})
    for given, key in zip(accept, plan.accept, strict=False):
        if str(given) != key:
            LOG.warning("%s: accept: '%s' is called '%s' now", where, given, key)
    return plan


def plain_plan(plan: Plan) -> dict[str, Any]:
    """A plan as JSON has it, which `parse_plan` reads again as the same plan: what was not set is left unset."""
    return plan.model_dump(mode="json", exclude_none=True, exclude_unset=True)


def overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below` with `above` laid over it, table by table."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = overlaid(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
