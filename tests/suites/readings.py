"""Reads the counters of real disks beside the daemon, and checks its documents by them."""

import json
import threading
import time

PAUSE = 0.02
SECTOR_BYTES = 512
# Columns of /proc/diskstats from the first counter on, and the unit of the value.
COUNTERS = {
    "reads_per_second": (0, 1),
    "writes_per_second": (4, 1),
    "read_bytes_per_second": (2, SECTOR_BYTES),
    "write_bytes_per_second": (6, SECTOR_BYTES),
    "util_percent": (9, 0.1),
}


def counters():
    with open("/proc/diskstats", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return {columns[2]: [int(column) for column in columns[3:]] for columns in lines}


class Readings:
    """Reads until `stop`. Then `check` compares."""

    def __init__(self, output):
        self.output, self.readings, self.documents = output, [], []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        last = None
        while not self.stopping.wait(PAUSE):
            before = time.time()
            self.readings.append((before, counters(), time.time()))
            text = self.output.read_text() if self.output.exists() else None
            if text and text != last:
                self.documents.append((time.time(), json.loads(text)))
                last = text

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def between(self, disk, column, begin, end):
        """The least and the most growth of a counter between two times, each of which is known within its limits."""
        counter = lambda reading: reading[1][disk][column]
        until = [reading for reading in self.readings if reading[2] <= begin[0]]
        after_begin = next(reading for reading in self.readings if reading[0] >= begin[1])
        before_end = [reading for reading in self.readings if reading[2] <= end[0]][-1]
        after_end = next((reading for reading in self.readings if reading[0] >= end[1]), None)
        least = max(counter(before_end) - counter(after_begin), 0)
        if not until or not after_end:
            return None
        return least, counter(after_end) - counter(until[-1])

    def check(self):
        """Fails if a value is not possible. Returns the largest %util."""
        busiest, checked = 0, 0
        for seen, document in self.documents:
            # The sample was taken in this second, and before the document was seen.
            end = document["updated_at"], min(document["updated_at"] + 1, seen)
            for name, disk in document["disks"].items():
                window = disk.get("window_seconds", document["window_seconds"])
                begin = end[0] - window, end[1] - window
                for key, (column, unit) in COUNTERS.items():
                    limits = self.between(name, column, begin, end)
                    if limits is None:
                        continue
                    least, most = (growth * unit / window for growth in limits)
                    least = min(least, 100) if key == "util_percent" else least
                    assert least - 0.001 <= disk[key] <= most * 1.001 + 0.001, f"{name} {key} not in {least} to {most}: {document}"
                    checked += 1
                busiest = max(busiest, disk["util_percent"])
        assert checked > 0, "no document was checked"
        return busiest
