#!/usr/bin/env python3
"""How a cluster heals: real processes on this machine. `Scripts/bench.sh heal` calls it.

Every row is measured --rounds times, but for the node that is away, whose load takes minutes: its row is one round. Figures
are medians, with the worst round beside them. What is asked of them stands in the table.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from servers import Failure, RingKV, fresh

SCRIPTS = Path(__file__).resolve().parent.parent


# An operation that takes so long has waited for a node that does not answer.
SLOW_NS = 250_000_000
ROWS = ["deaths", "reroute", "away", "rebuild", "divergence"]


def say(text):
    print(f"  {text}", file=sys.stderr)


class Heal:
    def __init__(self, options):
        self.options = options
        self.kvctl, self.kvsim = str(options.bin / "kvctl"), str(options.bin / "kvsim")
        self.rows = []
        self.clusters = []

    # --- parts

    def cluster(self, name, nodes):
        started = RingKV(SCRIPTS, fresh(self.options.data / name), self.options.port, "sync", self.options.bin, nodes)
        self.clusters.append(started)
        return started

    def stop(self, cluster):
        cluster.stop()
        self.clusters.remove(cluster)

    def call(self, cluster, *arguments, check=True):
        done = subprocess.run([self.kvctl, *arguments, *cluster.target], capture_output=True, text=True)
        if check and done.returncode not in (0, 9):
            raise Failure(f"kvctl {' '.join(arguments)}: {done.stderr.strip()[-400:]}")
        return done.stdout

    def load(self, cluster, *arguments):
        return json.loads(self.call(cluster, "bench", *arguments, "--json"))["data"]["run"]

    @staticmethod
    def metric(port, name):
        """Of the node whose admin port this is."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as page:
            text = page.read().decode()
        return float(re.search(rf"^kvnode_{re.escape(name)} (\S+)", text, re.M).group(1))

    def settle(self, cluster):
        """Until no store flushes or compacts any more: else the load that went before would be measured too."""
        def is_settled():
            return all(
                self.metric(port, f"storage_running_{what}") == 0
                for port in cluster.admin_ports for what in ("flushes", "compactions"))
        self.until(time.monotonic(), 120, is_settled, pause=1)
        time.sleep(2)

    def dead(self, port):
        """Members that it takes for dead."""
        return self.metric(port, 'members{state="dead"}')

    def row(self, what, figures, unit, asked, bound, is_least=False):
        """`bound`: what the median must not exceed, or must reach; None where nothing is asked."""
        median, worst = statistics.median(figures), min(figures) if is_least else max(figures)
        self.rows.append({
            "row": what, "median": median, "worst": worst, "rounds": len(figures), "unit": unit, "asked": asked,
            "met": None if bound is None else median >= bound if is_least else median <= bound,
        })
        say(f"{what}: {median:.2f} {unit} (worst {worst:.2f}, {len(figures)} rounds)")

    # --- rows

    def deaths(self):
        """Five nodes; one dies or falls silent; until every other one says so."""
        cluster = self.cluster("deaths", 5)
        time.sleep(3)
        for name, number, back in (("SIGKILL", signal.SIGKILL, "restart"), ("SIGSTOP", signal.SIGSTOP, "resume")):
            spans = []
            for round_ in range(self.options.rounds):
                victim = 1 + round_ % 5
                others = [port for i, port in enumerate(cluster.admin_ports, 1) if i != victim]
                begin = time.monotonic()
                os.kill(cluster.pid(victim), number)
                spans.append(self.until(begin, 30, lambda: all(self.dead(port) >= 1 for port in others)))
                if name == "SIGSTOP":
                    os.kill(cluster.pid(victim), signal.SIGCONT)
                else:
                    cluster.control("restart", str(victim))
                self.until(time.monotonic(), 60, lambda: all(self.dead(port) == 0 for port in cluster.admin_ports))
            self.row(f"{name} of one of five nodes, until all others know", spans, "s", "2 s", 2)
        self.stop(cluster)

    @staticmethod
    def until(begin, seconds, is_so, pause=0.02):
        while time.monotonic() - begin < seconds:
            try:
                if is_so():
                    return time.monotonic() - begin
            except (OSError, AttributeError):
                pass
            time.sleep(pause)
        raise Failure(f"not so after {seconds} s")

    def reroute(self, cluster):
        """One of three nodes is paused under load. From when on is no operation slow that is begun then, at a node that runs?
        By the history of the load, without those clients for whom the paused node coordinates everything."""
        spans, unanswered = [], 0
        for round_ in range(self.options.rounds):
            victim = 1 + round_ % 3
            history = self.options.data / f"history-{round_}.jsonl"
            load = subprocess.Popen(
                [self.kvsim, "load", "--endpoints", cluster.endpoints, "--history", str(history), "--seconds", "7", "--rate",
                 "600", "--final-seconds", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(2.5)
            pause = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            os.kill(cluster.pid(victim), signal.SIGSTOP)
            time.sleep(3)
            resume = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            os.kill(cluster.pid(victim), signal.SIGCONT)
            if load.wait(30) != 0:
                raise Failure("the load could not be run")
            operations = self.operations(history, victim, pause, resume)
            slow = [op["invoke_ns"] - pause for op in operations if op.get("return_ns", resume) - op["invoke_ns"] > SLOW_NS]
            spans.append(max(slow, default=0) / 1e9)
            unanswered += sum(op["outcome"] != "ok" for op in operations)
            say(f"{len(operations)} operations while n{victim} was paused, {len(slow)} of them slow")
            time.sleep(2)
        self.row(f"one of three nodes is paused: from when on no operation takes {SLOW_NS // 1_000_000} ms", spans, "s", "1 s", 1)
        self.rows[-1]["failed"] = unanswered

    @staticmethod
    def operations(history, victim, begin, end):
        """Those that two copies can answer, begun while the node was paused."""
        last = {}
        for line in history.read_text().splitlines():
            operation = json.loads(line)
            if "op" in operation:
                last[operation["op"]] = operation
        # Of `kvsim load`'s clients every other one has a node of its own.
        return [
            op for op in last.values()
            if begin <= op["invoke_ns"] < end and op["quorum"] <= 2
            and not (op["client"] % 2 == 1 and op["client"] // 2 % 3 == victim - 1)
        ]

    @staticmethod
    def p99s(run):
        return {kind["kind"]: kind["p99_us"] / 1000 for kind in run["kinds"]}

    def away(self, cluster):
        """A node is away while many distinct keys are written: until no hint is left, and what clients feel of it."""
        options = self.options
        foreground = [
            "--workload", "a", "--records", "20000", "--value-size", "1024", "--rate", str(options.rate), "--clients", "32",
            "--warmup", "1s"]
        before = self.p99s(self.load(cluster, *foreground, "--duration", "15s"))
        cluster.control("kill", "3")
        self.load(
            cluster, "--load", "--records", str(options.keys), "--key-size", "24", "--value-size", "1024", "--clients", "64",
            "--duration", "0s")
        waiting = self.hints(cluster)
        say(f"{waiting} hints wait for n3")
        cluster.control("restart", "3")
        begin = time.monotonic()
        # One stretch of load after the other, as long as hints wait.
        stretches, is_over = [], threading.Event()

        def go_on():
            while not is_over.is_set():
                stretches.append(self.p99s(self.load(cluster, *foreground, "--duration", "8s")))

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            span = self.until(begin, 300, lambda: self.hints(cluster) == 0, pause=0.25)
        finally:
            is_over.set()
            thread.join()
        self.row(f"{options.keys:,} keys that a node missed, from its return until it has them", [span], "s", "30 s for 240,000", 30)
        self.rows[-1]["hints"] = waiting
        for kind in sorted(before):
            bound = max(2 * before[kind], before[kind] + 2)
            self.row(
                f"p99 of a {kind} meanwhile, at {options.rate}/s ({before[kind]:.2f} ms before), of stretches of 8 s",
                [stretch[kind] for stretch in stretches], "ms", f"{bound:.2f} ms", bound)

    @staticmethod
    def hints(cluster):
        """Keys that wait for n3. Not by kvctl: starting it time and again would take a third of a core from those who heal."""
        waiting = 0
        for port in cluster.admin_ports[:2]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as page:
                found = re.findall(r"^kvnode_hints_waiting\{.*\} (\S+)", page.read().decode(), re.M)
            waiting += sum(int(float(count)) for count in found)
        return waiting

    def rebuild(self):
        """A node finds itself on an old, empty image of its data and pulls its whole copy from the others, while clients go
        on: once as fast as it goes, once at the pace that is the default."""
        options = self.options
        cluster = self.cluster("rebuild", 3)
        cluster.control("kill", "3")
        data, image = cluster.directory / "n3" / "data", cluster.directory / "n3" / "image"
        shutil.copytree(data, image)
        # The others must have heard of a later start than the image's.
        cluster.control("restart", "3")
        load = ["--records", str(options.rebuild_keys), "--value-size", "4096", "--clients", "32"]
        self.load(cluster, "--load", *load, "--duration", "0s")
        self.settle(cluster)
        foreground = ["--workload", "a", *load, "--rate", str(options.rate), "--warmup", "1s", "--duration"]
        before = self.p99s(self.load(cluster, *foreground, "15s"))
        for name, rate in (("as fast as it goes", "0"), ("at the default pace", None)):
            cluster.control("kill", "3")
            shutil.rmtree(data)
            shutil.copytree(image, data)
            if rate is not None:
                cluster.environment["KVNODE_REBUILD_RATE"] = rate
            during = {}
            seconds = 30 if rate == "0" else 45
            thread = threading.Thread(
                target=lambda: during.update(self.p99s(self.load(cluster, *foreground, f"{seconds}s"))))
            thread.start()
            cluster.control("restart", "3")
            cluster.environment.pop("KVNODE_REBUILD_RATE", None)
            megabytes, span = self.await_rebuild(cluster.admin_ports[2])
            thread.join()
            self.row(f"a copy of {options.rebuild_keys:,} values of 4 KiB is rebuilt {name}, {options.rate} requests a second "
                     "meanwhile", [megabytes / span], "MB/s", "50 MB/s" if rate == "0" else "", 50 if rate == "0" else None,
                     is_least=True)
            for kind in sorted(before):
                bound = max(2 * before[kind], before[kind] + 2)
                self.row(f"p99 of a {kind} meanwhile ({before[kind]:.2f} ms before)", [during[kind]], "ms",
                         "" if rate == "0" else f"{bound:.2f} ms", None if rate == "0" else bound)
        self.stop(cluster)

    def await_rebuild(self, port):
        """Megabytes that were pulled, and the seconds from the first of them until the copy was whole."""
        def pulled():
            return self.metric(port, "rebuild_received_bytes_total")
        self.until(time.monotonic(), 60, lambda: pulled() > 0)
        begin, first = time.monotonic(), pulled()
        span = self.until(begin, 180, lambda: self.metric(port, "rebuild_ratio") == 1, pause=0.1)
        return (pulled() - first) / 1e6, span

    def divergence(self):
        """One key among a million, by the shards and stores themselves: exact bytes and CPU. A whole round finds and mends it:
        all roots, the way down, the keys of a leaf, the record."""
        environment = os.environ | {"RINGKV_BENCH": "1"}
        bytes_, cpu = [], []
        round_bytes = round_cpu = None
        for _ in range(min(self.options.rounds, 3)):
            done = subprocess.run([*self.options.tests, "--filter", "ExchangeBench"], env=environment, capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if line.startswith("BENCH exchange")]
            found = [re.search(r"BENCH exchange, (.*): (\d+) bytes in .*; ([\d.]+) ms of CPU", line) for line in lines]
            if done.returncode != 0 or len(found) != 2 or None in found:
                raise Failure("ExchangeBench could not be run: " + (done.stdout + done.stderr)[-400:])
            round_bytes, round_cpu = int(found[0].group(2)) / 1024, float(found[0].group(3))
            bytes_.append(int(found[1].group(2)) / 1024)
            cpu.append(float(found[1].group(3)))
        self.row("one key of 1,000,000 differs: a round of all 1,024 partitions that finds and mends it, traffic both ways",
                 bytes_, "KiB", "64 KiB", 64)
        self.row("the same: CPU of both sides together", cpu, "ms", "50 ms each", 50)
        self.row("a round that finds nothing: traffic both ways", [round_bytes], "KiB", "", None)
        self.row("the same: CPU of both sides together", [round_cpu], "ms", "", None)

    def run(self):
        wanted = self.options.only or ROWS
        if "deaths" in wanted:
            self.deaths()
        if {"reroute", "away"} & set(wanted):
            cluster = self.cluster("three", 3)
            self.load(cluster, "--load", "--records", "20000", "--value-size", "1024", "--duration", "0s")
            if "reroute" in wanted:
                self.reroute(cluster)
            if "away" in wanted:
                self.away(cluster)
            self.stop(cluster)
        if "rebuild" in wanted:
            self.rebuild()
        if "divergence" in wanted:
            self.divergence()

    # --- the report

    def table(self):
        lines = ["| | median | worst | rounds | asked | |", "|---|---|---|---|---|---|"]
        for row in self.rows:
            verdict = {None: "", True: "met", False: "MISSED"}[row["met"]]
            extra = "".join(f", {row[name]:,} {name}" for name in ("failed", "hints") if name in row)
            lines.append(
                f"| {row['row']}{extra} | {row['median']:.2f} {row['unit']} | {row['worst']:.2f} | {row['rounds']} | "
                f"{row['asked']} | {verdict} |")
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tests", required=True, help="the command that runs the tests, for ExchangeBench")
    parser.add_argument("--port", type=int, default=int(os.environ.get("RINGKV_PORT", "7810")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=int(os.environ.get("RINGKV_KEYS", "240000")))
    parser.add_argument("--rebuild-keys", type=int, default=int(os.environ.get("RINGKV_REBUILD_KEYS", "100000")))
    parser.add_argument("--rate", type=int, default=int(os.environ.get("RINGKV_RATE", "2000")))
    parser.add_argument("--only", action="append", choices=ROWS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.tests = options.tests.split()
    heal = Heal(options)
    try:
        heal.run()
    except Failure as failure:
        print(f"bench.sh: error: {failure}", file=sys.stderr)
        return 1
    finally:
        for cluster in heal.clusters:
            cluster.stop()
    print(heal.table())
    if options.json:
        options.json.write_text(json.dumps({"rows": heal.rows}, indent=2) + "\n")
    return 9 if any(row["met"] is False for row in heal.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
