"""Storage that fails under the published files and under the log, and works again."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

from fixture import COUNT, DISKS, READY, Skipped, document, fixture, main, read, replace, running, thread, wait_for

ALL = (COUNT, DISKS, READY)
COLLECTORS = {COUNT: "graphite", DISKS: "disks", READY: "vmware"}
ERRNOS = {
    "ENOSPC": "No space left on device",
    "EDQUOT": "Disk quota exceeded",
    "EIO": "Input/output error",
    "EROFS": "Read-only file system",
}
WINDOWS = ['disks.window = "1s"', 'vmware.window = "1s"', 'vmware.libraries = ["/none.so"]']


@contextlib.contextmanager
def publishing(interval="20ms"):
    """A fixture that publishes all three files at this interval."""
    with fixture(*(f'{name}.interval = "{interval}"' for name in COLLECTORS.values()), *WINDOWS) as made:
        yield made


def start(made, **environment):
    """Hides the journal, so that what cannot be in the log file is on stderr."""
    made.start("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh", **environment)
    wait_for_new(made)


def published(made, name):
    """An output behind the file system that fails, if it is on one: FUSE's own library cannot open a file that is
    replaced between its look-up and its opening."""
    behind = made.root / "behind-out"
    return (behind if behind.is_dir() else made.root / "out") / name


def version(made, name):
    path = published(made, name)
    return (path.lstat().st_ino, path.lstat().st_mtime_ns) if path.exists() else None


def wait_for_new(made, names=ALL):
    for name in names:
        before = version(made, name)
        wait_for("a newer " + name, lambda: version(made, name) not in (before, None))


@contextlib.contextmanager
def readers(made):
    """Reads all documents over and over: each is whole, and none is absent."""
    reads = []

    def read_all():
        for name in ALL:
            document(published(made, name))
        reads.append(1)

    with thread(read_all, 0.002):
        yield
    assert len(reads) > 3, len(reads)


class Faults:
    """The file system that fails on demand, mounted over one of the folders of a fixture."""

    def __init__(self, made, name):
        self.made, self.mount, self.behind = made, made.root / name, made.root / f"behind-{name}"
        self.faults, self.injected, self.stack = made.root / "faults", made.root / "injected", contextlib.ExitStack()

    def __enter__(self):
        self.behind.mkdir()
        self.injected.touch()
        self.inject()
        arguments = [self.behind, self.mount, self.faults, self.injected]
        # The daemon of a test that failed may hold a mount of its own, so the server is killed.
        self.stack.enter_context(running(sys.executable, pathlib.Path(__file__).with_name("failing.py"), *arguments))
        wait_for("the mount", self.mount.is_mount)
        self.stack.callback(subprocess.run, ["umount", "--lazy", self.mount], check=True)
        self.stack.callback(self.made.kill)
        self.stack.callback(self.inject)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def inject(self, **faults):
        """Replaces all faults with these: an errno for each operation."""
        replace(self.faults, "".join(f"{operation} {errno}\n" for operation, errno in faults.items()))

    def wait_for_more(self, faults=10):
        size = self.injected.stat().st_size
        wait_for("more faults", lambda: self.injected.stat().st_size >= size + faults)


def output_fails(affected, **injected):
    """Outputs fail and work again. Each is logged once, and their readers do not notice."""

    def test():
        reason = ERRNOS[list(injected.values())[0]]
        with publishing() as made, Faults(made, "out") as faults:
            start(made)
            with readers(made):
                faults.inject(**injected)
                for name in affected:
                    wait_for("the warning", lambda: made.logged(f" WARN {COLLECTORS[name]}: publishing"))
                faults.wait_for_more()  # it is retried
                faults.inject()
                wait_for_new(made)
                for name in affected:
                    wait_for("the all-clear", lambda: made.logged(f" INFO {COLLECTORS[name]}: publishing"))
            made.stop()
            logged_once(made, affected, reason)
            assert sorted(os.listdir(faults.behind)) == [READY, COUNT]

    return test


def logged_once(made, affected, reason):
    for name in affected:
        for level, part in [("WARN", reason), ("INFO", "works again")]:
            lines = made.logged(f" {level} {COLLECTORS[name]}: publishing")
            assert len(lines) == 1 and part in lines[0], lines
    # VMware's warning is that there is no guest library.
    warned = [line for line in made.logged(" WARN ") if "none.so" not in line]
    assert len(warned) == len(affected), warned


def output_is_unaffected(**injected):
    """Faults that affect no publication and log nothing."""

    def test():
        with publishing() as made, Faults(made, "out") as faults:
            start(made)
            with readers(made):
                faults.inject(**injected)
                faults.wait_for_more()
                wait_for_new(made)
            made.stop()
            logged_once(made, [], "")

    return test


def log_works_again(made, reason):
    """Stops the daemon after the log works again: the failure was logged once, on stderr."""
    wait_for("the log", lambda: " INFO log: log file" in made.stderr())
    made.stop()
    lines = made.stderr().splitlines()
    fails = [line for line in lines if " ERROR log: writing log file" in line]
    assert len(fails) == 1 and reason in fails[0], fails
    works = [line for line in lines if " INFO log: log file" in line]
    assert len(works) == 1 and "is writable again" in works[0], works
    # Lines of the failure are written after it.
    lost = [line for line in lines if " log: " not in line and line not in made.log().splitlines()]
    assert bool(lost) == bool(made.logged(" WARN log: writable again, ")), lost
    # The part of a line that a full disk accepted is left, on its own line.
    assert len(partial_lines(made)) <= 1, partial_lines(made)


def partial_lines(made):
    """Lines of the log that do not begin with a time and a level."""
    levels = (" ERROR ", " WARN ", " INFO ", " DEBUG ")
    return [line for line in made.log().splitlines() if line[19:20] != "Z" or not line[20:].startswith(levels)]


def log_fails():
    with publishing() as made, Faults(made, "logs") as faults:
        start(made)
        wait_for("the log", lambda: made.logged(" hosts, "))
        with readers(made):
            faults.inject(write="EIO")
            faults.wait_for_more()
            wait_for_new(made)
            faults.inject()
            wait_for("the log", lambda: " INFO log: log file" in made.stderr())
        log_works_again(made, ERRNOS["EIO"])


def log_cannot_be_opened():
    with publishing() as made, Faults(made, "logs") as faults:
        faults.inject(create="EIO")
        start(made)
        faults.wait_for_more()
        faults.inject()
        log_works_again(made, ERRNOS["EIO"])


def log_takes_short_writes():
    with publishing() as made, Faults(made, "logs") as faults:
        faults.inject(write="short", flush="EIO")
        start(made)
        faults.wait_for_more(30)
        made.stop()
        faults.inject()
        assert not partial_lines(made), partial_lines(made)
        assert made.logged(" INFO daemon: started") and made.logged(" INFO daemon: stopped")
        assert made.stderr() == ""


@contextlib.contextmanager
def mounted(path, *options):
    """A file system, until the end of the `with`."""
    run_or_skip("mount", *options, path)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def run_or_skip(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"{command[0]}: {done.stderr.strip()}")


def has_open(made, folder):
    descriptors = pathlib.Path(f"/proc/{made.daemon.pid}/fd").iterdir()
    return any((made.root / folder) in descriptor.resolve().parents for descriptor in descriptors)


def log_is_on_a_full_disk():
    with publishing() as made, mounted(made.root / "logs", "-t", "tmpfs", "-o", "size=64k", "none"):
        start(made)
        wait_for("the log", lambda: made.logged(" hosts, "))
        filler = made.root / "logs/filler"
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            file.write(bytes(1 << 20))
        wait_for("the error", lambda: "writing log file" in made.stderr())
        # A file system that failed can be unmounted and repaired.
        wait_for("the log to be closed", lambda: not has_open(made, "logs"))
        wait_for_new(made)
        filler.unlink()
        log_works_again(made, ERRNOS["ENOSPC"])


def temporary_files_that_cannot_be_removed():
    # Two processes that wait for each other's lock too long use random names.
    with publishing("200ms") as made, Faults(made, "out") as faults:
        start(made)
        faults.inject(rename="EIO", unlink="EIO")
        temporary = {f".{name}.tmp" for name in ALL}
        wait_for("temporary files", lambda: temporary <= set(os.listdir(faults.behind)))
        faults.wait_for_more(30)
        left = set(os.listdir(faults.behind))
        assert left <= temporary | set(ALL), left
        faults.inject()
        wait_for("their removal", lambda: set(os.listdir(faults.behind)) <= set(ALL))
        wait_for_new(made)
        made.stop()


@contextlib.contextmanager
def freezable(made, name):
    """An ext4 file system in a file, mounted over one of the folders of a fixture."""

    def freeze(action):
        return ["fsfreeze", "--" + action, made.root / name]

    image = made.root / "image"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    run_or_skip("mkfs.ext4", "-q", image)
    with mounted(made.root / name, "-o", "loop", image):
        try:
            yield lambda: run_or_skip(*freeze("freeze")), lambda: subprocess.run(freeze("unfreeze"), check=True)
        finally:
            subprocess.run(freeze("unfreeze"), stderr=subprocess.DEVNULL)


class Heartbeats:
    """A notify socket that records when the heartbeats came."""

    def __init__(self, made):
        self.path, self.times = str(made.root / "notify"), []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self.receive, daemon=True).start()

    def receive(self):
        while True:
            if b"WATCHDOG=1" in self.socket.recv(8192):
                self.times.append(time.monotonic())


def is_blocked(made):
    """Whether the daemon waits in the kernel, and no signal can end the wait."""
    return read(pathlib.Path(f"/proc/{made.daemon.pid}/stat")).rsplit(") ", 1)[1].startswith("D")


# As systemd/shinken-gatherer.service has it.
WATCHDOG_SECONDS = 30


def freeze_only_delays(name):
    def test():
        with publishing() as made, freezable(made, name) as (freeze, thaw):
            beats = Heartbeats(made)
            start(made, NOTIFY_SOCKET=beats.path, WATCHDOG_USEC=str(WATCHDOG_SECONDS * 1000000))
            wait_for("a heartbeat", lambda: beats.times)
            freeze()
            frozen = time.monotonic()
            wait_for("the daemon to wait", lambda: is_blocked(made))
            time.sleep(10)
            assert is_blocked(made)
            thaw()
            wait_for_new(made)
            wait_for("a heartbeat", lambda: beats.times[-1] > frozen + 10)
            gaps = [after - before for before, after in zip(beats.times, beats.times[1:])]
            assert max(gaps) < WATCHDOG_SECONDS, gaps
            assert not partial_lines(made) and made.stderr() == "", made.log()
            # Longer than the watchdog: the signal that systemd sends then ends the daemon at the thaw.
            freeze()
            wait_for("the daemon to wait", lambda: is_blocked(made))
            made.daemon.send_signal(signal.SIGABRT)
            time.sleep(0.5)
            assert made.daemon.poll() is None
            thaw()
            assert made.daemon.wait(30) == -signal.SIGABRT

    return test


def commands_report_that_the_file_cannot_be_read():
    with publishing() as made, Faults(made, "out") as faults:
        start(made)
        made.kill()  # its last documents stay
        for operation in ["open", "read", "getattr"]:
            faults.inject(**{operation: "EIO"})
            for arguments, status in [(["check", name], 3) for name in COLLECTORS.values()] + [(["status"], 1)]:
                answer = subprocess.run(made.command(*arguments), capture_output=True, text=True, timeout=30)
                assert answer.returncode == status and ERRNOS["EIO"] in answer.stdout, answer
                if status == 3:
                    assert answer.stdout.count("\n") == 1, answer
                    assert "UNKNOWN: cannot read the file" in answer.stdout, answer
            faults.inject()


# One errno for each operation of a publication: all errors of one operation are handled alike.
main("storage-", {
    "creating-an-output-fails": output_fails(ALL, create="EROFS"),
    "writing-an-output-fails-with-ENOSPC": output_fails(ALL, write="ENOSPC"),
    "writing-an-output-fails-with-EDQUOT": output_fails(ALL, write="EDQUOT"),
    "setting-the-mode-of-an-output-fails": output_fails(ALL, chmod="EIO"),
    "flushing-the-count-fails": output_fails([COUNT], fsync="EIO"),
    "flushing-the-directory-of-the-count-fails": output_fails([COUNT], fsyncdir="EIO"),
    "renaming-an-output-fails": output_fails(ALL, rename="EIO"),
    "closing-an-output-fails": output_is_unaffected(flush="EIO"),
    "outputs-take-short-writes": output_is_unaffected(write="short"),
    "temporary-files-that-cannot-be-removed-do-not-pile-up": temporary_files_that_cannot_be_removed,
    "writing-the-log-fails": log_fails,
    "the-log-cannot-be-opened": log_cannot_be_opened,
    "the-log-takes-short-writes": log_takes_short_writes,
    "the-log-is-on-a-full-disk": log_is_on_a_full_disk,
    "freeze-under-the-log-only-delays": freeze_only_delays("logs"),
    "freeze-under-the-outputs-only-delays": freeze_only_delays("out"),
    "commands-report-that-the-file-cannot-be-read": commands_report_that_the_file_cannot_be_read,
})
