"""What a model is asked to do, written once so that every method and measure runs on every task."""

from __future__ import annotations

from efface.tasks.attributes import ATTRIBUTES, CLASSES
from efface.tasks.eyes import EYE_CENTRES
from efface.tasks.recognition import RECOGNITION
from efface.tasks.task import Difference, Score, Task

TASKS: dict[str, Task] = {
    "eyes": EYE_CENTRES,
    "recognition": RECOGNITION,
    "classes": CLASSES,
    "attributes": ATTRIBUTES,
}

__all__ = ["TASKS", "Difference", "Score", "Task"]
