"""The container and service files name what is there: there is no Docker engine in CI, so their parts are checked."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from efface.cli import app

ROOT = Path(__file__).parents[1]
SYSTEMD = shutil.which("systemd-analyze")


def serves(arguments: list[str]) -> None:
    """`efface serve` knows these arguments: it gets as far as reading the settings."""
    answer = CliRunner().invoke(app, arguments)
    assert re.search(r"serve\.toml.*does not exist", str(answer.exception))


def test_the_container_copies_what_is_there_and_installs_extras_that_there_are() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [one for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for one in line.split()]
    assert all((ROOT / one).exists() for one in copied)
    extras = re.search(r"'\.\[(.+)\]'", text)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert extras is not None
    assert {*extras[1].split(",")} <= {*known}


def test_the_build_sees_no_more_than_it_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert lines[1] == "*"
    assert all(line[1:] in text for line in lines if line.startswith("!"))


def test_compose_serves_on_the_loopback_address_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    monkeypatch.chdir(tmp_path)
    serves(services["serve"]["command"])
    assert services["serve"]["network_mode"] == "host", "efface serve listens on 127.0.0.1 and nowhere else"
    assert all(port.startswith("127.0.0.1:") for port in services["postgres"]["ports"])


def test_the_services_command_is_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "deploy" / "efface.service").read_text(encoding="utf-8")
    command = re.search(r"^ExecStart=\S+/efface (.+)$", text, re.M)
    assert command is not None
    monkeypatch.chdir(tmp_path)
    serves(command[1].split())


@pytest.mark.skipif(SYSTEMD is None, reason="systemd is not installed")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "efface.service").read_text(encoding="utf-8")
    unit = tmp_path / "efface.service"
    unit.write_text(text.replace("/opt/efface/bin/efface", "/bin/true"), encoding="utf-8")
    read = subprocess.run([str(SYSTEMD), "verify", str(unit)], capture_output=True, text=True)
    assert (read.returncode, read.stderr) == (0, "")
