"""The shell scripts of examples/slurm and of this folder, read and not run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples/slurm"
SCRIPTS = sorted([*HERE.glob("*.sh"), *EXAMPLES.iterdir()])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    command = ["shellcheck", "--external-sources", script.name]
    result = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
