"""The workflows of examples/: their commands are run, and the whole workflow where its program is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from string import Formatter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stores import levels

from ngff_convert.testing import coded_pixels, write_ims

EXAMPLES = Path(__file__).parent.parent / "examples"
PIXELS = coded_pixels((1, 2, 4, 40, 50), "uint16")
PLACE = re.compile(r"\$\{?([\w.]+)\}?")


class _Quoting(Formatter):
    """Fills in a shell block as Snakemake does: `q` as a format quotes for the shell."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return f"'{value}'" if format_spec == "q" else str(value)


def run(script: str, folder: Path) -> None:
    """Run shell commands with the `ngff-convert` of these tests."""
    own = Path(sys.executable).parent
    command = ["bash", "-euo", "pipefail", "-c", f"PATH='{own}':$PATH\n{script}"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{script}\n{result.stderr}"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    write_ims(tmp_path / "images/a b.ims", PIXELS)
    return tmp_path / "images/a b.ims"


def check(folder: Path, logs: Path | None = None) -> None:
    """Hold what a workflow leaves against what it promises."""
    np.testing.assert_array_equal(levels(folder / "a b.ome.zarr", "0.5")[0], PIXELS[0])
    for kind in ("report", "validated", "verified"):
        assert isinstance(json.loads((folder / f"a b.{kind}.json").read_text()), dict)
    if logs:
        events = [json.loads(line)["event"] for line in (logs / "a b.jsonl").read_text().splitlines()]
        assert events[-1] == "done"


def test_the_commands_of_the_snakefile(tmp_path: Path, image: Path) -> None:
    out = tmp_path / "out"
    (out / "logs").mkdir(parents=True)
    kinds = ("report", "validated", "verified")
    names = {
        "input": SimpleNamespace(image=image),
        "output": SimpleNamespace(**{kind: out / f"a b.{kind}.json" for kind in kinds}),
        "params": SimpleNamespace(store=out / "a b.ome.zarr", sample="100%"),
        "resources": SimpleNamespace(mem_mb=2000),
        "log": out / "logs/a b.jsonl",
        "threads": 2,
        "INTERPRETER_MB": 200,
    }
    blocks = re.findall(r'shell:\s*"""(.*?)"""', (EXAMPLES / "snakemake/Snakefile").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        run(_Quoting().format(block.replace("\\\n", " "), **names), tmp_path)
    check(out, out / "logs")


def test_the_commands_of_the_nextflow_script(tmp_path: Path, image: Path) -> None:
    names = {"image": image, "store": tmp_path / "a b.ome.zarr", "name": "a b", "budget": 1800}
    names |= {"task.cpus": 2, "params.sample": "100%"}
    blocks = re.findall(r'script:.*?"""(.*?)"""', (EXAMPLES / "nextflow/main.nf").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        run(PLACE.sub(lambda found: str(names[found[1]]), block.replace("\\\\\n", " ")), tmp_path)
    check(tmp_path)


@pytest.mark.skipif(not shutil.which("snakemake"), reason="Snakemake is not installed")
def test_the_snakefile(tmp_path: Path, image: Path) -> None:
    assert image.exists()
    words = "--cores 2 --config input=images output=out"
    run(f"snakemake -s '{EXAMPLES}/snakemake/Snakefile' {words}", tmp_path)
    check(tmp_path / "out", tmp_path / "out/logs")
