"""What a model is asked to do, written once so that every method and measure runs on every task."""

from __future__ import annotations

from efface.errors import InputError, nearest
from efface.tasks.attributes import ATTRIBUTES, CLASSES
from efface.tasks.eyes import EYE_CENTRES
from efface.tasks.recognition import RECOGNITION
from efface.tasks.task import Difference, Score, Task
from efface.user_code import function_named

TASKS: dict[str, Task] = {
    "eyes": EYE_CENTRES,
    "recognition": RECOGNITION,
    "classes": CLASSES,
    "attributes": ATTRIBUTES,
}


def task_named(name: str, where: str = "task") -> Task:
    """A task by its name in the table, or a `Task` of your own as "module:NAME".

    Raises InputError for a name that is not there.
    """
    if ":" in name:
        found = function_named(name, where)
        if not isinstance(found, Task):
            raise InputError(f"{where} '{name}' is a {type(found).__name__}: expected an efface.tasks.Task")
        return found
    if name not in TASKS:
        raise InputError(f"{where} '{name}' is unknown{nearest(name, TASKS)}")
    return TASKS[name]


__all__ = ["TASKS", "Difference", "Score", "Task", "task_named"]
