"""Imports go one way: cli -> convert -> decisions and work -> records. Heavy packages load when needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import ngff_convert

PACKAGE = Path(ngff_convert.__file__).parent

# A module may import from layers below its own, and not from its own.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"cli_archive", "cli_batch", "cli_checks", "cli_jobs", "cli_labels", "cli_upgrade", "cli_virtual"},
    {"batch_report", "cli_options", "cli_output", "__init__", "testing"},
    {"batch", "separate", "upgrade"},
    {"batch_record", "upgrade_rebuild"},
    {
        "progress",
        "json_log",
        "inspection",
        "words",
        "signals",
        "verify",
        "validate",
        "array_job",
        "labels_store",
        "unpack",
        "virtual",
    },
    {"convert"},
    {"story", "job_file"},
    {"targets"},
    {"archive_target", "bucket_target"},
    {
        "archive",
        "commit",
        "passes",
        "cluster",
        "compare",
        "labels",
        "label_sources",
        "layout",
        "verify_boxes",
    },
    {"copied", "display", "describe", "machine", "store", "overrides", "readers.registry"},
    {"ngff_label", "stored_labels"},
    {"copying", "engine", "ngff", "omexml", "region", "resume", "bucket_journal"},
    {"ngff_plate", "omexml_plate", "wells", "reference_files", "references"},
    {"upgrade_chunks", "upgrade_scan"},
    {"upgrade_metadata"},
    {
        "label_colors",
        "label_table",
        "sink",
        "stored",
        "tally",
        "downsample",
        "plan",
        "fill",
        "journal",
        "omexml_source",
    },
    {"pyramid", "chunking", "options", "validation"},
    {"events", "readers", "option_values"},
    {"verification"},
    {"write_plan"},
    {"model"},
    {"storage"},
    {"storage_disk", "storage_remote"},
    {"storage_contract", "zip_writer", "file_system"},
    {"units", "errors", "version", "ome_schema", "ngff_systems", "plates", "shuffled"},
]
# Readers have layers of their own within their family of formats, above only these.
STORAGE = {"storage", "storage_contract", "storage_disk"}
VALIDATION_IMPORTS = {"model", "units", "errors", "ome_schema", "shuffled", *STORAGE}
BELOW_READERS = {"model", "plates", "units", "errors", "ome_schema", "shuffled", "storage"}
READERS_IMPORT = {*BELOW_READERS, "readers.contract"}


@cache
def modules() -> dict[str, Path]:
    found = {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__") if name != "__init__" else name: p for name, p in found.items()}


@cache
def imported(path: Path, *, for_types: bool = False) -> set[str]:
    """Return the modules of the package that a module imports, wherever in it; not those for types only."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not for_types:
            return
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ngff_convert":
            inner = (node.module or "").partition(".")[2]
            for alias in node.names:
                name = f"{inner}.{alias.name}".lstrip(".")
                found.add(name if name in modules() else inner or "__init__")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_one_way(name: str) -> None:
    below = imported(modules()[name])
    if name.startswith("validation."):
        family = {other for other in below if other.startswith("validation.")}
        assert below - family <= VALIDATION_IMPORTS
        return
    if name.startswith("readers."):
        if name != "readers.registry":
            family = {other for other in below if other.startswith("readers.")}
            assert below - family <= READERS_IMPORT
            return
        assert below <= READERS_IMPORT
        return
    for other in below:
        if other == "readers.contract":
            assert layer(name) < layer("readers")
        else:
            other = "validation" if other.startswith("validation.") else other
            assert layer(other) > layer(name), f"{name} imports {other}"


def test_readers_are_named_by_the_registry_alone() -> None:
    for name, path in modules().items():
        for other in imported(path):
            if other.startswith("readers.") and other not in ("readers.contract", "readers.registry"):
                assert name.startswith("readers."), f"{name} imports {other}"


def test_no_imports_go_in_circles_within_a_reader_family() -> None:
    graph = {name: imported(path) for name, path in modules().items()}

    def reach(name: str, seen: tuple[str, ...]) -> None:
        assert name not in seen, f"a circle: {' -> '.join((*seen, name))}"
        for other in graph.get(name, ()):
            reach(other, (*seen, name))

    for name in graph:
        reach(name, ())


HEAVY = (
    "numpy",
    "dask",
    "zarr",
    "h5py",
    "tifffile",
    "tensorstore",
    "imagecodecs",
    "rich",
    "ome_types",
    "hdf5plugin",
)


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.split()} & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    assert loaded_after("from ngff_convert.cli import main; main(['--help'])") == set()


def test_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import ngff_convert") == set()


def test_a_conversion_needs_neither_dask_nor_zarr(tmp_path: Path) -> None:
    code = f"""
from ngff_convert.testing import coded_pixels, write_ims
write_ims({str(tmp_path / "in.ims")!r}, coded_pixels((1, 1, 4, 20, 20)))
import ngff_convert
ngff_convert.convert({str(tmp_path / "in.ims")!r}, {str(tmp_path / "out")!r})
"""
    assert not loaded_after(code) & {"dask", "zarr", "tifffile", "hdf5plugin"}


def test_the_public_names_are_sorted_and_there() -> None:
    assert sorted(ngff_convert.__all__) == ngff_convert.__all__
    assert all(hasattr(ngff_convert, name) for name in ngff_convert.__all__)
