#!/usr/bin/env python3
"""What a request costs, counted: per GET and per PUT, of all three nodes together. `Scripts/bench.sh count` calls it.

`count.so` counts in each process; the counters are read before and after a load, and divided by its operations. What runs
beside it, flushes and compactions foremost, is in them.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

from compare import LOAD
from servers import Failure, RingKV, fresh

SCRIPTS = Path(__file__).resolve().parent.parent
# In the order of the enumeration in count.c.
FIELDS = ["allocations", "copies of 512 B or more", "bytes copied", "retains", "releases", "recv", "send", "epoll_wait",
          "sched_yield", "write", "pread", "eventfd, timerfd", "fdatasync"]


def read(directory, pid):
    counts = list(struct.unpack(f"{len(FIELDS)}Q", (directory / str(pid)).read_bytes()[: 8 * len(FIELDS)]))
    switches = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except FileNotFoundError:
            continue
        switches += int(next(line for line in status.splitlines() if line.startswith("voluntary")).split()[1])
    return counts + [switches]


def bench(kvctl, target, workload, pipeline, seconds, *more):
    command = [kvctl, "bench", *target, *LOAD, "--workload", workload, "--pipeline", str(pipeline), "--warmup", "0s",
               "--duration", f"{seconds}s", "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 9):
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout)["data"]["run"]["operations"]


def count(ring, kvctl, counts, workload, pipeline, seconds):
    """Per operation, of all nodes."""
    before = [read(counts, pid) for pid in ring.pids()]
    operations = max(1, bench(kvctl, ring.target, workload, pipeline, seconds))
    after = [read(counts, pid) for pid in ring.pids()]
    return [sum(new) / operations - sum(old) / operations for old, new in zip(zip(*before), zip(*after))]


def main():
    parser = argparse.ArgumentParser(prog="Scripts/bench.sh count", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each load (default 5)")
    parser.add_argument("--bin", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--shim", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=22410, help="first of the ports (default 22410)")
    options = parser.parse_args()
    counts = fresh(options.data / "counts")
    kvctl = str(options.bin / "kvctl")
    os.environ |= {"LD_PRELOAD": str(options.shim), "RINGKV_COUNTS": str(counts)}
    ring, columns = None, []
    try:
        ring = RingKV(SCRIPTS, fresh(options.data / "ring"), options.port, "os", options.bin)
        del os.environ["LD_PRELOAD"]
        bench(kvctl, ring.target, "get", 1, 1, "--load")
        for workload in ("get", "put"):
            for pipeline in (1, 16):
                bench(kvctl, ring.target, workload, pipeline, 1)
                columns.append((f"{workload} x{pipeline}", count(ring, kvctl, counts, workload, pipeline, options.seconds)))
    except Failure as failure:
        print(f"bench.sh count: {failure}", file=sys.stderr)
        return 1
    finally:
        if ring:
            ring.stop()
    print(f"{'an operation':28}" + "".join(f"{name:>12}" for name, _ in columns))
    for index, field in enumerate(FIELDS + ["voluntary context switches"]):
        print(f"{field:28}" + "".join(f"{values[index]:12,.2f}" for _, values in columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
