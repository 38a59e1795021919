"""A function's signature is its settings schema: what may be set, of what kind, with which default."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, create_model

from efface.errors import InputError, nearest, one_line

Count = Annotated[int, Strict(), Field(gt=0, le=10**9)]
"""How many: 1 or more."""
Number = Annotated[int, Strict(), Field(ge=0, le=10**9)]
"""How many: 0 is none."""
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
"""Of random numbers."""
Truth = Annotated[bool, Strict()]
"""Yes or no."""
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
"""Any number."""
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
"""A learning rate, say."""
Strength = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
"""A weight that may be switched off."""
Factor = Annotated[float, Strict(), Field(gt=1, allow_inf_nan=True)]
"""How many times as much; infinity is no bound."""
Limit = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=True)]
"""Where something ends; infinity is no bound."""
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
"""A part of a whole."""
Precision = Literal["fp32", "bf16", "fp16"]
"""What a network computes with: 32 bits, brain floats of 16 with the range of 32, or half precision."""
AskedPrecision = Literal["fp32", "bf16", "fp16", "auto"]
"""The same as it is asked for; `auto`: bf16 where the device has instructions for it, else fp32."""


def schema(function: Callable[..., Any], given_elsewhere: Collection[str] = ()) -> type[BaseModel]:
    """A pydantic model of the function's keyword-only parameters, but for those that code passes itself."""
    settable: dict[str, Any] = {
        name: (_kind(function, parameter), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in given_elsewhere
    }
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(function.__name__, __config__=config, **settable)


def validated(
    function: Callable[..., Any],
    given: Mapping[str, Any],
    where: str,
    given_elsewhere: Collection[str] = (),
) -> dict[str, Any]:
    """All settings of `function`: those given, checked and converted, and the defaults of the rest.

    Raises InputError for an unknown name (with the nearest that exists) or a value of the wrong kind.
    """
    settings = schema(function, given_elsewhere)
    try:
        values = settings.model_validate(dict(given))
    except ValidationError as error:
        raise InputError(f"{where}: {first_complaint(error, settings)}") from None
    return {name: getattr(values, name) for name in type(values).model_fields}


def _kind(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The type a parameter is annotated with; only this one is evaluated, since others may name lazy imports."""
    annotation = parameter.annotation
    return strict(eval(annotation, function.__globals__) if isinstance(annotation, str) else annotation)


def strict(kind: Any) -> Any:
    """The same type, but that a number in it is no truth and no text, and is finite unless the type says otherwise."""
    if kind in (int, bool):
        return Annotated[kind, Strict()]
    if kind is float:
        return Real
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return Annotated[strict(parts[0]), *parts[1:]]
    if origin in (Union, UnionType):
        return Union[tuple(strict(part) for part in parts)]  # noqa: UP007
    if origin in (tuple, list, dict, Sequence, Mapping):
        return origin[tuple(part if part is Ellipsis else strict(part) for part in parts)]
    return kind


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Name and default of every setting; settings without a default are left out."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty
    }


def summary(function: Callable[..., Any]) -> str:
    """First paragraph of the docstring, as one line."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def first_complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing pydantic found wrong, as one line that names the setting."""
    found = error.errors()[0]
    where = ".".join(str(part)[:80] for part in found["loc"])
    if found["type"] == "extra_forbidden":
        return f"unknown setting '{where}'{nearest(str(found['loc'][-1]), _fields_at(model, found['loc'][:-1]))}"
    if found["type"] == "missing":
        return f"setting '{where}' is missing"
    message = found["msg"].removeprefix("Value error, ")
    given = "" if isinstance(found["input"], (dict, list, BaseModel)) else f", given {_shown(found['input'])}"
    return f"{where + ': ' if where else ''}{message}{given}"


def _shown(given: object) -> str:
    """What was given, as Python writes it; digits beyond what it writes are counted."""
    if isinstance(given, int) and given.bit_length() > 256:
        return f"a number of {given.bit_length()} bits"
    return one_line(repr(given), 80)


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the table at `path` below `model`."""
    for part in path:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        for kind in (annotation, *get_args(annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return list(model.model_fields)
