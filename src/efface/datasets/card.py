"""What a dataset is, in words: shown in lists, reports and the manifest of every packed folder."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One dataset, described."""

    name: str
    """As a plan writes it."""
    title: str
    licence: str
    home: str
    """Where its owner offers it."""
    layout: str
    """The files as they lie on disk."""
    about: str
    """One line."""
