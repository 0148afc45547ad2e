"""Tests of the fault shim: each runs probe.py under it. See selftest.sh, which builds what is needed."""
import os, shutil, subprocess, sys, tempfile, threading, time

here = os.path.dirname(os.path.abspath(__file__))
out = sys.argv[1]  # faultshim.so, faultshim-cut and perhaps rocksdb_probe
root = tempfile.mkdtemp(prefix="faultshim.")
passed = failed = skipped = 0


class Shim:
    """A data directory under the shim, with its state, control file and log."""

    def __init__(self, name):
        self.base = os.path.join(root, name.replace(" ", "-")[:60])
        self.directory = os.path.join(self.base, "data")
        os.makedirs(self.directory)
        self.state, self.control, self.log_path = (os.path.join(self.base, n) for n in ("state", "control", "log"))

    def environment(self):
        return dict(os.environ, LD_PRELOAD=out + "/faultshim.so", FAULTSHIM_DIR=self.directory, FAULTSHIM_STATE=self.state,
                    FAULTSHIM_CONTROL=self.control, FAULTSHIM_LOG=self.log_path)

    def rules(self, *lines):
        with open(self.control + ".new", "w") as file: file.write("".join(line + "\n" for line in lines))
        os.rename(self.control + ".new", self.control)

    def start(self, *command):
        return subprocess.Popen(command, env=self.environment(), cwd=self.directory, stdout=subprocess.PIPE, text=True)

    def run(self, *steps):
        process = self.start(sys.executable, here + "/probe.py", *steps)
        output, _ = process.communicate(timeout=60)
        return output.split()

    def cut(self, *options):
        return subprocess.run([out + "/faultshim-cut", *options, self.state], check=True, capture_output=True, text=True).stdout

    def size(self, name):
        path = os.path.join(self.directory, name)
        return os.path.getsize(path) if os.path.exists(path) else None

    def log(self):
        with open(self.log_path) as file: return [line.split()[2:4] for line in file]


def test(body):
    global passed, failed
    name = body.__name__.replace("_", " ")
    try:
        body(Shim(name))
        passed += 1
        print("ok      " + name, flush=True)
    except Exception as error:  # an assertion, or whatever else went wrong
        failed += 1
        import traceback
        print("FAILED  " + name, flush=True)
        traceback.print_exc()


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


@test
def a_tail_that_was_not_synced_is_gone_after_the_cut(shim):
    equal(shim.run("write a 100", "fdatasync a", "write a 50", "die"), ["100", "ok", "50"])
    equal(shim.size("a"), 150)  # SIGKILL alone takes nothing: the page cache survives it
    shim.cut()
    equal(shim.size("a"), 100)


@test
def a_synced_file_stays_and_one_never_synced_is_empty(shim):
    shim.run("write a 10", "fsync a", "write b 10", "writev c 4", "fsync c", "die")
    shim.cut()
    equal((shim.size("a"), shim.size("b"), shim.size("c")), (10, 0, 8))


@test
def a_write_through_a_dsync_descriptor_counts_as_synced(shim):
    shim.run("dsync-write a 33", "die")
    shim.cut()
    equal(shim.size("a"), 33)


@test
def what_was_there_before_the_shim_counts_as_synced(shim):
    with open(shim.directory + "/old", "w") as file: file.write("o" * 20)
    shim.run("write old 5", "die")
    shim.cut()
    equal(shim.size("old"), 20)


@test
def a_rename_keeps_what_is_known_of_the_file(shim):
    shim.run("write a 10", "fsync a", "write a 5", "rename a b", "write c 7", "rename c d", "die")
    shim.cut()
    equal((shim.size("a"), shim.size("b"), shim.size("d")), (None, 10, 0))


@test
def an_inode_used_again_starts_unsynced(shim):
    shim.run(*["write a 10", "fsync a", "close a", "unlink a", "write a 10", "close a"] * 3, "die")
    shim.cut()
    equal(shim.size("a"), 0)


@test
def truncation_lowers_what_is_synced(shim):
    shim.run("write a 10", "fsync a", "truncate a 4", "write a 10", "die")
    shim.cut()
    equal(shim.size("a"), 4)


@test
def the_state_outlives_processes(shim):
    shim.run("write a 10", "fsync a", "write a 5", "die")
    shim.run("write a 5", "die")
    shim.cut()
    equal(shim.size("a"), 10)
    shim.run("write a 7", "fsync a", "write a 1", "die")
    shim.cut()
    equal(shim.size("a"), 17)


@test
def streams_count_too(shim):
    shim.run("stream a 10", "die")
    shim.cut()
    equal(shim.size("a"), 0)


@test
def with_names_a_file_whose_directory_was_not_synced_is_lost(shim):
    shim.run("write a 10", "fsync a", "sync-directory .", "write b 10", "fsync b", "die")
    assert "lost" in shim.cut("--names", "--dry-run")
    equal(shim.size("b"), 10)
    shim.cut("--names")
    equal((shim.size("a"), shim.size("b")), (10, None))


@test
def the_cut_is_refused_while_a_process_uses_the_state(shim):
    process = shim.start(sys.executable, here + "/probe.py", "write a 1", "sleep 20000")
    process.stdout.readline()
    refused = subprocess.run([out + "/faultshim-cut", shim.state], capture_output=True, text=True)
    process.kill()
    process.wait()
    equal(refused.returncode, 1)
    assert "still uses" in refused.stderr, refused.stderr
    shim.cut()
    equal(shim.size("a"), 0)


@test
def eio_on_write_strikes_only_its_pattern(shim):
    shim.rules("eio-write *.log")
    equal(shim.run("write a.log 5", "write a.sst 5", "pwrite b.log 5 0"), ["EIO", "5", "EIO"])
    equal(shim.size("a.log"), 0)
    equal(shim.log().count(["eio-write", "write"]), 1)
    equal(shim.log().count(["eio-write", "pwrite"]), 1)


@test
def a_failed_sync_loses_its_pages_whatever_later_syncs_say(shim):
    shim.rules("eio-sync a once")
    equal(shim.run("write a 10", "fdatasync a", "fdatasync a", "write a 5", "fsync a", "die"), ["10", "EIO", "ok", "5", "ok"])
    shim.cut()
    equal(shim.size("a"), 0)


@test
def a_sync_that_finds_no_space_loses_its_pages_too(shim):
    shim.rules("enospc-sync a once")
    equal(shim.run("write a 10", "fdatasync a", "fdatasync a", "die"), ["10", "ENOSPC", "ok"])
    shim.cut()
    equal(shim.size("a"), 0)


@test
def no_space_strikes_writes_creations_and_reservations(shim):
    with open(shim.directory + "/old", "w") as file: file.write("o")
    shim.rules("enospc")
    equal(shim.run("write old 5", "write new 5", "fallocate old 100"), ["ENOSPC"] * 3)
    equal(shim.size("new"), None)
    shim.rules()
    equal(shim.run("write old 5", "write new 5"), ["5", "5"])


@test
def a_short_write_leaves_a_prefix_and_then_fails(shim):
    shim.rules("short-write a once")
    equal(shim.run("write a 10", "write a 5", "write a 4", "write b 8"), ["5", "EIO", "4", "8"])
    equal(shim.size("a"), 9)


@test
def after_and_times_bound_a_fault(shim):
    shim.rules("eio-write a after 2 times 2")
    equal(shim.run(*["write a 1"] * 6), ["1", "1", "EIO", "EIO", "1", "1"])


@test
def a_read_can_fail(shim):
    shim.run("write a 10")
    shim.rules("eio-read a once")
    equal(shim.run("read a 10", "read a 10"), ["EIO", "10"])


@test
def a_slow_sync_takes_its_time(shim):
    shim.rules("slow-sync 200 a")
    slow, quick = (int(ms) for ms in shim.run("timed-sync a", "timed-sync b"))
    assert slow >= 200 > quick, (slow, quick)


@test
def a_held_sync_waits_until_it_is_released(shim):
    shim.rules("hold-sync")
    process = shim.start(sys.executable, here + "/probe.py", "write a 10", "timed-sync a", "write a 5", "die")
    time.sleep(0.5)
    assert ["hold-sync", "fdatasync"] in shim.log() and ["released", "fdatasync"] not in shim.log()
    assert process.poll() is None
    shim.rules()
    wrote, waited, _ = process.communicate(timeout=20)[0].split()
    assert int(waited) >= 300, waited
    assert ["released", "fdatasync"] in shim.log()
    shim.cut()
    equal(shim.size("a"), 10)


@test
def a_kill_during_a_held_sync_loses_what_it_would_have_synced(shim):
    shim.rules("hold-sync")
    process = shim.start(sys.executable, here + "/probe.py", "write a 10", "fsync a")
    time.sleep(0.4)
    process.kill()
    process.wait()
    shim.cut()
    equal(shim.size("a"), 0)


@test
def rules_change_under_a_running_process(shim):
    process = shim.start(sys.executable, here + "/probe.py", "write a 1", "sleep 2000", "write a 1", "sleep 2000", "write a 1")
    process.stdout.readline()
    shim.rules("eio-write")
    time.sleep(3)
    shim.rules()
    equal(process.communicate(timeout=20)[0].split(), ["ok", "EIO", "ok", "1"])


@test
def a_wall_clock_is_shown_wrong_and_other_clocks_stay_true(shim):
    def shown(wrong_by, run):
        """The hour that `run` shows, whichever hour of the machine's it ran in."""
        hours = {int(time.time()) // 3600 + wrong_by}
        words = run()
        hours.add(int(time.time()) // 3600 + wrong_by)
        assert int(words[-1]) in hours, f"got {words!r}, wanted one of {hours}"

    shim.rules("clock -86400000")
    shown(-24, lambda: shim.run("hour"))
    process = shim.start(sys.executable, here + "/probe.py", "sleep 1500", "hour")
    shim.rules("clock 7200000")
    shown(2, lambda: process.communicate(timeout=60)[0].split())
    shim.rules("clock 0")
    shown(0, lambda: shim.run("timed-sync a", "hour"))


@test
def overwriting_what_is_synced_is_reported(shim):
    shim.run("write a 10", "fsync a", "write b 5", "pwrite a 3 0")
    equal([line for line in shim.log() if line[0] == "unmodelled-overwrite"], [["unmodelled-overwrite", "pwrite"]])


@test
def a_malformed_rule_ends_the_process(shim):
    shim.rules("eio-wirte a")
    process = shim.start(sys.executable, here + "/probe.py", "write a 1")
    process.communicate(timeout=20)
    equal(process.returncode, 97)


@test
def files_elsewhere_are_left_alone(shim):
    shim.rules("eio-write", "eio-sync", "enospc")
    equal(shim.run("write ../outside 5", "fsync ../outside"), ["5", "ok"])


# --- RocksDB itself

def rocksdb(shim, *arguments):
    process = shim.start(out + "/rocksdb_probe", shim.directory + "/db", *arguments)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output.split()


def rocksdb_test(body):
    global skipped
    if os.path.exists(out + "/rocksdb_probe"): return test(body)
    skipped += 1
    print("skipped " + body.__name__.replace("_", " ") + ": no librocksdb-dev")


@rocksdb_test
def rocksdb_keeps_synced_keys_and_loses_the_rest(shim):
    equal(rocksdb(shim, "put", "a", "100", "sync", "put", "b", "100", "os", "die")[0], -9)
    shim.cut()
    code, (a, b) = rocksdb(shim, "count", "a", "count", "b")
    equal((code, a, b), (0, "100", "0"))


@rocksdb_test
def rocksdb_keeps_everything_when_only_the_process_dies(shim):
    rocksdb(shim, "put", "a", "100", "sync", "put", "b", "100", "os", "die")
    equal(rocksdb(shim, "count", "a", "count", "b"), (0, ["100", "100"]))


@rocksdb_test
def rocksdb_survives_cuts_between_flushes_and_restarts_with_names_lost_too(shim):
    for i in range(8):
        code, _ = rocksdb(shim, "put", f"s{i}", "500", "sync", *(["flush"] if i % 2 else []), "put", f"u{i}", "500", "os", "die")
        equal(code, -9)
        shim.cut("--names")
    code, counts = rocksdb(shim, *sum((["count", f"s{i}"] for i in range(8)), []))
    equal((code, counts), (0, ["500"] * 8))
    code, counts = rocksdb(shim, *sum((["count", f"u{i}"] for i in range(8)), []))
    equal((code, counts), (0, ["0"] * 8))


@rocksdb_test
def rocksdb_cut_while_a_thousand_syncs_run(shim):
    process = shim.start(out + "/rocksdb_probe", shim.directory + "/db", "acknowledge", "100000")
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 1000: process.kill()
    process.wait()
    shim.cut()
    code, (count,) = rocksdb(shim, "count", "ack")
    equal(code, 0)
    assert acknowledged <= int(count) <= acknowledged + 1, (acknowledged, count)


@rocksdb_test
def rocksdb_acknowledging_before_the_sync_is_caught(shim):
    rocksdb(shim, "put", "a", "1000", "os", "die")
    shim.cut()
    equal(rocksdb(shim, "count", "a"), (0, ["0"]))


@rocksdb_test
def rocksdb_reports_a_failed_sync(shim):
    rocksdb(shim, "put", "a", "10", "sync")
    shim.rules("eio-sync *.log")
    code, output = rocksdb(shim, "put", "b", "10", "sync")
    equal(code, 3)
    assert any(line[0] == "eio-sync" for line in shim.log())


@rocksdb_test
def rocksdb_reports_a_full_disk_and_starts_clean_afterwards(shim):
    rocksdb(shim, "put", "a", "10", "sync")
    shim.rules("enospc *.log")
    equal(rocksdb(shim, "put", "b", "10", "sync")[0], 3)
    shim.rules()
    equal(rocksdb(shim, "count", "a", "put", "c", "5", "sync", "count", "c"), (0, ["10", "5"]))


@rocksdb_test
def rocksdb_overwrites_nothing_in_place(shim):
    rocksdb(shim, "put", "a", "500", "sync", "flush", "put", "b", "500", "sync", "flush", "compact", "put", "c", "10", "sync", "die")
    equal([line for line in shim.log() if line[0].startswith("unmodelled")], [])


shutil.rmtree(root, ignore_errors=True)
print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(1 if failed else 0)
