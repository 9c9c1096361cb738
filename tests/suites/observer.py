"""Watches a daemon from a real-time process, which no load of the test delays.

It also writes a fake /proc/diskstats, whose counters are functions of the time: a rate that a document states shows how exact
the times of its samples are.
"""

import contextlib
import json
import multiprocessing
import os
import socket
import time

PAUSE = 0.002
READS_PER_SECOND = 1000.0


def diskstats():
    """A disk with 1000 reads a second, each of 8 sectors and 2 ms, which is busy half of the time."""
    ms = time.monotonic_ns() // 1_000_000
    return f"8 0 sda {ms} 0 {8 * ms} {2 * ms % 2**32} 0 0 0 0 0 {ms // 2 % 2**32} {ms % 2**32} 0 0 0 0 0 0\n"


def watch(made, stop, results):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    heartbeats, documents, last = [], [], None
    output, new = made.root / "out/disks.tmp", made.root / "proc/new"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
        messages.bind(str(made.root / "notify"))
        messages.setblocking(False)
        results.send("ready")
        while not stop.is_set():
            new.write_text(diskstats())
            new.rename(made.root / "proc/diskstats")
            now = time.monotonic()
            with contextlib.suppress(BlockingIOError):
                while message := messages.recv(4096):
                    if b"WATCHDOG=1" in message:
                        heartbeats.append(now)
            with contextlib.suppress(FileNotFoundError):
                found = output.stat()
                if (found.st_ino, found.st_mtime_ns) != last:
                    last = found.st_ino, found.st_mtime_ns
                    documents.append((now, json.loads(output.read_text())))
            time.sleep(PAUSE)
    results.send((heartbeats, documents))


class Observer:
    """`heartbeats` has their times on the monotonic clock, `documents` the times and documents, both after `stop`."""

    def __init__(self, made):
        self.results, results = multiprocessing.Pipe()
        self.stopping = multiprocessing.Event()
        self.process = multiprocessing.Process(target=watch, args=(made, self.stopping, results), daemon=True)
        self.process.start()
        assert self.results.poll(10) and self.results.recv() == "ready", "the observer does not start"

    def stop(self):
        self.stopping.set()
        assert self.results.poll(30), "the observer does not end"
        self.heartbeats, self.documents = self.results.recv()
        self.process.join()
