"""Convert a file to a folder and to a bucket on this machine, in turns, and print how fast each is.

The bucket is `tiny_s3.py`, a process on the same processors as the conversion.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its wall and CPU seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Take turns, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", default="none")
    words = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, str(HERE / "tiny_s3.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
        **{"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"},
    }
    command = [sys.executable, "-m", "ngff_convert", words.source]
    options = ["--quiet", "--overwrite", "--shards", words.shards]
    times: dict[str, list[tuple[float, float]]] = {"disk": [], "bucket": []}
    with TemporaryDirectory(dir=".") as folder:
        for _ in range(words.rounds + 1):
            for kind, out in (("disk", f"{folder}/out.ome.zarr"), ("bucket", "s3://images/out.ome.zarr")):
                shutil.rmtree(f"{folder}/out.ome.zarr", ignore_errors=True)
                times[kind].append(run([*command, out, *options], environment))
    server.stdin.close()
    server.wait()
    facts = {
        kind: {
            "wall_s": round(statistics.median(wall for wall, _ in each[1:]), 2),
            "cpu_s": round(statistics.median(cpu for _, cpu in each[1:]), 2),
        }
        for kind, each in times.items()
    }
    rate = facts["disk"]["wall_s"] / facts["bucket"]["wall_s"]
    print(json.dumps({**facts, "bucket_rate_of_disk": round(rate, 2)}, indent=1))


if __name__ == "__main__":
    main()
