#!/usr/bin/env python3
"""RingKV beside redis and etcd: same machine, same run, same load generator. `Scripts/bench.sh compare` calls it.

Each round measures every row once, ours and theirs in turn, so that what else the machine does hits both alike; figures
are medians of the rounds. Throughput and latency are the generator's; CPU is that of the servers, from /proc, an operation.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from servers import Etcd, Failure, Redis, RingKV, fresh

SCRIPTS = Path(__file__).resolve().parent.parent
LOAD = ["--records", "100000", "--key-size", "16", "--value-size", "1024", "--clients", "64"]


class Comparison:
    def __init__(self, options):
        self.options = options
        self.kvctl = str(options.bin / "kvctl")
        self.samples = {}
        self.servers = []
        self.facts = {}

    # --- measuring

    def bench(self, server, *arguments, seconds=None, cpu=True):
        """One run of the generator: what it reports, and the servers' CPU."""
        command = [self.kvctl, "bench", *server.target, *LOAD, *arguments, "--json", "--warmup", "0s", "--duration",
                   f"{seconds or self.options.seconds}s"]
        before = server.cpu_seconds()
        done = subprocess.run(command, capture_output=True, text=True)
        after = server.cpu_seconds()
        if done.returncode not in (0, 9):
            raise Failure(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
        run = json.loads(done.stdout)["data"]["run"]
        operations = max(1, run["operations"])
        kinds = {kind["kind"]: kind for kind in run["kinds"]}
        worst = {name: max((kind[name] for kind in kinds.values()), default=0) / 1000 for name in ("p50_us", "p99_us", "p99_9_us")}
        return {
            "ops": run["operations_per_s"], "p50_ms": worst["p50_us"], "p99_ms": worst["p99_us"],
            "p99_9_ms": worst["p99_9_us"], "cpu_us": (after - before) * 1e6 / operations,
            "client_cpu_us": run["client_cpu_us_per_operation"], "failed": run["failed"],
        }

    def sample(self, row, server, *arguments, **options):
        """Adds a run to a row's samples of a server; a short one first, so that nothing is cold."""
        self.bench(server, *arguments, seconds=1)
        figures = self.bench(server, *arguments, **options)
        self.samples.setdefault((row, server.name), []).append(figures)
        print(f"  {row:28} {server.name:28} {figures['ops']:>9,.0f}/s  p99 {figures['p99_ms']:7.2f} ms  "
              f"{figures['cpu_us']:6.1f} µs", file=sys.stderr)

    def median(self, row, name, field):
        return statistics.median(sample[field] for sample in self.samples[(row, name)])

    # --- the rows

    def start(self):
        data, port, binaries = self.options.data, self.options.port, self.options.bin
        def started(server):
            self.servers.append(server)
            return server
        self.ring_sync = started(RingKV(SCRIPTS, fresh(data / "ring-sync"), port, "sync", binaries))
        time.sleep(2)
        self.facts["idle node, MB"] = max(self.ring_sync.resident_mb())
        self.ring_os = started(RingKV(SCRIPTS, fresh(data / "ring-os"), port + 100, "os", binaries))
        self.redis = started(Redis(fresh(data / "redis"), port + 200, appends=False))
        self.redis_always = started(Redis(fresh(data / "redis-always"), port + 201, appends=True))
        for server in self.servers:
            self.bench(server, "--workload", "get", "--load", seconds=1)
        self.etcd = None if self.options.without_etcd else started(Etcd(fresh(data / "etcd"), port + 300))

    ROWS = {
        "GET": lambda self, row: [self.sample(row, server, "--workload", "get") for server in (self.redis, self.ring_sync)],
        "PUT": lambda self, row: [
            self.sample(row, server, "--workload", "put")
            for server in (self.redis, self.ring_os, self.redis_always, self.ring_sync)],
        "GET, 16 in flight": lambda self, row: [
            self.sample(row, server, "--workload", "get", "--pipeline", "16") for server in (self.redis, self.ring_sync)],
        "PUT, 16 in flight": lambda self, row: [
            self.sample(row, server, "--workload", "put", "--pipeline", "16") for server in (self.redis, self.ring_sync)],
        "YCSB A": lambda self, row: self.sample(row, self.ring_sync, "--workload", "a"),
        "YCSB B": lambda self, row: self.sample(row, self.ring_sync, "--workload", "b"),
        "PUT, 512 clients": lambda self, row: self.sample(row, self.ring_sync, "--workload", "put", "--clients", "512"),
        "get of KVClient, 64 tasks": lambda self, row: self.sample(
            row, self.ring_sync, "--workload", "get", "--through", "client"),
    }

    def run(self):
        self.start()
        for number in range(self.options.rounds):
            print(f"round {number + 1} of {self.options.rounds}", file=sys.stderr)
            for row, measure in self.ROWS.items():
                if not self.options.only or row in self.options.only:
                    measure(self, row)
        self.open_loop("GET", "get", [self.ring_sync, self.redis])
        self.open_loop("PUT", "put", [self.ring_sync, self.redis, self.redis_always])
        self.facts["node under this load, MB"] = max(self.ring_sync.resident_mb() + self.ring_os.resident_mb())
        if self.etcd:
            self.etcd_load()

    def open_loop(self, row, workload, servers):
        """Latency at half of our own peak, from the intended start."""
        if (row, self.ring_sync.name) not in self.samples:
            return
        rate = int(self.median(row, self.ring_sync.name, "ops") / 2)
        for _ in range(self.options.rounds):
            for server in servers:
                self.sample(f"{row} at half the peak", server, "--workload", workload, "--rate", str(rate))

    def etcd_load(self):
        before = self.etcd.cpu_seconds()
        done = subprocess.run(
            ["etcdctl", "--endpoints", self.etcd.endpoints, "check", "perf", "--load=l"], capture_output=True, text=True,
            env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"})
        said = done.stdout + done.stderr
        found = re.search(r"hroughput (?:too low: |is )(\d+)", said)
        if not found:
            raise Failure(f"etcdctl check perf said: {said.strip()[-300:]}")
        rate = int(found[1])
        self.facts["etcd, writes a second"] = rate
        self.facts["etcd, CPU µs a write"] = (self.etcd.cpu_seconds() - before) * 1e6 / (rate * 60)

    def stop(self):
        for server in self.servers:
            server.stop()

    # --- the report

    def figure(self, row, name, field):
        return self.median(row, name, field) if (row, name) in self.samples else None

    def claims(self):
        """Each row of the issue: what was asked, what came out, and whether it holds."""
        ring, ring_os, redis, always = "RingKV, durability sync", "RingKV, durability os", "redis", "redis, appendfsync always"
        def ratio(row, ours, reference, field, theirs=None):
            a, b = self.figure(row, ours, field), self.figure(theirs or row, reference, field)
            return None if a is None or not b else a / b
        def predicted(workload, reads):
            get, put = self.figure("GET", ring, "ops"), self.figure("PUT", ring, "ops")
            measured = self.figure(workload, ring, "ops")
            if None in (get, put, measured):
                return None
            return measured / (1 / (reads / get + (1 - reads) / put))
        etcd, etcd_cpu = self.facts.get("etcd, writes a second"), self.facts.get("etcd, CPU µs a write")
        many, many_cpu = self.figure("PUT, 512 clients", ring, "ops"), self.figure("PUT, 512 clients", ring, "cpu_us")
        return [
            ("GET of redis GET", ratio("GET", ring, redis, "ops"), ">=", 0.40),
            ("GET, CPU of redis'", ratio("GET", ring, redis, "cpu_us"), "<=", 4.0),
            ("PUT os of redis SET", ratio("PUT", ring_os, redis, "ops"), ">=", 0.36),
            ("PUT os, CPU of redis'", ratio("PUT", ring_os, redis, "cpu_us"), "<=", 4.5),
            ("PUT sync of redis SET", ratio("PUT", ring, redis, "ops"), ">=", 0.18),
            ("PUT sync of appendfsync always", ratio("PUT", ring, always, "ops"), ">=", 0.45),
            ("PUT sync, 512 clients, of etcd", many and etcd and many / etcd, ">=", 10),
            ("PUT sync, CPU of etcd's", many_cpu and etcd_cpu and many_cpu / etcd_cpu, "<=", 0.125),
            ("GET, 16 in flight", ratio("GET, 16 in flight", ring, redis, "ops"), ">=", 0.15),
            ("PUT sync, 16 in flight", ratio("PUT, 16 in flight", ring, redis, "ops"), ">=", 0.07),
            ("YCSB A of the prediction", predicted("YCSB A", 0.5), ">=", 0.7),
            ("YCSB B of the prediction", predicted("YCSB B", 0.95), ">=", 0.9),
            ("GET p99 at half the peak, ms", self.figure("GET at half the peak", ring, "p99_ms"), "<=", 2),
            ("PUT sync p99 at half the peak, ms", self.figure("PUT at half the peak", ring, "p99_ms"), "<=", 6),
            ("KVClient get, client CPU µs", self.figure("get of KVClient, 64 tasks", ring, "client_cpu_us"), "<=", 30),
            ("idle node, MB", self.facts.get("idle node, MB"), "<=", 60),
            ("node under this load, MB", self.facts.get("node under this load, MB"), "<=", 400),
        ]

    def report(self):
        print(f"{'row':28} {'server':28} {'op/s':>9} {'p50':>7} {'p99':>7} {'p99.9':>7} ms {'CPU µs':>7}")
        for (row, name) in self.samples:
            fields = [self.median(row, name, field) for field in ("ops", "p50_ms", "p99_ms", "p99_9_ms", "cpu_us")]
            print(f"{row:28} {name:28} {fields[0]:>9,.0f} {fields[1]:7.2f} {fields[2]:7.2f} {fields[3]:7.2f}    {fields[4]:7.1f}")
        print(f"\n{'what is asked':36} {'measured':>9}  {'bound':>8}")
        for text, value, sign, bound in self.claims():
            if value is None:
                continue
            holds = value >= bound if sign == ">=" else value <= bound
            print(f"{text:36} {value:9.2f}  {sign} {bound:<6} {'' if holds else 'MISSED'}")
        for text in ("etcd, writes a second", "etcd, CPU µs a write"):
            if text in self.facts:
                print(f"{text:36} {self.facts[text]:9.0f}")

    def document(self):
        return {
            "schema": "ringkv-bench/1", "seconds": self.options.seconds, "rounds": self.options.rounds, "facts": self.facts,
            "samples": [{"row": row, "server": name, "runs": runs} for (row, name), runs in self.samples.items()],
            "claims": [{"text": text, "value": value, "sign": sign, "bound": bound} for text, value, sign, bound in self.claims()],
        }


def main():
    parser = argparse.ArgumentParser(prog="Scripts/bench.sh compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=15, help="of each run (default 15)")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default 3)")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    parser.add_argument("--only", action="append", metavar="ROW", help="these rows only; repeatable")
    parser.add_argument("--without-etcd", action="store_true", help="leave etcd and its rows out")
    parser.add_argument("--bin", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=21410, help="first of the ports (default 21410)")
    options = parser.parse_args()
    unknown = [row for row in options.only or [] if row not in Comparison.ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(Comparison.ROWS)}")
    comparison = Comparison(options)
    try:
        comparison.run()
    except Failure as failure:
        print(f"bench.sh compare: {failure}", file=sys.stderr)
        return 1
    finally:
        comparison.stop()
    comparison.report()
    if options.json:
        options.json.write_text(json.dumps(comparison.document(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
