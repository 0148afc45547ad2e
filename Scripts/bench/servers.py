"""The servers that a comparison drives, each on loopback with its data under one directory: RingKV, redis, etcd."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Failure(Exception):
    """What went wrong, for the person who runs the script."""


def wait_for_port(port, process, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise Failure(f"{process.args[0]} ended while it was starting (exit {process.returncode})")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Failure(f"nothing listens on port {port} after {seconds} s")


class Server:
    """One server, of one process or of several that belong together."""

    name = "?"

    def pids(self):
        raise NotImplementedError

    def cpu_seconds(self):
        """User and system time of all processes so far."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICK

    def resident_mb(self):
        """Of each process."""
        return [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6 for pid in self.pids()]


class Processes(Server):
    """Servers that are started here and ended by their pid."""

    def __init__(self):
        self.processes = []

    def launch(self, directory, *command):
        directory.mkdir(parents=True, exist_ok=True)
        log = open(directory / "log", "ab")
        self.processes.append(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
        )
        return self.processes[-1]

    def pids(self):
        return [process.pid for process in self.processes]

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Redis(Processes):
    """One node; without a log, or with one that is synced before each answer."""

    def __init__(self, directory, port, appends):
        super().__init__()
        self.name = "redis, appendfsync always" if appends else "redis"
        self.target = ["--target", f"resp://127.0.0.1:{port}"]
        log = ["--appendonly", "yes", "--appendfsync", "always"] if appends else ["--appendonly", "no"]
        process = self.launch(
            directory, "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory), *log
        )
        wait_for_port(port, process)


class Etcd(Processes):
    """Three nodes."""

    name = "etcd"

    def __init__(self, directory, port):
        super().__init__()
        peers = ",".join(f"e{i}=http://127.0.0.1:{port + 10 * i + 1}" for i in range(3))
        for i in range(3):
            client, peer = f"http://127.0.0.1:{port + 10 * i}", f"http://127.0.0.1:{port + 10 * i + 1}"
            self.launch(
                directory / f"e{i}", "etcd", "--name", f"e{i}", "--data-dir", str(directory / f"e{i}" / "data"),
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", peers, "--log-level", "error",
            )
        for i in range(3):
            wait_for_port(port + 10 * i, self.processes[i])
        self.endpoints = ",".join(f"http://127.0.0.1:{port + 10 * i}" for i in range(3))


class RingKV(Server):
    """Nodes by Scripts/cluster.sh, three unless it is said otherwise."""

    def __init__(self, scripts, directory, port, durability, binaries, nodes=3):
        self.name = f"RingKV, durability {durability}"
        self.script = str(scripts / "cluster.sh")
        self.directory = directory
        self.environment = os.environ | {
            "RINGKV_DATA": str(directory), "RINGKV_PORT": str(port), "RINGKV_BIN": str(binaries),
            "RINGKV_NODE_FLAGS": f"--durability {durability}",
        }
        self.numbers = range(1, nodes + 1)
        self.admin_ports = [port + 10 * i + 2 for i in self.numbers]
        self.control("start", str(nodes))
        self.endpoints = ",".join(f"127.0.0.1:{port + 10 * i}" for i in self.numbers)
        self.target = ["--endpoints", self.endpoints]

    def control(self, *arguments):
        done = subprocess.run([self.script, *arguments], env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"cluster.sh {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def pid(self, number):
        return int((self.directory / f"n{number}" / "pid").read_text().split()[0])

    def pids(self):
        return [self.pid(number) for number in self.numbers]

    def stop(self):
        subprocess.run([self.script, "stop"], env=self.environment, capture_output=True)


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory
