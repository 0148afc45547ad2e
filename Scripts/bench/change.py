#!/usr/bin/env python3
"""This build beside another one and redis, in turn, in one run: what a change of the hot path gains.

For each of them throughput, its ratio to redis, and of the servers, an operation: CPU by node, user and system time,
context switches, and, of RingKV, turns of a loop that had something to do, operations of a batch. Medians of the rounds.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import urllib.request
from pathlib import Path

from servers import Failure, Redis, RingKV, TICK, fresh

SCRIPTS = Path(__file__).resolve().parent.parent


def usage_of(pid):
    """User and system seconds, and context switches of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    switches = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        switches += sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", status.read_text()))
    return int(fields[11]) / TICK, int(fields[12]) / TICK, switches


def batches_of(server):
    """Operations and batches that the stores of RingKV have written."""
    operations = batches = 0
    for port in getattr(server, "admin_ports", []):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        for name, value in re.findall(r"^kvnode_storage_batch_operations_(sum|count)\S* (\S+)", text, re.M):
            if name == "sum":
                operations += float(value)
            else:
                batches += float(value)
    return operations, batches


def measure(server, kvctl, options):
    before, batched = [usage_of(pid) for pid in server.pids()], batches_of(server)
    done = subprocess.run(
        [kvctl, "bench", *server.target, "--records", "100000", "--key-size", "16", "--value-size", "1024", "--clients",
         str(options.clients), "--pipeline", str(options.pipeline), "--workload", options.workload, "--json",
         "--warmup", "0s", "--duration", f"{options.seconds}s"], capture_output=True, text=True)
    if done.returncode not in (0, 9):
        raise Failure(done.stderr.strip()[-400:])
    after, batched_now = [usage_of(pid) for pid in server.pids()], batches_of(server)
    run = json.loads(done.stdout)["data"]["run"]
    count = max(1, run["operations"])
    nodes = [(new[0] - old[0] + new[1] - old[1]) * 1e6 / count for old, new in zip(before, after)]
    batches = batched_now[1] - batched[1]
    return {
        "ops": run["operations_per_s"], "nodes": nodes, "cpu": sum(nodes),
        "user": sum(new[0] - old[0] for old, new in zip(before, after)) * 1e6 / count,
        "system": sum(new[1] - old[1] for old, new in zip(before, after)) * 1e6 / count,
        "switches": sum(new[2] - old[2] for old, new in zip(before, after)) / count,
        "batch": (batched_now[0] - batched[0]) / batches if batches else 0,
        "p99": max((kind["p99_us"] for kind in run["kinds"]), default=0) / 1000,
    }


def report(samples):
    def median(name, field):
        return statistics.median(sample[field] for sample in samples[name])

    reference = median("redis", "ops")
    print(f"{'':10} {'op/s':>8} {'of redis':>8} {'p99 ms':>7} {'CPU µs':>7} {'of redis':>8} {'user':>6} {'system':>6} "
          f"{'switches':>8} {'batch':>6}  CPU by node")
    for name in samples:
        nodes = zip(*(sample["nodes"] for sample in samples[name]))
        print(f"{name:10} {median(name, 'ops'):8,.0f} {median(name, 'ops') / reference:8.3f} {median(name, 'p99'):7.2f} "
              f"{median(name, 'cpu'):7.1f} {median(name, 'cpu') / median('redis', 'cpu'):8.2f} {median(name, 'user'):6.1f} "
              f"{median(name, 'system'):6.1f} {median(name, 'switches'):8.2f} {median(name, 'batch'):6.1f}  "
              + " ".join(f"{statistics.median(node):.1f}" for node in nodes))


def main():
    parser = argparse.ArgumentParser(prog="Scripts/bench.sh change", description=__doc__.split("\n\n")[0])
    parser.add_argument("--before", type=Path, metavar="DIR", help="kvnode as it was; without it redis and this build")
    parser.add_argument("--workload", choices=["get", "put", "a", "b"], default="put")
    parser.add_argument("--durability", choices=["os", "sync"], default="os")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=4, help="of each run (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="medians of so many (default 5)")
    parser.add_argument("--bin", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=21410, help="first of the ports (default 21410)")
    options = parser.parse_args()
    kvctl = str(options.bin / "kvctl")
    servers = {}
    try:
        servers["redis"] = Redis(fresh(options.data / "redis"), options.port + 300, appends=False)
        builds = {"before": options.before, "after": options.bin} if options.before else {"this": options.bin}
        for place, (name, programs) in enumerate(builds.items()):
            directory = fresh(options.data / f"ring-{name}")
            servers[name] = RingKV(SCRIPTS, directory, options.port + 100 * place, options.durability, programs)
        for server in servers.values():
            subprocess.run([kvctl, "bench", *server.target, "--load", "--records", "100000", "--key-size", "16",
                            "--value-size", "1024", "--duration", "1s", "--workload", options.workload],
                           capture_output=True, check=True)
        samples = {name: [] for name in servers}
        for _ in range(options.rounds):
            for name, server in servers.items():
                samples[name].append(measure(server, kvctl, options))
    except (Failure, subprocess.CalledProcessError) as failure:
        print(f"bench.sh change: {failure}", file=sys.stderr)
        return 1
    finally:
        for server in servers.values():
            server.stop()
    report(samples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
