"""The Dockerfile, the Apptainer recipe, and what a container asks of the program.

No test builds an image. The commands of the README and of the recipes need an engine; here their file names,
folders and tags are held against the Dockerfile, and what their flags ask for (--read-only, --user) is asked
of the installed command by bubblewrap, where that is installed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stores import levels

from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parent.parent
RECIPE = TOP / "containers/apptainer.def"
PROJECT: dict[str, Any] = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
COMMAND = Path(sys.executable).with_name("ngff-convert")
BASE = re.compile(r"python:(?P<minor>3\.\d+)\.\d+-slim-(bookworm|trixie)")


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions and what follows each, on one line, without comments."""
    lines = (TOP / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line)
    return [(name, " ".join(rest.split())) for name, rest in pairs]


def last(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def copied() -> set[str]:
    """Return what the Dockerfile takes from the folder it is built in."""
    words = [rest.split() for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    return {source for sources in words for source in sources[:-1]}


def labels() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(last("LABEL")))


def sections(name: str) -> list[str]:
    """Return the sections of this name of the Apptainer recipe, a stage after the other."""
    return re.findall(rf"^%{name}\n(.*?)(?=^%|^Bootstrap|\Z)", RECIPE.read_text(), re.DOTALL | re.MULTILINE)


def one_line(shell: str) -> str:
    return " ".join(shell.replace("\\\n", " ").split())


def test_all_stages_are_of_one_base_named_by_its_full_version() -> None:
    stages = [rest.split() for name, rest in instructions() if name == "FROM"]
    own = {words[2] for words in stages if len(words) > 1}
    (base,) = {words[0] for words in stages} - own
    assert len(stages) == 3
    found = BASE.fullmatch(base)
    assert found, base
    assert f"Programming Language :: Python :: {found['minor']}" in PROJECT["project"]["classifiers"]
    assert labels()["org.opencontainers.image.base.name"] == f"docker.io/library/{base}"
    assert re.findall(r"^From: (.*)", RECIPE.read_text(), re.MULTILINE) == [base, base]
    assert f"/usr/local/lib/python{found['minor']}" in last("RUN")


def test_the_last_stage_runs_the_command_itself_as_nobody() -> None:
    names = [name for name, _ in instructions()]
    end = len(names) - names[::-1].index("FROM")
    assert {"USER", "ENTRYPOINT", "WORKDIR", "ENV", "LABEL"} <= set(names[end:])
    assert re.fullmatch(r"[1-9]\d*:\d+", last("USER"))  # Kubernetes' runAsNonRoot understands only numbers
    assert json.loads(last("ENTRYPOINT")) == ["ngff-convert"]  # a shell would keep SIGTERM for itself
    assert "ngff-convert" in PROJECT["project"]["scripts"]


def test_the_context_is_what_is_copied_and_nothing_else() -> None:
    patterns = [
        line for line in (TOP / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert patterns[0] == "*"

    def kept(path: Path) -> bool:
        parts = path.relative_to(TOP).parts
        verdict = True
        for pattern in patterns:
            plain = pattern.removeprefix("!")
            inside = parts if plain.startswith("**/") else parts[:1]
            if any(fnmatch(part, plain.removeprefix("**/")) for part in inside):
                verdict = pattern.startswith("!")
        return verdict

    top = {path.name for path in TOP.iterdir() if kept(path)}
    assert top == copied()
    assert not top & {".git", ".venv", "tests", "sample_data"}
    files = [path for name in top for path in (TOP / name, *(TOP / name).rglob("*")) if path.is_file()]
    sent = [path for path in files if kept(path)]
    assert sum(path.stat().st_size for path in sent) < 5_000_000
    assert {path.suffix for path in sent} & {".py", ".pyc"} == {".py"}


def test_both_copy_what_the_package_is_built_from() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"], *wheel["packages"]}
    assert needed == copied()
    lines = [line.split() for line in sections("files")[0].splitlines() if line]
    assert lines == [[name, f"/src/{name}"] for name, _ in lines]
    assert {name for name, _ in lines} == needed


def test_both_install_the_same_in_the_same_way() -> None:
    docker = [rest for name, rest in instructions() if name == "RUN"]
    apptainer = [one_line(shell).removeprefix("cd /src ") for shell in sections("post")]
    assert docker == apptainer
    extras = re.search(r"\.whl\)\[(.*?)\]", docker[0])
    assert extras
    assert set(extras[1].split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_labels_say_what_the_package_says() -> None:
    found = {name.removeprefix("org.opencontainers.image."): value for name, value in labels().items()}
    project = PROJECT["project"]
    assert found.pop("base.name")
    assert found == {
        "title": project["name"],
        "description": project["description"].partition(":")[0],
        "version": __version__,
        "licenses": project["license"],
        "authors": project["authors"][0]["name"],
    }
    lines = [line.split(maxsplit=1) for line in sections("labels")[0].splitlines() if line]
    assert {name.removeprefix("org.opencontainers.image."): value for name, value in lines} == found


def test_the_documented_commands_fit_the_recipes() -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8").partition("\n### In a container\n")[2]
    block = text.partition("```\n")[2].partition("```")[0].replace("\\\n", " ")
    build, run, make, start = (shlex.split(line, comments=True) for line in block.splitlines() if line)
    assert build == ["docker", "build", "--tag", "ngff-convert", "."]
    flags = run[2 : run.index("ngff-convert")]
    assert {"--rm", "--read-only"} <= set(flags)
    assert flags[flags.index("--user") + 1] == "$(id -u):$(id -g)"
    assert flags[flags.index("--volume") + 1] == f"$PWD:{last('WORKDIR')}"
    assert make[:2] == ["apptainer", "build"]
    assert make[3] == RECIPE.relative_to(TOP).as_posix()
    assert start[:3] == ["apptainer", "run", make[2]]
    for recipe in (TOP / "Dockerfile", RECIPE):
        beginning = recipe.read_text(encoding="utf-8").split("\n\n")[0]
        assert shlex.join(make) in beginning or shlex.join(build) in beginning


def _sandbox(folder: Path, *flags: str) -> list[str]:
    """Return the beginning of a command line: all but `folder` read-only, user 12345, no home, process 1."""
    words = """bwrap --unshare-all --as-pid-1 --die-with-parent --uid 12345 --gid 0 --ro-bind / / --dev /dev
        --proc /proc --clearenv --setenv PYTHONDONTWRITEBYTECODE 1 --chdir /"""
    around = str(folder.parent)  # may be below /dev, of which the sandbox has its own
    return [*words.split(), "--ro-bind", around, around, "--bind", str(folder), str(folder), *flags]


def _sandboxes() -> bool:
    """Say whether bubblewrap is installed, and is allowed to make namespaces."""
    if not shutil.which("bwrap"):
        return False
    return (
        subprocess.run(
            [*_sandbox(Path(__file__).parent), "true"], capture_output=True, check=False
        ).returncode
        == 0
    )


@contextmanager
def _started(folder: Path, words: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the command as process 1 of a sandbox; yields what started it, and its number outside."""
    read, write = os.pipe()
    command = [*_sandbox(folder, "--info-fd", str(write)), str(COMMAND), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, pass_fds=[write]) as process:
        os.close(write)
        try:
            with os.fdopen(read) as information:
                yield process, json.load(information)["child-pid"]
        finally:
            process.kill()


needs_a_sandbox = pytest.mark.skipif(not _sandboxes(), reason="bubblewrap is not installed, or not allowed")


@needs_a_sandbox
def test_nothing_is_written_but_the_output(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 2, 4, 40, 50))
    write_ims(tmp_path / "in.ims", pixels)
    out = tmp_path / "out"
    out.mkdir()
    can_write = f"touch {out}/x && rm {out}/x && ! touch /x {tmp_path}/x /tmp/x 2>&-"
    subprocess.run([*_sandbox(out), "sh", "-c", can_write], check=True)

    def run(*words: str) -> str:
        line = [*_sandbox(out), str(COMMAND), *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    run("convert", f"{tmp_path}/in.ims", f"{out}/a.ome.zarr", "--quiet", "--report", f"{out}/report.json")
    assert "0 errors" in run("validate", "--deep", f"{out}/a.ome.zarr")
    run("verify", f"{tmp_path}/in.ims", f"{out}/a.ome.zarr")
    np.testing.assert_array_equal(levels(out / "a.ome.zarr", "0.5")[0], pixels)
    assert {path.name for path in out.iterdir()} == {"a.ome.zarr", "report.json"}


@needs_a_sandbox
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_process_of_a_container_ends_when_it_is_told(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """The kernel keeps from process 1 every signal that it has no handler for."""
    write_ims(tmp_path / "in.ims", coded_pixels((2, 2, 16, 200, 200)), chunks=(8, 32, 32))
    flags = ["--workers", "1", "--chunks", "8,32,32", "--memory", "10MB", "--log-format", "json"]
    words = [f"{tmp_path}/in.ims", f"{tmp_path}/out", *flags]
    with _started(tmp_path, words) as (process, first):
        assert process.stderr is not None
        assert any(json.loads(line)["event"] == "region" for line in process.stderr)
        os.kill(first, sent)
        _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert json.loads(error.splitlines()[-1])["exit_code"] == code
    assert [path.name for path in tmp_path.glob("out*")] == ["out.partial"]
