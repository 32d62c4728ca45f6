"""Other converters: how each is installed, in a virtual environment of its own, and how it is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """A converter and how its own manual says to run it, with its defaults unless noted."""

    name: str
    requirements: tuple[str, ...]
    """What pip installs, pinned; the first is the converter."""
    command: tuple[str, ...]
    """Program and arguments, with {bin}, {input} and {output} to be filled in."""
    note: str = ""


PEERS = (
    Peer(
        "EuBI-Bridge",
        ("eubi-bridge-lite==0.3.2",),
        ("{bin}/eubi", "to_zarr", "{input}", "{output}"),
        "Zarr v2, OME-Zarr 0.4 by default",
    ),
    Peer(
        "ngff-zarr",
        ("ngff-zarr[cli]==0.50.0",),
        ("{bin}/ngff-zarr", "--input", "{input}", "--output", "{output}", "--method", "itkwasm_bin_shrink"),
        "averages as ngff-convert does (`--method itkwasm_bin_shrink`), not with its default, a Gaussian",
    ),
    Peer(
        "bioio-conversion",
        (
            "bioio-conversion==3.0.0",
            "bioio-bioformats==2.0.0",
            "bioio-ome-tiff==1.4.0",
            "bioio-tifffile==1.3.1",
        ),
        ("{bin}/bioio-convert", "{input}", "--destination", "{output}"),
        "reads .ims with its plugin for Bio-Formats, which fetches Java and Bio-Formats when it is first "
        "used; TIFF with its plugins for that",
    ),
)


class PeerUnavailableError(Exception):
    """A peer cannot be installed here; the message is pip's last line."""


def install(peer: Peer, folder: Path) -> Path:
    """Install a peer unless it is there already.

    Parameters
    ----------
    peer
        The converter.
    folder
        Where the virtual environments of all peers are.

    Returns
    -------
    Path
        The folder of its programs.

    Raises
    ------
    PeerUnavailableError
        If pip fails.
    """
    root = folder / peer.name
    done = root / "installed.txt"
    wanted = "\n".join(peer.requirements)
    if done.is_file() and done.read_text() == wanted:
        return root / "bin"
    shutil.rmtree(root, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(root)])
    _call([str(root / "bin/python"), "-m", "pip", "install", "--quiet", *peer.requirements])
    done.write_text(wanted)
    return root / "bin"


def _call(command: list[str]) -> None:
    """Run an installer quietly."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise PeerUnavailableError(lines[-1])
