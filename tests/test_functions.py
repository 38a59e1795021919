"""What is read from a function's source is what the function says of itself once it is imported."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from efface.functions import Functions
from efface.methods import METHODS

COMPARE = """
import inspect, sys
from efface.functions import outline
from efface.methods import METHODS
from efface.models import MODELS
from efface.settings import defaults, schema, summary

def said(function, about=""):
    return (
        function.__name__, summary(function), defaults(function), schema(function).model_json_schema(),
        list(inspect.signature(function).parameters), " ".join(about.split()),
    )

TRAIN = ("efface.training.train", "train")
tables = [(METHODS, name) for name in METHODS] + [(MODELS, name) for name in MODELS]
read = [said(table.outline(name), table.about_module(name)) for table, name in tables] + [said(outline(*TRAIN))]
assert "torch" not in sys.modules
for (table, name), one in zip(tables, read):
    function = table[name]
    assert one == said(function, inspect.getmodule(function).__doc__), name
    assert table.outline(name) is function
from efface.training.train import train
assert read[-1] == said(train)
"""


def test_an_outline_takes_and_says_what_the_function_does() -> None:
    subprocess.run([sys.executable, "-c", COMPARE], check=True)


def test_a_table_takes_functions_of_ones_own_and_gives_them_back() -> None:
    def own(*, steps: int = 3) -> int:
        return steps

    table: Functions[Callable[..., object]] = Functions({"cure": "efface.methods.cure"})
    table["own"] = own
    assert list(table) == ["cure", "own"]
    assert len(table) == 2
    assert table.outline("own") is table["own"] is own
    assert table.about_module("own") == __doc__
    del table["own"]
    assert "own" not in table
    with pytest.raises(KeyError):
        table["own"]


def test_every_method_is_in_a_module_of_its_own_name() -> None:
    assert METHODS.modules == {name: f"efface.methods.{name}" for name in METHODS.modules}
