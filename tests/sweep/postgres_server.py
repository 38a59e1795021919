"""A Postgres server of one's own with pgvector, where both are installed, for as long as a block runs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def missing() -> str:
    """Why no server can be had here; "" where one can."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    programs = _programs()
    if programs is None:
        return "Postgres is not installed"
    if os.geteuid() == 0 and subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode:
        return "root cannot run Postgres, and there is no user postgres"
    shared = subprocess.run([programs / "pg_config", "--sharedir"], capture_output=True, text=True, check=False)
    folders = [Path(shared.stdout.strip()), Path("/usr/share/postgresql") / programs.parent.name]
    if not any((folder / "extension" / "vector.control").is_file() for folder in folders):
        return "pgvector is not installed"
    return ""


@contextmanager
def server() -> Iterator[tuple[str, Path]]:
    """The server's URL and the folder of its data."""
    programs = _programs()
    assert programs is not None
    root = os.geteuid() == 0
    as_user = {"user": "postgres", "group": "postgres"} if root else {}
    folder = Path(tempfile.mkdtemp(prefix="efface-pg"))
    if root:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: object) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, "check": True}
        subprocess.run([str(part) for part in command], **quiet, **as_user)  # type: ignore[call-overload]

    try:
        run(programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        run(programs / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start")
        try:
            yield f"postgresql://tester@127.0.0.1:{port}/postgres", data
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    return max(found, default=None)
