"""The process under the shim in selftest.py: does what its arguments say, one step after the other.

Prints a line per step: 'ok', a number, or the name of the error. `die` ends it by SIGKILL, as a power cut would.
"""
import errno, os, signal, sys, time

descriptors = {}


def fd_of(path):
    if path not in descriptors:
        descriptors[path] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    return descriptors[path]


def step(verb, *rest):
    if verb == "write": return os.write(fd_of(rest[0]), b"x" * int(rest[1]))
    if verb == "writev": return os.writev(fd_of(rest[0]), [b"a" * int(rest[1]), b"b" * int(rest[1])])
    if verb == "pwrite": return os.pwrite(os.open(rest[0], os.O_RDWR | os.O_CREAT, 0o600), b"y" * int(rest[1]), int(rest[2]))
    if verb == "dsync-write": return os.write(os.open(rest[0], os.O_WRONLY | os.O_CREAT | os.O_DSYNC, 0o600), b"z" * int(rest[1]))
    if verb == "fallocate": return os.posix_fallocate(fd_of(rest[0]), 0, int(rest[1]))
    if verb == "read": return len(os.pread(fd_of(rest[0]), int(rest[1]), 0))
    if verb == "fsync": return os.fsync(fd_of(rest[0]))
    if verb == "fdatasync": return os.fdatasync(fd_of(rest[0]))
    if verb == "timed-sync":
        start = time.monotonic()
        os.fdatasync(fd_of(rest[0]))
        return int((time.monotonic() - start) * 1000)
    if verb == "sync-directory": return os.fsync(os.open(rest[0], os.O_RDONLY))
    if verb == "truncate": return os.ftruncate(fd_of(rest[0]), int(rest[1]))
    if verb == "close": return os.close(descriptors.pop(rest[0]))
    if verb == "rename": return os.rename(rest[0], rest[1])
    if verb == "unlink": return os.unlink(rest[0])
    if verb == "hour": return int(time.time()) // 3600
    if verb == "sleep": return time.sleep(int(rest[0]) / 1000)
    if verb == "stream":
        with open(rest[0], "w") as file: file.write("s" * int(rest[1]))
        return None
    if verb == "die": os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit("no step " + verb)


for argument in sys.argv[1:]:
    try:
        result = step(*argument.split())
        print("ok" if result is None else result, flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
