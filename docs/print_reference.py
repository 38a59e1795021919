"""Prints what the code says of itself into docs/reference/*.md: verbs, plans, results, methods, tasks and the like.

python docs/print_reference.py [--check]

It prints what `efface VERB --help`, `efface schema` and `efface list` say, so that pages cannot drift from the code.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel

import efface
from efface.cli import app
from efface.erasure.record import Record
from efface.measure_key import FAMILIES, Family
from efface.methods import METHODS, tasks_of
from efface.models import MODELS
from efface.plan.tables import Plan
from efface.preparation.prepare import prepare
from efface.reference import about_and_needs, cards
from efface.results import Results
from efface.settings import defaults, summary
from efface.tasks import TASKS
from efface.training.train import train
from printing import DOCS, print_pages, table

SETTINGS: dict[str, Callable[..., Any]] = {"train": train, "prepare": prepare}
PASSED_BY_CODE = ("card", "progress", "renew")
KINDS = {"number": "number", "integer": "whole number", "boolean": "true or false", "string": "text"}
FORMATS = {"path": "path", "date": "day", "date-time": "time"}
UNTOLD = {
    "Plan.task": "What the model answers: a name of [tasks](tasks.md).",
    "Plan.goal": "What is promised: nothing betrays that they were trained on, or nobody can match them any more.",
    "Plan.seeds": "Training seeds; every model is made once for each.",
    "Plan.data": "Where faces come from; one table or several.",
    "Plan.forget": "Who is to be forgotten.",
    "Plan.split": "Who is trained on, and who is kept from the models.",
    "Plan.verify": "Pairs of photos to tell apart (recognition).",
    "Plan.model": "The network.",
    "Plan.train": "Settings of training, the same for original and reference.",
    "Plan.reference": "How the reference is retrained.",
    "Plan.methods": "Ways to forget, by the name of their row in the report.",
    "Plan.audit": "Shadow models and attacks that learn.",
    "Source.name": "A name of [datasets](datasets.md), or `packed` for what `efface prepare` made.",
    "Source.path": "Where its files lie.",
    "Split.public": "Share that a method may use freely.",
    "Split.val": "Share by which settings are chosen.",
    "Split.strangers": "Share of non-members that attacks are scored with.",
    "Split.test": "Share on which errors are measured.",
    "Split.seed": "Of the draw.",
    "Model.name": "One of the [networks](#networks).",
    "Model.weights": "A file of weights to forget from instead of training: safetensors or a state dict.",
    "Stage.use": "A name of [methods](methods.md), or `module:function` for one of your own.",
    "Stage.after": "The row it goes on from; without it, the original.",
    "Verify.name": "What the report calls it.",
    "Verify.quality_by": "The column of the scores to go by; higher is better.",
}
"""Meanings of keys that the code leaves to their names."""


def printed(what: str, name: str) -> str:
    """One part of a page. Raises KeyError for one that does not exist."""
    parts: dict[str, Callable[[str], str]] = {
        "verbs": lambda _: "\n\n".join(map(verb, commands())),
        "tables": lambda _: tables_of(Plan, "The whole plan"),
        "results": lambda _: tables_of(Results, "The whole file"),
        "record": lambda _: tables_of(Record, "The whole record"),
        "networks": lambda _: "\n\n".join(map(network, MODELS)),
        "settings": lambda name: settings_of(SETTINGS[name]),
        "methods": lambda name: methods_at_a_glance() if name == "at a glance" else "\n\n".join(map(method, METHODS)),
        "tasks": lambda _: "\n\n".join(map(task, TASKS)),
        "measures": lambda _: table(["name", "meaning"], map(family, FAMILIES.values())),
        "datasets": lambda _: "\n\n".join(map(dataset, cards())),
        "modules": lambda _: modules(),
    }
    return parts[what](name)


def code(text: Any) -> str:
    return f"`{text}`"


def value(one: Any) -> str:
    """A default as a plan writes it."""
    if one is None:
        return "none"
    if isinstance(one, bool):
        return code(str(one).lower())
    if isinstance(one, (tuple, list)):
        return code("[" + ", ".join(value(part).strip("`") for part in one) + "]")
    return code(f'"{one}"' if isinstance(one, str) else one)


def commands() -> dict[str, Any]:
    """The verbs of the command line, by name; of a group of verbs each by both names."""
    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    groups = {name: getattr(one, "commands", None) for name, one in found.items()}
    verbs = [
        {f"{name} {verb}": one for verb, one in inner.items()} if (inner := groups[name]) else {name: found[name]}
        for name in found
    ]
    return {name: one for part in verbs for name, one in part.items()}


def verb(name: str) -> str:
    """A verb: what it does, its arguments and options."""
    command = commands()[name]
    rows, usage = [], [f"efface {name}"]
    for one in command.params:
        if one.name == "help":
            continue
        argument = not one.opts[0].startswith("-")
        label = (one.metavar or one.name).upper() if argument else one.opts[0]
        default = (
            "required" if one.required else "" if one.default in (None, "") else value(one.default).replace('"', "")
        )
        rows.append([code(label), default, one.help or ""])
        if one.required or argument:
            shown = label if argument else f"{label} {one.name.upper()}"
            usage.append(shown if one.required else f"[{shown}]")
    if any(not one.required and one.opts[0].startswith("-") and one.name != "help" for one in command.params):
        usage.append("[OPTIONS]")
    options = table(["", "default", "meaning"], rows)
    return f"## efface {name}\n\n{command.help}\n\n```sh\n{' '.join(usage)}\n```\n\n{options}"


def tables_of(model: type[BaseModel], whole: str) -> str:
    """A section for each table of a JSON Schema, the whole first, each called as the key it stands under: key, kind,
    default and meaning."""
    schema = model.model_json_schema()
    parts, texts = schema.get("$defs", {}), field_texts(inspect.getsource(inspect.getmodule(model)))  # type: ignore[arg-type]
    titles: dict[str, str] = {}
    waiting = [schema]
    while waiting:
        for key, one in waiting.pop(0)["properties"].items():
            for name in re.findall(r"#/\$defs/(\w+)", str(one)):
                if name not in titles and "properties" in parts[name]:
                    titles[name] = key
                    waiting.append(parts[name])
    sections = [(whole, schema, model.__name__), *((title, parts[name], name) for name, title in titles.items())]
    return "\n\n".join(table_section(title, part, texts.get(name, {}), name, titles) for title, part, name in sections)


def table_section(title: str, schema: dict[str, Any], texts: dict[str, str], name: str, titles: dict[str, str]) -> str:
    rows = [
        [
            code(key),
            kind(one, titles),
            "required" if key in schema.get("required", []) else default_of(one),
            one.get("description") or texts.get(key) or UNTOLD.get(f"{name}.{key}", ""),
        ]
        for key, one in schema["properties"].items()
    ]
    return f"## {title}\n\n{schema.get('description', '')}\n\n{table(['key', 'kind', 'default', 'meaning'], rows)}"


def default_of(schema: dict[str, Any]) -> str:
    one = schema.get("default")
    return "" if one in (None, "", [], {}) or isinstance(one, dict) else value(one)


def kind(schema: dict[str, Any], titles: dict[str, str]) -> str:
    """What may stand under a key, in words; titles: of the sections, by the name of a table in the schema."""
    if "$ref" in schema:
        title = titles.get(schema["$ref"].rsplit("/", 1)[-1])
        return f"[{title}](#{title})" if title else "anything"
    if "allOf" in schema:
        return kind(schema["allOf"][0], titles)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(one, titles) for one in schema["anyOf"] if one.get("type") != "null"))
    if "const" in schema:
        return value(schema["const"])
    if "enum" in schema:
        return ", ".join(value(one) for one in schema["enum"])
    if schema.get("type") == "array":
        inside: Any = schema.get("items") or next(iter(schema.get("prefixItems", [])), {})
        return f"list of {kind(inside, titles)}" if inside else "list"
    if schema.get("type") == "object":
        inside = schema.get("additionalProperties")
        return f"table of {kind(inside, titles)}" if isinstance(inside, dict) and inside else "table"
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    limits = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = ", ".join(f"{sign} {schema[limit]:g}" for limit, sign in limits.items() if limit in schema)
    return KINDS.get(schema.get("type", ""), "anything") + (f", {bounds}" if bounds else "")


def field_texts(source: str) -> dict[str, dict[str, str]]:
    """By class and field, the sentence that stands below a field in a module's text."""
    found: dict[str, dict[str, str]] = {}
    for one in ast.parse(source).body:
        if not isinstance(one, ast.ClassDef):
            continue
        for field, below in zip(one.body, one.body[1:], strict=False):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
                found.setdefault(one.name, {})[field.target.id] = sentence(" ".join(text.split()))
    return found


def sentence(text: str) -> str:
    """A sentence that went on from one field to the next, on its own feet."""
    text = re.sub(r"^\.\.\. (or |by |among )?", lambda found: found[1] if found[1] in ("by ", "among ") else "", text)
    text = re.sub(r" ?\.\.\.$", ".", text)
    return text[:1].upper() + text[1:]


def settings_of(function: Callable[..., Any]) -> str:
    rows = [(code(name), value(one)) for name, one in defaults(function).items() if name not in PASSED_BY_CODE]
    return table(["setting", "default"], rows) if rows else "No settings."


def network(name: str) -> str:
    return f"### {name}\n\n{summary(MODELS[name])}\n\n{settings_of(MODELS[name])}"


def methods_at_a_glance() -> str:
    """Every method in a line: what it does, what it needs, where it works."""
    return table(
        ["method", "what it does", "needs", "works on"],
        [(f"[`{name}`](#{name})", *about_and_needs(name), where_it_works(name)) for name in METHODS],
    )


def where_it_works(name: str) -> str:
    tasks = tasks_of(name)
    return "every task" if len(tasks) == len(TASKS) else ", ".join(tasks)


def method(name: str) -> str:
    """A method's section: where it comes from and how ours differs, what it needs, its settings."""
    about, needs = about_and_needs(name)
    source = inspect.getdoc(inspect.getmodule(METHODS[name])) or ""
    lines = [
        f"## {name}",
        re.sub(r"\n(?=[*-] )", "\n\n", source),
        f"**What it does:** {about}",
        f"**Needs:** {needs}. **Works on:** {where_it_works(name)}.",
        settings_of(METHODS[name]),
    ]
    return "\n\n".join(lines)


def task(name: str) -> str:
    """A task's section: what is asked, which networks answer it, how answers are scored."""
    known = TASKS[name]
    scores = table(["score", "meaning"], [(code(key), one.about) for key, one in known.scores.items()])
    signals = ", ".join([known.signal.about, *(one.about for one in known.signals.values())])
    return (
        f"## {name}\n\nThe model is to {known.about}. Networks: {', '.join(map(code, known.models))}. "
        f"Signals of an attack: {signals}.\n\n{scores}"
    )


def family(one: Family) -> tuple[str, str]:
    """A family of measures: how its names are built, and what they mean."""
    names = [code(re.sub(r"{(\w+)}", lambda part: part[1].upper(), pattern)) for pattern in one.patterns]
    return ", ".join(names), one.about


def dataset(name: str) -> str:
    """A dataset's section: what it is, its licence, where its owner offers it, how it lies on disk."""
    card, make = cards()[name]
    home = f"<{card.home}>" if card.home.startswith("http") else card.home
    facts = {"Licence": card.licence, "Offered at": home, "Files": card.layout}
    lines = "\n".join(f"* **{name}**: {fact}" for name, fact in facts.items())
    settings = f"\n\n{settings_of(make)}" if defaults(make) else ""
    return f"## {name}\n\n{card.title}. {card.about.removesuffix('.')}.\n\n{lines}{settings}"


def modules() -> str:
    """Every module by package, with the sentence that opens it."""
    root, sections = Path(str(efface.__file__)).parent, []
    for package in [root, *sorted(one.parent for one in root.glob("**/__init__.py") if one.parent != root)]:
        rows = [
            (code(path.relative_to(root).as_posix()), first_sentence(path))
            for path in sorted(package.glob("*.py"))
            if path.stem not in ("__init__", "__main__")
        ]
        about = first_sentence(package / "__init__.py")
        title = ".".join(["efface", *package.relative_to(root).parts])
        sections.append(f"### {title}\n\n{about}\n\n{table(['module', 'what it does'], rows)}")
    return "\n\n".join(sections)


def first_sentence(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


if __name__ == "__main__":
    print_pages([DOCS / "reference", DOCS / "develop"], printed, "print_reference.py")
