"""From measured runs to tables, on the terminal and in Markdown."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rows import BIGGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from inputs import Aims
    from outputs import Output
    from rich.console import Console
    from rows import Result

MARKERS = ("<!-- {key} -->", "<!-- end of {key} -->")
"""Lines of a page between which the tables of a kind of input go."""
Cells = tuple[str, ...]

RATIO_COLUMNS = ("ratio of medians", "", "aim")
COLUMNS = ("", "wall, s", "CPU, s", "peak memory, MB", "written, MB", "files", "levels", "chunk")


def spread(result: Result, name: str, unit: float, digits: int) -> str:
    """Write median and range of a quantity."""
    values = sorted(value / unit for value in result.values(name))
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({values[0]:,.{digits}f} to {values[-1]:,.{digits}f})"


def cells(result: Result) -> Cells:
    """Write one row; a failure takes the place of all figures."""
    if result.failure:
        return (result.row.title, result.failure, *[""] * (len(COLUMNS) - 2))
    wall, cpu = (spread(result, name, 1, 2) for name in ("wall_s", "cpu_s"))
    return (result.row.title, wall, cpu, spread(result, "peak_bytes", 1e6, 0), *output_cells(result.output))


def output_cells(output: Output | None) -> Cells:
    """Write what there is in the output."""
    if output is None:
        return "", "", "", ""
    chunk = " x ".join(map(str, output.chunks))
    return f"{output.n_bytes / 1e6:,.0f}", f"{output.n_files:,}", str(len(output.shapes)), chunk


@dataclass(frozen=True)
class Ratio:
    """A quotient of two medians, and what it is to be."""

    title: str
    value: float | None
    most: float | None = None
    least: float | None = None

    def cells(self) -> Cells:
        """Write it."""
        limits = (("at most", self.most), ("at least", self.least))
        aim = ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
        return self.title, "-" if self.value is None else f"{self.value:.2f}", aim


def quotient(above: float | None, below: float | None) -> float | None:
    """Divide, unless either is missing."""
    return above / below if above is not None and below else None


def ratios(results: Iterable[Result], peers: Sequence[Result], cores: int, aims: Aims) -> list[Ratio]:
    """Compare medians: with the roof, with one another, and peers with the product."""
    found = {result.row.key: result for result in results}

    def of(key: str, name: str) -> float | None:
        return found[key].median(name) if key in found else None

    roof_cpu = of("roof", "cpu_s")
    wall, cpu, peak = (of("v05", name) for name in ("wall_s", "cpu_s", "peak_bytes"))
    told = [
        Ratio("CPU / CPU of the roof", quotient(cpu, roof_cpu), most=aims.cpu),
        Ratio(f"wall / (CPU of the roof / {cores} cores)", quotient(wall, roof_cpu and roof_cpu / cores)),
        Ratio(f"wall / (own CPU / {cores} cores)", quotient(wall, cpu and cpu / cores)),
        Ratio("0.4: wall / wall of 0.5", quotient(of("v04", "wall_s"), wall)),
        Ratio("sharded: wall / wall unsharded", quotient(of("sharded", "wall_s"), wall)),
        Ratio("sharded: CPU / CPU unsharded", quotient(of("sharded", "cpu_s"), cpu)),
        Ratio(f"{BIGGER} times the image: memory / memory", quotient(of("big", "peak_bytes"), peak)),
        Ratio(f"{BIGGER} times the image: wall / wall", quotient(of("big", "wall_s"), wall)),
    ]
    if aims.peak_mb is not None:
        told.append(Ratio(f"peak memory / {aims.peak_mb:g} MB", quotient(peak, aims.peak_mb * 1e6), most=1))
    walls = [seconds for peer in peers if (seconds := peer.median("wall_s")) is not None]
    fastest = quotient(min(walls, default=None), wall)
    told.append(Ratio("fastest of the others: wall / ours", fastest, least=aims.peer))
    for peer in peers:
        name = peer.row.title
        told.append(Ratio(f"{name}: wall / ours", quotient(peer.median("wall_s"), wall)))
        told.append(Ratio(f"{name}: CPU / ours", quotient(peer.median("cpu_s"), cpu)))
        told.append(Ratio(f"{name}: peak memory / ours", quotient(peer.median("peak_bytes"), peak)))
    return [ratio for ratio in told if ratio.value is not None]


def markdown(columns: Cells, rows: Iterable[Cells]) -> str:
    """Write a Markdown table."""
    lines = [columns, ("---", *["---:"] * (len(columns) - 1)), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def show(console: Console, columns: Cells, rows: Iterable[Cells]) -> None:
    """Print a table."""
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False)


def save(path: Path, key: str, fragment: str) -> None:
    """Write a Markdown fragment: between the markers that a page has for it, else at the end of the page."""
    page = path.read_text() if path.exists() else ""
    start, end = (marker.format(key=key) for marker in MARKERS)
    if start in page and end in page:
        before, after = page.partition(start)[0], page.partition(end)[2]
    else:
        before, after = f"{page}\n" if page else "", ""
    path.write_text(f"{before}{start}\n\n{fragment}\n\n{end}{after}".rstrip() + "\n")


def save_runs(path: Path, sections: Mapping[str, Iterable[Result]]) -> None:
    """Write every single run as JSON."""
    document = [
        {
            "input": key,
            "title": result.row.title,
            "failure": result.failure,
            "runs": [asdict(run) for run in result.runs],
            "output": asdict(result.output) if result.output else None,
        }
        for key, results in sections.items()
        for result in results
    ]
    path.write_text(json.dumps(document, indent=1) + "\n")
