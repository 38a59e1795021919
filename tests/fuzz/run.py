"""Mutates valid files and reads them: `python tests/fuzz/run.py --mutations 50000`.

Prints how often each reader read a file, refused it with one line, or did anything else, which is a failure. Every
reader runs in a process of its own, so that a crash, a hang or a hunger for memory is an outcome too. A mutation
follows from the reader's name and its number alone: `--reader NAME --first 17 --mutations 1` repeats it.
"""

from __future__ import annotations

import argparse
import random
import resource
import select
import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from file_readers import READERS, Reader
from mutations import mutated

from efface.errors import InputError

READ, REFUSED = "read", "refused"
SECONDS, MEBIBYTES = 60, 1024
"""What reading a file of some kilobytes may take."""


def outcomes(reader: Reader, first: int, count: int) -> Iterator[tuple[int, str]]:
    """(number, outcome) of so many mutations from `first` on, each of files made anew."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        reader.make(folder)
        valid = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        mutable = [path for path in valid if any(path.relative_to(folder).match(one) for one in reader.mutable)]
        for number in range(first, first + count):
            random_numbers = random.Random(f"{reader.name} {number}")
            path = random_numbers.choice(mutable)
            path.write_bytes(mutated(valid[path], random_numbers, reader.kind))
            yield number, outcome_of(reader, folder)
            for one, content in valid.items():
                one.write_bytes(content)


def outcome_of(reader: Reader, folder: Path) -> str:
    """What came of reading the files of a folder."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(folder)
        said = READ
    except InputError as error:
        said = REFUSED if str(error) and str(error).isprintable() else "a refusal of several lines"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [one for one in traceback.extract_tb(error.__traceback__) if "efface" in one.filename] or [place]
        said = f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno}: {str(error)[:80]!r}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return said if grown < MEBIBYTES else f"took {grown:,.0f} MiB"


def watched(name: str, count: int, first: int = 0) -> Iterator[tuple[int, str]]:
    """The same, in a process that may crash or hang."""
    end = first + count
    while first < end:
        words = [
            sys.executable,
            __file__,
            "--child",
            "--reader",
            name,
            "--first",
            str(first),
            "--mutations",
            str(end - first),
        ]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            while select.select([child.stdout], [], [], SECONDS)[0] and (line := child.stdout.readline()):
                number, said = line.rstrip("\n").split(" ", 1)
                first = int(number) + 1
                yield int(number), said
            if child.poll() is None and first < end:
                child.kill()
                yield first, f"took {SECONDS} seconds"
                first += 1
            elif child.wait() and first < end:
                yield first, f"ended the process ({child.returncode})"
                first += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--reader", choices=list(READERS))
    parser.add_argument("--child", action="store_true")
    given = parser.parse_args()
    if given.child:
        for number, said in outcomes(READERS[given.reader], given.first, given.mutations):
            print(number, said, flush=True)
        return
    names = [given.reader] if given.reader else list(READERS)
    each = -(-given.mutations // len(names))
    failed = total = 0
    print(f"{'reader':24}{'mutations':>10}{'read':>10}{'refused':>10}{'else':>10}")
    for name in names:
        counts: Counter[str] = Counter()
        for number, said in watched(name, each, given.first):
            counts[said if said in (READ, REFUSED) else "else"] += 1
            if said not in (READ, REFUSED) and counts["else"] <= 10:
                print(f"  {name} {number}: {said}")
        print(f"{name:24}{counts.total():10,}{counts[READ]:10,}{counts[REFUSED]:10,}{counts['else']:10,}", flush=True)
        failed, total = failed + counts["else"], total + counts.total()
    print(f"{total:,} mutations, {failed:,} of them neither read nor refused with one line")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
