"""The lowest versions that CI tests are those that pyproject.toml allows."""

import re
import tomllib

from conftest import ROOT


def test_every_lowest_version_is_the_one_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["detect"], *extras["faiss"], *extras["heic"], *extras["parquet"]]
    allowed = {name: low for one in declared for name, low in re.findall(r"^([\w-]+)>=([\d.]+)", one)}
    text = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8")
    tested = dict(re.findall(r"^([\w-]+)==([\d.]+)$", text, re.MULTILINE))
    assert len(allowed) == len(declared)
    for name, low in allowed.items():
        assert f"{tested[name]}.0.0".startswith(f"{low}."), name
