"""What the Python suites share: waiting, a daemon whose outputs are all in one folder, and running a table of tests."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import validate

PROGRAM = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug/shinken-gatherer"))
COUNT, DISKS, READY = "whisper.nb_metrics", "disks.tmp", "vmware.dat"
OUTPUTS = {"graphite": COUNT, "disks": DISKS, "vmware": READY}
# Every collector, from the page of the configuration.
PAGE = pathlib.Path(__file__).parents[2] / "docs/configuration.md"
TABLES = PAGE.read_text().split("\n[")
COLLECTORS = [table.split("]")[0] for table in TABLES if "\noutput = " in table]
# A VMware VM with one disk and one metric.
FILES = {
    "whisper/host/a.wsp": "",
    "proc/diskstats": "8 0 sda 1 0 8 1 1 0 8 1 0 1 1\n",
    "sys/block/sda/device/model": "a disk\n",
    "sys/block/sda/size": "1000\n",
    "sys/class/dmi/id/sys_vendor": "VMware, Inc.\n",
    "sys/devices/system/cpu/online": "0-3\n",
}


class Skipped(Exception):
    """The test cannot run on this machine."""


def wait_for(what, condition, seconds=30):
    """Waits until the condition is true, and returns its result."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return result


def document(path):
    """A published document, which must be whole and valid for its schema."""
    text = path.read_text()
    assert text.endswith("}\n") and text.count("\n") == 1, repr(text)
    found = json.loads(text)
    assert not (error := validate.error(found)), f"{error}\n{found}"
    return found


def read(path):
    return path.read_text() if path.exists() else ""


def replace(path, text):
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)


class Fixture:
    """A folder with a configuration, whose outputs are in `out` and whose log is in `logs`."""

    def __init__(self, root):
        self.root, self.daemon, self.log_file = root, None, root / "logs/gatherer.log"
        for name in ("state", "out", "logs"):
            (root / name).mkdir()
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)

    def configure(self, *lines):
        values = {
            "log_file": self.log_file,
            "state_dir": self.root / "state",
            "graphite.whisper_dir": self.root / "whisper",
        }
        values |= {f"{name}.output": self.root / "out" / OUTPUTS.get(name, name) for name in COLLECTORS}
        values |= {f"host.{name}": self.root / name for name in ("proc", "sys", "run")}
        text = "".join(f'{key} = "{value}"\n' for key, value in values.items())
        (self.root / "gatherer.toml").write_text(text + "\n".join(lines) + "\n")

    def replace_key(self, key, value):
        lines = (self.root / "gatherer.toml").read_text().splitlines(keepends=True)
        lines = [f'{key} = "{value}"\n' if line.startswith(f"{key} = ") else line for line in lines]
        (self.root / "gatherer.toml").write_text("".join(lines))

    def command(self, *arguments):
        return [PROGRAM, "--config", self.root / "gatherer.toml", *arguments]

    def start(self, *prefix, **environment):
        with open(self.root / "stderr", "a") as stderr:
            self.daemon = subprocess.Popen(
                [*prefix, *self.command("run")],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def stop(self):
        """Ends the daemon with SIGTERM, and returns the seconds that this took."""
        asked = time.monotonic()
        self.daemon.terminate()
        status = self.daemon.wait(30)
        assert status == 0, f"the daemon ended with {status}"
        return time.monotonic() - asked

    def kill(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()

    def log(self):
        return read(self.log_file)

    def stderr(self):
        return read(self.root / "stderr")

    def logged(self, text):
        """The lines of the log that contain this text."""
        return [line for line in self.log().splitlines() if text in line]


@contextlib.contextmanager
def fixture(*lines):
    with tempfile.TemporaryDirectory(prefix="gatherer-") as name:
        made = Fixture(pathlib.Path(name))
        made.configure(*lines)
        try:
            yield made
        except BaseException:
            print(*("# " + line for line in (made.log() + made.stderr()).splitlines()[-30:]), sep="\n")
            raise
        finally:
            made.kill()


@contextlib.contextmanager
def running(*command, **options):
    """A process, which is killed at the end, even if it is stopped."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def thread(step, seconds):
    """Calls a function again and again until it fails. Its error is raised at the end."""
    ended, problems = threading.Event(), []

    def run():
        try:
            while not ended.wait(seconds):
                step()
        except Exception as problem:
            problems.append(problem)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()
    for problem in problems:
        raise problem


@contextlib.contextmanager
def paused(process):
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def main(prefix, tests):
    """Runs a dictionary of tests, or those whose name contains the first argument, or lists their names with --list."""
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, test in tests.items():
        if only == "--list":
            print(prefix + name)
        elif only in name:
            try:
                test()
                print(f"ok {prefix}{name}", flush=True)
            except Skipped as reason:
                print(f"skip {prefix}{name}: {reason}", flush=True)
            except Exception as problem:  # any error is a failure of this test, not the next one's
                print(f"# {type(problem).__name__}: {problem}\nnot ok {prefix}{name}", flush=True)
