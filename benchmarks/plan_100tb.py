"""Plan a simulated image of 100 TB, of which there is no file, and print what it took."""

from __future__ import annotations

import json
import resource
import time
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert import Options, plan
from ngff_convert.model import Calibration, Channel, Image
from ngff_convert.readers.contract import LazyPixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ngff_convert.model import Box

SHAPE = (1, 2, 25_000, 32_000, 32_000)


class Nowhere(LazyPixels):
    """Pixels that are nowhere."""

    shape = SHAPE
    dtype = np.dtype("uint16")
    chunks = (1, 1, 64, 128, 64)
    compression = "none"

    def read(self, box: Box) -> NDArray[Any]:
        """Refuse: a plan reads no pixels."""
        raise AssertionError(f"{box} is read")


def main() -> None:
    """Plan, make the plan's JSON and digest, and ask for every thousandth region."""
    started = time.perf_counter()
    calibration = Calibration(zyx=(0.2, 0.2, 0.2), unit="micrometer")
    image = Image("whole brain", Nowhere(), (Channel(), Channel()), calibration)
    decided = plan.build(image, Options(), plan.Resources(workers=2, memory=4 * 2**30))
    indices = [(step, i) for step in decided.passes for i in range(0, step.n_regions, 1000)]
    boxes = sum(prod(step.box(i).shape) > 0 for step, i in indices)
    facts = {
        "terabytes": prod(SHAPE) * 2 / 1e12,
        "levels": len(decided.levels),
        "regions": [step.n_regions for step in decided.passes],
        "regions_asked_for": boxes,
        "digest": decided.digest,
        "plan_json_bytes": len(json.dumps(decided.to_json())),
        "seconds": time.perf_counter() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
