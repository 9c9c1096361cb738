"""Loads of the machine, as contexts."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from fixture import Skipped, running, wait_for
from readings import counters

MEMORY_BYTES, HOG_BYTES, SWAP_BYTES = 24 << 20, 64 << 20, 256 << 20
CGROUPS = pathlib.Path("/sys/fs/cgroup")


@contextlib.contextmanager
def cgroup(controller, **limits):
    """A cgroup of version 1 or 2. Returns the command that runs another one in it. A limit `a_b` is the file `a.b`."""
    parent = CGROUPS / controller if (CGROUPS / controller).is_dir() else CGROUPS
    folder = parent / f"gatherer-{os.getpid()}"
    try:
        folder.mkdir()
        if parent == CGROUPS:
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        for name, value in limits.items():
            file = folder / name.replace("_", ".", 1)
            file.write_text(str(value))
    except OSError as problem:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise Skipped(f"{controller} cgroup: {problem}") from problem
    try:
        yield ["sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh"], folder
    finally:
        wait_for("the end of the cgroup", lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def quota(percent):
    """The controller and limits of a share of one processor."""
    if (CGROUPS / "cpu").is_dir():
        return "cpu", {"cpu_cfs_period_us": 100000, "cpu_cfs_quota_us": 1000 * percent}
    return "cpu", {"cpu_max": f"{1000 * percent} 100000"}


def small_memory():
    """The controller and limits of a memory that is smaller than what `memory_hog` uses."""
    return "memory", {"memory_limit_in_bytes" if (CGROUPS / "memory").is_dir() else "memory_max": MEMORY_BYTES}


def memory_hog(inside):
    """Writes to each page, over and over."""
    script = f"memory = bytearray({HOG_BYTES})\nwhile True:\n for at in range(0, {HOG_BYTES}, 4096): memory[at] = 1"
    return running(*inside, sys.executable, "-c", script)


@contextlib.contextmanager
def busy_processors(_):
    with contextlib.ExitStack() as stack:
        for _ in range(2 * os.cpu_count()):
            stack.enter_context(running("sh", "-c", "while :; do :; done"))
        yield


@contextlib.contextmanager
def swap(folder):
    """A swap file, unless there is swap already."""
    if len(pathlib.Path("/proc/swaps").read_text().splitlines()) > 1:
        yield
        return
    file = folder / "swap"
    with file.open("wb") as opened:
        os.posix_fallocate(opened.fileno(), 0, SWAP_BYTES)
    file.chmod(0o600)
    try:
        for command in (["mkswap", file], ["swapon", file]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Skipped(f"{command[0]}: {done.stderr.strip()}")
        try:
            yield
        finally:
            subprocess.run(["swapoff", file], check=True)
    finally:
        file.unlink()


@contextlib.contextmanager
def on_disk():
    """A folder on the disk of the builds."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("CARGO_TARGET_DIR", "target"), prefix="load-") as name:
        yield pathlib.Path(name).resolve()


@contextlib.contextmanager
def busy_disk(folder):
    """Some disk has requests in flight all the time."""
    options = "--thread --rw=randrw --direct=1 --bs=256k --iodepth=32 --numjobs=2 --ioengine=libaio --size=64m --time_based --runtime=120"

    def is_busy():
        before, begun = counters(), time.monotonic()
        time.sleep(1)
        passed_ms = (time.monotonic() - begun) * 1000
        after = counters()
        return any(name in before and now[9] - before[name][9] > 0.95 * passed_ms for name, now in after.items())

    with running("nice", "-n", "-10", "fio", "--name=busy", f"--directory={folder}", *options.split(), stdout=subprocess.DEVNULL):
        wait_for("a busy disk", is_busy)
        yield


# Starts as many processes as its argument, which end with it.
PROCESSES = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    for (int left = count > 1 ? atoi(arguments[1]) : 0; left > 0; left--) {
        pid_t pid = fork();
        if (pid < 0)
            return perror("fork"), 1;
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
    }
    puts("ready");
    fflush(stdout);
    pause();
}
"""


@contextlib.contextmanager
def many_processes(folder, count):
    program, pid_max = folder / "processes", pathlib.Path("/proc/sys/kernel/pid_max")
    subprocess.run(["cc", "-O1", "-static", "-x", "c", "-o", program, "-"], input=PROCESSES, text=True, check=True)
    before = pid_max.read_text()
    pid_max.write_text(str(max(int(before), 2 * count + (1 << 15))))
    try:
        with running(program, str(count), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as processes:
            if processes.stdout.readline() != "ready\n":
                raise Skipped(processes.stderr.read().strip())
            yield
        wait_for("the end of the processes", lambda: len(os.listdir("/proc")) < count)
    finally:
        pid_max.write_text(before)
