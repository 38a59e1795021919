"""A plan's TOML file: read, laid out into its arms, and what is wrong with it said in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from efface.errors import InputError, nearest
from efface.plan import Plan


def read_plan(path: Path) -> dict[str, Plan]:
    """The arms of a plan file by name, in order; a plan without `[arms]` has one arm, named "".

    An arm is the plan with its own table laid over it: tables are merged, everything else is replaced.

    Raises InputError for a missing file, broken TOML, an unknown key or a value of the wrong kind.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"plan {path} does not exist") from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise InputError(f"plan {path} is not a text file: expected a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"plan {path} is not valid TOML: {error}") from None
    arms = raw.pop("arms", {})
    if not isinstance(arms, dict) or not all(isinstance(arm, dict) for arm in arms.values()):
        raise InputError(f"plan {path}: arms must be tables, each laid over the plan: [arms.\"a name\"]")
    plans = {name: parse_plan(overlaid(raw, arm), f"plan {path}" + (f", arm '{name}'" if name else ""))
             for name, arm in (arms or {"": {}}).items()}
    skewed = {title: one for name, plan in plans.items() for title, one in at_each_skew(name, plan).items()}
    return {title: one for name, plan in skewed.items() for title, one in in_rounds(name, plan).items()}


def at_each_skew(name: str, plan: Plan) -> dict[str, Plan]:
    """An arm per skew of a request that has several."""
    if not isinstance(plan.forget.skew, tuple):
        return {name: plan}
    return {f"{name}, skew {skew:.0%}".removeprefix(", "):
            plan.model_copy(update={"forget": plan.forget.model_copy(update={"skew": skew})})
            for skew in plan.forget.skew}


def in_rounds(name: str, plan: Plan) -> dict[str, Plan]:
    """An arm per round of a request that comes in several."""
    if plan.forget.rounds == 1 or plan.forget.round is not None:
        return {name: plan}
    return {f"{name}, round {number}".removeprefix(", "):
            plan.model_copy(update={"forget": plan.forget.model_copy(update={"round": number})})
            for number in range(1, plan.forget.rounds + 1)}


def parse_plan(raw: dict[str, Any], where: str) -> Plan:
    """A validated plan from plain data; `where` opens the message of an InputError."""
    try:
        return Plan.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{where}: {first_complaint(error, Plan)}") from None


def overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`below` with `above` laid over it, table by table."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = overlaid(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def first_complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing pydantic found wrong, as one line that names the setting."""
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        return f"unknown setting '{where}'{nearest(str(found['loc'][-1]), _fields_at(model, found['loc'][:-1]))}"
    if found["type"] == "missing":
        return f"setting '{where}' is missing"
    message = found["msg"].removeprefix("Value error, ")
    given = "" if isinstance(found["input"], (dict, list, BaseModel)) else f", given {found['input']!r}"
    return f"{where + ': ' if where else ''}{message}{given}"


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the table at `path` below `model`."""
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        for kind in (annotation, *get_args(annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return list(model.model_fields)
