"""What there is, in words: the reference page of methods, tasks, datasets and measures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from efface.datasets import GENERATORS, READERS, Card
from efface.errors import InputError, nearest
from efface.measure_key import FAMILIES
from efface.methods import METHODS, tasks_of
from efface.settings import defaults, summary
from efface.tasks import TASKS


def listing(what: str) -> str:
    """The page of one kind, of one name, or (for "") an overview."""
    pages = {"methods": methods, "tasks": tasks, "datasets": datasets, "measures": measures}
    if not what:
        short = pages | {"methods": methods_short, "datasets": datasets_short}
        return "\n\n".join(f"{name}\n{_indented(short[name]())}" for name in short)
    if what in pages:
        return pages[what]()
    if what in METHODS:
        return method(what)
    if what in READERS or what in GENERATORS:
        return dataset(what)
    if what in TASKS:
        return task(what)
    raise InputError(f"nothing is called '{what}'{nearest(what, [*pages, *METHODS, *READERS, *GENERATORS, *TASKS])}")


def methods_short() -> str:
    return _aligned({name: about_and_needs(name)[0] for name in METHODS})


def methods() -> str:
    """The reference page: who needs what and works where at a glance, then a page for each."""
    needs = _aligned({name: about_and_needs(name)[1] for name in METHODS})
    on = {name: " ".join(task if task in tasks_of(name) else "·" * len(task) for task in TASKS) for name in METHODS}
    return "\n\n".join(
        [
            f"What each needs\n{_indented(needs)}",
            f"Which tasks each works on\n{_indented(_aligned(on))}",
            *map(method, METHODS),
        ]
    )


def method(name: str) -> str:
    """A method's page: what it does, needs and cites, and its settings."""
    function = METHODS.outline(name)
    about, needs = about_and_needs(name)
    settings = ", ".join(f"{key} = {value!r}" for key, value in defaults(function).items()) or "none"
    source = inspect.cleandoc(METHODS.about_module(name))
    lines = [about, f"needs: {needs}", f"works on: {', '.join(tasks_of(name))}", f"settings: {settings}", "", source]
    return f"{name}\n" + _indented("\n".join(lines))


def about_and_needs(name: str) -> tuple[str, str]:
    """The two parts of a method's first paragraph."""
    about, _, needs = summary(METHODS.outline(name)).partition(" Needs: ")
    if needs.startswith("both"):
        needs = needs.replace("both", "forgotten and retained faces", 1)
    return about, needs.removesuffix(".")


def tasks() -> str:
    return "\n".join(map(task, TASKS))


def task(name: str) -> str:
    """A task's page: what is asked and how it is scored."""
    known = TASKS[name]
    return f"{name}: {known.about}\n" + _indented(_aligned({key: score.about for key, score in known.scores.items()}))


def cards() -> dict[str, tuple[Card, Callable[..., Any]]]:
    """Every dataset: what it is, and the function that takes its settings."""
    generated = {name: (entry.card, entry.make) for name, entry in GENERATORS.items()}
    return generated | {name: (entry.card, entry.read) for name, entry in READERS.items()}


def datasets_short() -> str:
    return _aligned({name: card.about for name, (card, _) in cards().items()})


def datasets() -> str:
    return "\n\n".join(map(dataset, cards()))


def dataset(name: str) -> str:
    """A dataset's page: its licence, where its owner offers it, how it lies on disk, its settings."""
    card, make = cards()[name]
    settings = ", ".join(f"{key} = {value!r}" for key, value in defaults(make).items())
    lines = [
        f"{card.title}: {card.about}",
        f"licence: {card.licence}",
        f"offered at: {card.home}",
        f"layout: {card.layout}",
        *([f"settings: {settings}"] if settings else []),
    ]
    return f"{name}\n" + _indented("\n".join(lines))


def measures() -> str:
    """Families of names in `results.json`; there every value carries its own sentence."""
    return _aligned(
        {
            re.sub(r"{(\w+)}", lambda part: part[1].upper(), family.patterns[-1]): family.about
            for family in FAMILIES.values()
        }
    )


def _aligned(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {about}" for name, about in rows.items())


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
