#!/usr/bin/env python3
"""How a cluster heals: real processes on this machine. `Scripts/bench.sh heal` calls it.

Every row is measured --rounds times, but for the node that is away, whose load takes minutes: its row is one round. Figures
are medians, with the worst round beside them. What is asked of them stands in the table.
"""

import argparse
import json
import os
import re
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


def say(text):
    print(f"  {text}", file=sys.stderr)


class Heal:
    def __init__(self, options):
        self.options = options
        self.kvctl = str(options.bin / "kvctl")
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
    def dead(port):
        """Members that the node whose admin port this is takes for dead."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as page:
            text = page.read().decode()
        return int(float(re.search(r'^kvnode_members\{state="dead"\} (\S+)', text, re.M).group(1)))

    def row(self, what, figures, unit, asked, bound):
        """`bound`: what the median must not exceed; None where nothing is asked."""
        median = statistics.median(figures)
        self.rows.append({
            "row": what, "median": median, "worst": max(figures), "rounds": len(figures), "unit": unit, "asked": asked,
            "met": None if bound is None else median <= bound,
        })
        say(f"{what}: {median:.2f} {unit} (worst {max(figures):.2f}, {len(figures)} rounds)")

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
    def until(begin, seconds, is_so):
        while time.monotonic() - begin < seconds:
            try:
                if is_so():
                    return time.monotonic() - begin
            except (OSError, AttributeError):
                pass
            time.sleep(0.02)
        raise Failure(f"not so after {seconds} s")

    def reroute(self, cluster):
        """One of three nodes is paused under load: the slowest answer, and what failed."""
        slowest, failed = [], 0
        for round_ in range(self.options.rounds):
            victim = 1 + round_ % 3
            pid = cluster.pid(victim)
            def pause():
                time.sleep(2.5)
                os.kill(pid, signal.SIGSTOP)
                time.sleep(3)
                os.kill(pid, signal.SIGCONT)
            thread = threading.Thread(target=pause)
            thread.start()
            run = self.load(
                cluster, "--workload", "a", "--records", "20000", "--value-size", "1024", "--rate", "500",
                "--clients", "32", "--warmup", "1s", "--duration", "6s")
            thread.join()
            failed += run["failed"]
            slowest.append(max(kind["max_us"] for kind in run["kinds"]) / 1e6)
            time.sleep(2)
        self.row("slowest answer while one of three nodes is paused for 3 s", slowest, "s", "1 s", 1)
        self.rows[-1]["failed"] = failed

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
        during = {}
        thread = threading.Thread(
            target=lambda: during.update(self.p99s(self.load(cluster, *foreground, "--duration", "15s"))))
        thread.start()
        span = self.until(begin, 300, lambda: self.hints(cluster) == 0)
        thread.join()
        self.row(f"{options.keys:,} keys that a node missed, from its return until it has them", [span], "s", "30 s for 240,000", 30)
        self.rows[-1]["hints"] = waiting
        for kind in sorted(before):
            bound = max(2 * before[kind], before[kind] + 2)
            self.row(
                f"p99 of a {kind} meanwhile, at {options.rate}/s ({before[kind]:.2f} ms before)", [during[kind]], "ms",
                f"{bound:.2f} ms", bound)

    def hints(self, cluster):
        return json.loads(self.call(cluster, "hints", "list", "--json"))["data"]["keys_waiting"]

    def divergence(self):
        """One key among a million, by the shards and stores themselves: exact bytes and CPU."""
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
        self.row("one key of 1,000,000 differs: traffic both ways to find and mend it", bytes_, "KiB", "64 KiB", 64)
        self.row("the same: CPU of both sides together", cpu, "ms", "50 ms each", 50)
        self.row("a round of all 1,024 partitions that finds nothing: traffic both ways", [round_bytes], "KiB", "", None)
        self.row("the same: CPU of both sides together", [round_cpu], "ms", "", None)

    def run(self):
        wanted = self.options.only or ["deaths", "reroute", "away", "divergence"]
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
    parser.add_argument("--rate", type=int, default=int(os.environ.get("RINGKV_RATE", "2000")))
    parser.add_argument("--only", action="append", choices=["deaths", "reroute", "away", "divergence"])
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
