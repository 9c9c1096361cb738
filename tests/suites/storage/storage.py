"""Storage that fails under the published files and under the log, and works again."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BINARY = os.path.abspath(sys.argv[1])
HERE = os.path.dirname(os.path.abspath(__file__))
# Longest wait for something that should happen at once.
PATIENCE = 30
COUNT, DISKS, READY = "whisper.nb_metrics", "disks.tmp", "vmware.dat"
COLLECTORS = {COUNT: "graphite", DISKS: "disks", READY: "vmware"}
ERRNOS = {
    "ENOSPC": "No space left on device",
    "EDQUOT": "Disk quota exceeded",
    "EIO": "Input/output error",
    "EROFS": "Read-only file system",
}


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < until, "waited without success for " + what
        time.sleep(0.01)


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Machine:
    """A directory with a configuration that publishes all three files every 20 ms, in `out`, and logs in `logs`."""

    def __init__(self, directory):
        self.directory = directory
        for name in ["whisper/host", "state", "out", "logs", "proc", "sys/block/sda/device", "sys/class/dmi/id"]:
            os.makedirs(self.path(name))
        os.makedirs(self.path("sys/devices/system/cpu"))
        for name, text in {
            "whisper/host/a.wsp": "",
            "proc/diskstats": "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n",
            "sys/class/dmi/id/sys_vendor": "VMware, Inc.\n",
            "sys/devices/system/cpu/online": "0-3\n",
        }.items():
            with open(self.path(name), "w") as file:
                file.write(text)
        self.log_file = self.path("logs/gatherer.log")
        self.daemon = None
        self.configure()

    def path(self, name):
        return os.path.join(self.directory, name)

    def output(self, name):
        return self.path("out/" + name)

    def seen(self, name):
        """An output behind the file system that fails, where it is on one: FUSE's own library can't open a file that
        is replaced between its look-up and its opening."""
        behind = self.path("behind-out")
        return os.path.join(behind, name) if os.path.isdir(behind) else self.output(name)

    def configure(self):
        every = 'interval = "20ms"'
        text = f"""
log_file = "{self.log_file}"
state_dir = "{self.path("state")}"
[graphite]
whisper_dir = "{self.path("whisper")}"
output = "{self.output(COUNT)}"
{every}
[disks]
output = "{self.output(DISKS)}"
{every}
window = "1s"
[vmware]
output = "{self.output(READY)}"
{every}
window = "1s"
libraries = ["{self.path("none.so")}"]
[host]
proc = "{self.path("proc")}"
sys = "{self.path("sys")}"
run = "{self.path("run")}"
"""
        with open(self.path("gatherer.toml"), "w") as file:
            file.write(text)

    def command(self, *arguments):
        return [BINARY, "--config", self.path("gatherer.toml"), *arguments]

    def start(self, **environment):
        """Where no journal is, so that what can't be in the log file is on stderr."""
        hidden = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
        with open(self.path("stderr"), "a") as stderr:
            self.daemon = subprocess.Popen(
                hidden + self.command("run"),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def stop(self):
        asked = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        status = self.daemon.wait(PATIENCE)
        assert status == 0, f"the daemon ended with {status}"
        assert time.monotonic() - asked < 10
        self.daemon = None

    def alive(self):
        return self.daemon.poll() is None

    def log(self):
        return read(self.log_file)

    def lines(self, part, text=None):
        return [line for line in (self.log() if text is None else text).splitlines() if part in line]

    def version(self, name):
        status = os.lstat(self.seen(name))
        return status.st_ino, status.st_mtime_ns

    def wait_for_new(self, names=(COUNT, DISKS, READY)):
        for name in names:
            wait_for(name, lambda: os.path.exists(self.seen(name)))
            before = self.version(name)
            wait_for("a newer " + name, lambda: self.version(name) != before)


class Readers:
    """Reads all documents over and over: each is whole, and none is absent."""

    def __init__(self, machine, names=(COUNT, DISKS, READY)):
        self.machine, self.names, self.problem, self.reads = machine, names, None, 0

    def __enter__(self):
        self.stopping = False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        try:
            while not self.stopping:
                for name in self.names:
                    with open(self.machine.seen(name)) as file:
                        text = file.read()
                    assert text.endswith("}\n"), repr(text)
                    assert json.loads(text)["schema"] == 1, text
                self.reads += 1
                time.sleep(0.002)
        except Exception as problem:
            self.problem = repr(problem)

    def __exit__(self, *failed):
        self.stopping = True
        self.thread.join()
        if failed[0] is None:
            assert self.problem is None, self.problem
            assert self.reads > 3


@contextlib.contextmanager
def machine():
    directory = tempfile.mkdtemp(prefix="gatherer-storage.")
    made = Machine(directory)
    try:
        yield made
    except BaseException:
        print(*["# " + line for line in (made.log() + read(made.path("stderr"))).splitlines()[-30:]], sep="\n")
        raise
    finally:
        if made.daemon:
            made.daemon.kill()
            made.daemon.wait()
        shutil.rmtree(directory)


class Faults:
    """The file system that fails on demand, mounted over one of the machine's directories."""

    def __init__(self, machine, name):
        self.machine, self.mount, self.behind = machine, machine.path(name), machine.path("behind-" + name)

    def __enter__(self):
        os.mkdir(self.behind)
        self.none()
        self.injected = self.machine.path("injected")
        script = [sys.executable, os.path.join(HERE, "failing.py")]
        self.server = subprocess.Popen(script + [self.behind, self.mount, self.machine.path("faults"), self.injected])
        wait_for("the mount", lambda: os.path.ismount(self.mount))
        return self

    def __exit__(self, *_):
        self.none()
        if self.machine.daemon:
            self.machine.daemon.kill()
        subprocess.run(["umount", "--lazy", self.mount], check=True)
        # The daemon of a test that failed may hold a mount of its own.
        self.server.kill()
        self.server.wait()

    def inject(self, **faults):
        """Operations and errnos, from now on."""
        new = self.machine.path("faults.new")
        with open(new, "w") as file:
            file.writelines(f"{operation} {errno}\n" for operation, errno in faults.items())
        os.rename(new, self.machine.path("faults"))

    def none(self):
        self.inject()

    def wait_for_more(self, faults):
        size = os.path.getsize(self.injected) if os.path.exists(self.injected) else 0
        wait_for("more faults", lambda: os.path.exists(self.injected) and os.path.getsize(self.injected) >= size + faults)


def fails_and_works_again(faults, machine, affected, reason, **injected):
    """Outputs fail and work again, each with one line, and their readers never notice."""
    machine.wait_for_new()
    with Readers(machine):
        faults.inject(**injected)
        for name in affected:
            part = f" WARN {COLLECTORS[name]}: publishing"
            wait_for("the warning about " + name, lambda: machine.lines(part))
        # It is retried.
        faults.wait_for_more(10)
        faults.none()
        machine.wait_for_new()
        for name in affected:
            part = f" INFO {COLLECTORS[name]}: publishing"
            wait_for("the all-clear of " + name, lambda: machine.lines(part))
    assert machine.alive()
    machine.stop()
    for name in affected:
        for level, part in [("WARN", reason), ("INFO", "works again")]:
            lines = machine.lines(f" {level} {COLLECTORS[name]}: publishing")
            assert len(lines) == 1 and part in lines[0], lines
    # VMware's warning is that there is no guest library.
    warned = [line for line in machine.lines(" WARN ") if "none.so" not in line]
    assert len(warned) == len(affected), warned
    left = sorted(os.listdir(machine.path("behind-out")))
    assert left == [READY, COUNT], left


ALL = (COUNT, DISKS, READY)


def output_fails(affected, **injected):
    def test():
        with machine() as made, Faults(made, "out") as faults:
            made.start()
            reason = ERRNOS[list(injected.values())[0]]
            fails_and_works_again(faults, made, affected, reason, **injected)

    return test


def output_is_unaffected(**injected):
    """Faults that affect no publication and log nothing."""

    def test():
        with machine() as made, Faults(made, "out") as faults:
            made.start()
            made.wait_for_new()
            with Readers(made):
                faults.inject(**injected)
                faults.wait_for_more(10)
                made.wait_for_new()
            made.stop()
            assert not [line for line in made.lines(" WARN ") if "none.so" not in line], made.log()

    return test


def log_fails(**injected):
    """The log fails and works again: each is logged once if possible, and publishing continues."""

    def test():
        with machine() as made, Faults(made, "logs") as faults:
            made.start()
            made.wait_for_new()
            wait_for("the log", lambda: made.lines(" hosts, "))
            with Readers(made):
                faults.inject(**injected)
                faults.wait_for_more(10)
                made.wait_for_new()
                faults.none()
                wait_for("the log", lambda: made.lines("WARN log: writable again"))
            made.stop()
            logged_once(made, ERRNOS[list(injected.values())[0]])

    return test


def logged_once(made, reason):
    stderr = read(made.path("stderr"))
    fails = made.lines(" ERROR log: writing log file", stderr)
    assert len(fails) == 1 and reason in fails[0], fails
    works = made.lines(" INFO log: log file", stderr)
    assert len(works) == 1 and "is writable again" in works[0], works
    again = made.lines(" WARN log: writable again, ")
    assert len(again) == 1 and " 0 lines" not in again[0], again
    # What a full disk took of a line is left, on a line of its own.
    assert len(partial_lines(made)) <= 1, partial_lines(made)


def partial_lines(made):
    """Lines of the log that do not begin as each does: its time, its level, its collector."""
    levels = (" ERROR ", " WARN ", " INFO ", " DEBUG ")
    return [line for line in made.log().splitlines() if line[19:20] != "Z" or not line[20:].startswith(levels)]


def log_cannot_be_opened():
    with machine() as made, Faults(made, "logs") as faults:
        faults.inject(create="EIO")
        made.start()
        made.wait_for_new()
        faults.wait_for_more(10)
        faults.none()
        wait_for("the log", lambda: made.lines("WARN log: writable again"))
        made.stop()
        logged_once(made, ERRNOS["EIO"])


def log_takes_short_writes():
    with machine() as made, Faults(made, "logs") as faults:
        faults.inject(write="short", flush="EIO")
        made.start()
        made.wait_for_new()
        faults.wait_for_more(30)
        made.stop()
        faults.none()
        assert not partial_lines(made), partial_lines(made)
        assert made.lines(" INFO daemon: started") and made.lines(" INFO daemon: stopped")
        assert read(made.path("stderr")) == ""


def log_is_dev_full():
    with machine() as made:
        made.log_file = "/dev/full"
        made.configure()
        made.start()
        made.wait_for_new()
        made.stop()
        stderr = read(made.path("stderr"))
        assert len(made.lines(" ERROR log: writing log file", stderr)) == 1, stderr
        assert made.lines(" INFO daemon: stopped", stderr), stderr


def mounted(made, name, *options):
    """A tmpfs, until the end of the `with`."""
    stack = contextlib.ExitStack()
    subprocess.run(["mount", "-t", "tmpfs", *options, "none", made.path(name)], check=True)
    stack.callback(subprocess.run, ["umount", "--lazy", made.path(name)], check=True)
    return stack


def remount(path, mode):
    # Busy while a file is open for writing in it.
    run = ["mount", "-o", "remount," + mode, path]
    wait_for("the remount", lambda: subprocess.run(run, stderr=subprocess.DEVNULL).returncode == 0)


def outputs_become_read_only():
    with machine() as made, mounted(made, "out"):
        made.start()
        made.wait_for_new()
        remount(made.path("out"), "ro")
        for collector in COLLECTORS.values():
            wait_for("the warning", lambda: made.lines(f" WARN {collector}: publishing"))
        before = [made.version(name) for name in ALL]
        with Readers(made):
            counts = len(made.lines(" hosts, "))
            wait_for("more counts", lambda: len(made.lines(" hosts, ")) > counts + 5)
        assert before == [made.version(name) for name in ALL]
        remount(made.path("out"), "rw")
        made.wait_for_new()
        made.stop()
        for collector in COLLECTORS.values():
            for level, part in [("WARN", ERRNOS["EROFS"]), ("INFO", "works again")]:
                lines = made.lines(f" {level} {collector}: publishing")
                assert len(lines) == 1 and part in lines[0], lines


def log_is_on_a_full_disk():
    with machine() as made, mounted(made, "logs", "-o", "size=64k"):
        made.start()
        wait_for("the log", lambda: made.lines(" hosts, "))
        filler = made.path("logs/filler")
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            file.write(bytes(1 << 20))
        wait_for("the error", lambda: "writing log file" in read(made.path("stderr")))
        made.wait_for_new()
        os.unlink(filler)
        wait_for("the log", lambda: made.lines("WARN log: writable again"))
        made.stop()
        logged_once(made, ERRNOS["ENOSPC"])


def temporary_files_that_cannot_be_removed_do_not_pile_up():
    with machine() as made, Faults(made, "out") as faults:
        made.start()
        made.wait_for_new()
        faults.inject(rename="EIO", unlink="EIO")
        temporary = {f".{name}.tmp" for name in ALL}
        wait_for("temporary files", lambda: temporary <= set(os.listdir(made.path("behind-out"))))
        faults.wait_for_more(30)
        left = set(os.listdir(made.path("behind-out")))
        assert left <= temporary | set(ALL), left
        faults.none()
        wait_for("them to go", lambda: set(os.listdir(made.path("behind-out"))) <= set(ALL))
        made.wait_for_new()
        made.stop()


class Skipped(Exception):
    pass


def run_or_skip(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"{command[0]}: {done.stderr.strip()}")


class Ext4:
    """An ext4 file system in a file, mounted over one of the machine's directories, that can be frozen."""

    def __init__(self, made, name):
        self.image, self.mount = made.path("image"), made.path(name)

    def __enter__(self):
        with open(self.image, "wb") as file:
            file.truncate(64 << 20)
        run_or_skip("mkfs.ext4", "-q", self.image)
        run_or_skip("mount", "-o", "loop", self.image, self.mount)
        return self

    def __exit__(self, *_):
        self.thaw()
        subprocess.run(["umount", "--lazy", self.mount], check=True)

    def freeze(self):
        run_or_skip("fsfreeze", "--freeze", self.mount)

    def thaw(self):
        subprocess.run(["fsfreeze", "--unfreeze", self.mount], stderr=subprocess.DEVNULL)


class Heartbeats:
    """A notify socket that remembers when the heartbeats came."""

    def __init__(self, made):
        self.path, self.times = made.path("notify"), []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self.receive, daemon=True).start()

    def receive(self):
        while True:
            if b"WATCHDOG=1" in self.socket.recv(8192):
                self.times.append(time.monotonic())


def is_blocked(made):
    """Whether the daemon waits in the kernel, and no signal can end the wait."""
    with open(f"/proc/{made.daemon.pid}/stat") as file:
        return file.read().rsplit(") ", 1)[1].startswith("D")


# As systemd/shinken-gatherer.service has it.
WATCHDOG_SECONDS = 30


def freeze_only_delays(name):
    def test():
        with machine() as made, Ext4(made, name) as storage:
            beats = Heartbeats(made)
            made.start(NOTIFY_SOCKET=beats.path, WATCHDOG_USEC=str(WATCHDOG_SECONDS * 1000000))
            made.wait_for_new()
            wait_for("a heartbeat", lambda: beats.times)
            storage.freeze()
            frozen = time.monotonic()
            wait_for("the daemon to wait", lambda: is_blocked(made))
            time.sleep(10)
            assert is_blocked(made)
            storage.thaw()
            made.wait_for_new()
            wait_for("a heartbeat", lambda: beats.times[-1] > frozen + 10)
            gaps = [after - before for before, after in zip(beats.times, beats.times[1:])]
            assert max(gaps) < WATCHDOG_SECONDS, gaps
            assert not partial_lines(made) and read(made.path("stderr")) == "", made.log()
            # Longer than the watchdog: the signal that systemd sends then ends the daemon at the thaw.
            storage.freeze()
            wait_for("the daemon to wait", lambda: is_blocked(made))
            made.daemon.send_signal(signal.SIGABRT)
            time.sleep(0.5)
            assert made.alive()
            storage.thaw()
            assert made.daemon.wait(PATIENCE) == -signal.SIGABRT

    return test


def commands_report_that_the_file_cannot_be_read():
    with machine() as made, Faults(made, "out") as faults:
        made.start()
        made.wait_for_new()
        # Its last documents stay, all three, and are not replaced while they are read.
        made.daemon.kill()
        for operation in ["open", "read", "getattr"]:
            faults.inject(**{operation: "EIO"})
            for subject in ["graphite", "disks", "vmware"]:
                answer = subprocess.run(made.command("check", subject), capture_output=True, text=True, timeout=PATIENCE)
                assert answer.returncode == 3 and answer.stdout.count("\n") == 1, answer
                assert "UNKNOWN: cannot read the file" in answer.stdout, answer
                assert ERRNOS["EIO"] in answer.stdout, answer
            answer = subprocess.run(made.command("status"), capture_output=True, text=True, timeout=PATIENCE)
            assert answer.returncode == 1 and ERRNOS["EIO"] in answer.stdout, answer
            faults.none()


TESTS = {
    **{f"creating-an-output-fails-with-{errno}": output_fails(ALL, create=errno) for errno in ERRNOS},
    **{f"writing-an-output-fails-with-{errno}": output_fails(ALL, write=errno) for errno in ERRNOS},
    "setting-an-outputs-mode-fails": output_fails(ALL, chmod="EIO"),
    "flushing-the-count-fails": output_fails([COUNT], fsync="EIO"),
    "flushing-the-counts-directory-fails": output_fails([COUNT], fsyncdir="EIO"),
    "renaming-an-output-fails": output_fails(ALL, rename="EIO"),
    "outputs-on-storage-that-refuses-every-change": output_fails(ALL, any="EROFS"),
    "closing-an-output-fails": output_is_unaffected(flush="EIO"),
    "outputs-take-short-writes": output_is_unaffected(write="short"),
    "outputs-become-read-only": outputs_become_read_only,
    "temporary-files-that-cannot-be-removed-do-not-pile-up": temporary_files_that_cannot_be_removed_do_not_pile_up,
    **{f"writing-the-log-fails-with-{errno}": log_fails(write=errno) for errno in ERRNOS},
    "the-log-cannot-be-opened": log_cannot_be_opened,
    "the-log-takes-short-writes": log_takes_short_writes,
    "the-log-is-dev-full": log_is_dev_full,
    "the-log-is-on-a-full-disk": log_is_on_a_full_disk,
    "freeze-under-the-log-only-delays": freeze_only_delays("logs"),
    "freeze-under-the-outputs-only-delays": freeze_only_delays("out"),
    "commands-report-that-the-file-cannot-be-read": commands_report_that_the_file_cannot_be_read,
}

if sys.argv[1] == "--list":
    print(*TESTS, sep="\n")
    sys.exit()
for name, test in TESTS.items():
    if len(sys.argv) > 2 and sys.argv[2] not in name:
        continue
    try:
        test()
        print("ok storage-" + name, flush=True)
    except Skipped as reason:
        print(f"skip storage-{name}: {reason}", flush=True)
    except Exception as problem:
        print(f"# {problem!r}\nnot ok storage-{name}", flush=True)
