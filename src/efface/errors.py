"""What is said when something given cannot be used."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

LONGEST = 2000
"""Characters of a message; what is longer was not written by us and says no more."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what was given, what was expected, what to do. The command line prints it
    without a traceback and exits with code 2. Names from outside stand in it as `one_line` has them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str, most: int = LONGEST) -> str:
    """Text as one line that a terminal only shows: what is no printable character as its escape, the rest cut off."""
    line = "".join(one if one.isprintable() else repr(one)[1:-1] for one in text[:most])
    return line if len(text) <= most else f"{line} ..."


@contextmanager
def refusing(complaint: str) -> Iterator[None]:
    """Whatever a library raises over a broken file as an InputError: the complaint, and the library's reason."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{complaint} ({one_line(reason, 120)})") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or, with nothing near, the names that exist."""
    names = sorted(known)
    close = get_close_matches(name[:100], names, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(names)}"
