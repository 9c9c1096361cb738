"""Runs the daemon with a real carbon-cache, and compares the published values with those in whisper files."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import whisper

PROGRAM = os.path.abspath(sys.argv[1])
CARBON_CONF = """[cache]
STORAGE_DIR = {root}/storage
LOCAL_DATA_DIR = {root}/storage/whisper
CONF_DIR = {root}
LOG_DIR = {root}
PID_DIR = {root}
USER =
MAX_CACHE_SIZE = inf
MAX_UPDATES_PER_SECOND = 10000
MAX_CREATES_PER_MINUTE = inf
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = 0
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {query}
ENABLE_LOGROTATION = False
"""
GATHERER_CONF = """log_level = "debug"
log_file = "{root}/gatherer.log"
state_dir = "{root}/state"
[graphite]
whisper_dir = "{root}/counted"
interval = "1s"
[disks]
output = "{root}/disks"
interval = "1s"
window = "2s"
[vmware]
enabled = false
[host]
proc = "{root}/proc"
sys = "{root}/sys"
run = "{root}/run"
"""
UTIL = "disks/{}/util_percent"


def wait_for(what, condition, seconds=30):
    """Waits until the condition is true, and returns its result."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Carbon:
    """A carbon-cache for one test."""

    def __init__(self, root):
        self.root, self.line, self.query = root, free_port(), free_port()
        (root / "carbon.conf").write_text(CARBON_CONF.format(root=root, line=self.line, query=self.query))
        (root / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1s:1h\n")
        (root / "storage-aggregation.conf").write_text("")
        (root / "storage" / "whisper").mkdir(parents=True)
        self.process = None

    def start(self):
        (self.root / "carbon-cache-a.pid").unlink(missing_ok=True)
        command = ["carbon-cache", f"--config={self.root}/carbon.conf", f"--logdir={self.root}", "--nodaemon", "start"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("carbon to listen", self.listens)

    def listens(self):
        assert self.process.poll() is None, "carbon-cache ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.line)) == 0

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()

    def points(self, metric):
        """The values of a metric in its whisper file, by time."""
        path = self.root / "storage/whisper/shinken/gatherer" / (metric + ".wsp")
        if not path.exists():
            return {}
        (start, _end, step), values = whisper.fetch(str(path), time.time() - 3000)
        return {start + i * step: v for i, v in enumerate(values) if v is not None}


class Machine(threading.Thread):
    """Fake /proc and /sys with two disks whose %util changes."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.path, self.ended = root / "proc/diskstats", threading.Event()
        self.path.parent.mkdir()
        for name in ("sda", "cciss!c0d0"):
            (root / "sys/block" / name / "device").mkdir(parents=True)
            (root / "sys/block" / name / "size").write_text("1000\n")
        (root / "counted/web1").mkdir(parents=True)
        (root / "counted/web1/load.wsp").touch()
        self.ticks = 0
        self.write()

    def write(self):
        lines = [
            f"8 0 sda 10 0 80 5 {self.ticks} 0 {self.ticks * 8} {self.ticks * 2} 0 {self.ticks * 30} {self.ticks * 31}",
            f"104 0 cciss/c0d0 10 0 80 5 {self.ticks} 0 {self.ticks * 8} {self.ticks} 0 {self.ticks * 7} {self.ticks * 9}",
        ]
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.rename(self.path)

    def run(self):
        while not self.ended.wait(0.1):
            self.ticks += 1 + self.ticks % 3
            self.write()


class Gatherer:
    """The daemon, and every disk document that it published."""

    def __init__(self, root, more):
        self.root, self.published, self.log = root, {}, root / "gatherer.log"
        (root / "gatherer.toml").write_text(GATHERER_CONF.format(root=root) + more)
        self.process = subprocess.Popen([PROGRAM, "--config", root / "gatherer.toml", "run"], stderr=subprocess.DEVNULL)
        self.ended = threading.Event()
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        while not self.ended.wait(0.02):
            try:
                document = json.loads((self.root / "disks").read_text())
            except FileNotFoundError:
                continue
            self.published[document["updated_at"]] = document["disks"]

    def logged(self, text):
        return self.log.exists() and text in self.log.read_text()

    def more(self, count):
        """Waits for more documents, and returns their times."""
        known = set(self.published)
        wait_for("new documents", lambda: len(set(self.published) - known) >= count)
        return sorted(set(self.published) - known)

    def stop(self):
        """Ends the daemon and returns how long that took."""
        started = time.monotonic()
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.ended.set()
        return time.monotonic() - started


def arrived(carbon, gatherer, times):
    """Waits until whisper has exactly the published values for these times."""

    def all_there():
        points = carbon.points(UTIL.format("sda"))
        return all(at in points for at in times)

    wait_for(f"the values of {times} to arrive", all_there)
    for disk, node in (("sda", "sda"), ("cciss/c0d0", "cciss_c0d0")):
        for figure in ("util_percent", "read_await_ms", "write_await_ms", "queue_size"):
            points = carbon.points(f"disks/{node}/{figure}")
            for at in times:
                assert points.get(at) == gatherer.published[at][disk][figure], (disk, figure, at, points)


def run(name, test, *args):
    try:
        test(*args)
        print(f"ok carbon::{name}", flush=True)
    except Exception as error:  # any error is a failure of this test, not the next one's
        print(f"{type(error).__name__}: {error}\nnot ok carbon::{name}", flush=True)


def whisper_has_the_published_values(carbon, gatherer):
    arrived(carbon, gatherer, gatherer.more(4))
    assert any(gatherer.published[at]["sda"]["util_percent"] > 0 for at in gatherer.published)
    hosts = wait_for("the count to arrive", lambda: carbon.points("graphite/hosts"))
    assert set(hosts.values()) == {1.0}, hosts
    assert set(carbon.points("graphite/metrics").values()) == {1.0}


def values_of_a_stopped_carbon_arrive_later(carbon, gatherer):
    carbon.stop()
    missed = gatherer.more(4)
    wait_for("the refused connection in the log", lambda: gatherer.logged("Connection refused"))
    carbon.start()
    arrived(carbon, gatherer, missed)
    assert gatherer.logged("sending works again")
    refused = gatherer.log.read_text().count("Connection refused (os error 111)\n")
    assert refused == 1, f"logged {refused} times"


def a_slow_carbon_delays_no_sample(carbon, gatherer):
    carbon.process.send_signal(signal.SIGSTOP)
    times = gatherer.more(6)
    carbon.process.send_signal(signal.SIGCONT)
    assert max(b - a for a, b in zip(times, times[1:])) <= 3, times
    arrived(carbon, gatherer, times)


def values_continue_after_a_carbon_restart(carbon, gatherer):
    before = gatherer.more(1)
    arrived(carbon, gatherer, before)
    carbon.stop()
    carbon.start()
    arrived(carbon, gatherer, gatherer.more(3))


def reload_turns_the_feed_off_and_on(carbon, gatherer):
    path = gatherer.root / "gatherer.toml"
    text = path.read_text()
    path.write_text(text.replace("[carbon]\nenabled = true", "[carbon]\nenabled = false"))
    gatherer.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: gatherer.logged("reloaded"))
    unsent = gatherer.more(3)[1:]
    path.write_text(text)
    gatherer.process.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: gatherer.log.read_text().count("reloaded") == 2)
    arrived(carbon, gatherer, gatherer.more(3)[1:])
    points = carbon.points(UTIL.format("sda"))
    assert not any(at in points for at in unsent), "sent though not enabled"


def daemon_stops_at_once_if_carbon_is_stopped(carbon, gatherer):
    carbon.process.send_signal(signal.SIGSTOP)
    gatherer.more(1)
    took = gatherer.stop()
    carbon.process.send_signal(signal.SIGCONT)
    assert took < 1, f"{took} s"


def feed_is_disabled_by_default(root):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        gatherer = Gatherer(root, f"[carbon]\naddress = \"127.0.0.1:{listener.getsockname()[1]}\"\n")
        gatherer.more(2)
        gatherer.stop()
        try:
            listener.accept()
        except BlockingIOError:
            return
        raise AssertionError("connected though not enabled")


def values_that_do_not_fit_are_dropped_and_counted(root):
    """So many disks that 64 KiB of lines are soon full, and no carbon."""
    names = [f"sd{n}" for n in range(150)]
    for name in names:
        (root / "sys/block" / name / "device").mkdir(parents=True)
        (root / "sys/block" / name / "size").write_text("1000\n")
    lines = [f"8 {n} {name} 1 0 8 1 1 0 8 1 0 1 1" for n, name in enumerate(names)]
    (root / "proc/diskstats").write_text("\n".join(lines) + "\n")
    port = free_port()
    gatherer = Gatherer(root, f"[carbon]\nenabled = true\naddress = \"127.0.0.1:{port}\"\n")
    wait_for("values to be dropped", lambda: gatherer.logged("dropping the oldest values"))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        listener.settimeout(40)
        connection, _ = listener.accept()
        received = bytearray()

        def receive():
            while chunk := connection.recv(65536):
                received.extend(chunk)

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        wait_for("the count of those dropped", lambda: gatherer.logged("send queue is empty again"))
        newest = gatherer.more(1)[0]
        gatherer.stop()
        receiver.join()
        connection.close()
    assert int(gatherer.log.read_text().split("send queue is empty again, ")[1].split()[0]) > 0
    # At a stop, the last line may be partial. carbon ignores it.
    lines = [line.split(" ") for line in received.decode().split("\n")[:-1]]
    assert all(len(line) == 3 for line in lines), "a partial line"
    times = {int(at) for path, _value, at in lines if ".disks." in path}
    assert newest in times and min(gatherer.published) not in times, (times, sorted(gatherer.published))


def main():
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        carbon = Carbon(root)
        machine = Machine(root)
        machine.start()
        carbon.start()
        gatherer = Gatherer(root, f"[carbon]\nenabled = true\naddress = \"127.0.0.1:{carbon.line}\"\n")
        try:
            for test in (
                whisper_has_the_published_values,
                values_of_a_stopped_carbon_arrive_later,
                a_slow_carbon_delays_no_sample,
                values_continue_after_a_carbon_restart,
                reload_turns_the_feed_off_and_on,
                daemon_stops_at_once_if_carbon_is_stopped,
            ):
                run(test.__name__, test, carbon, gatherer)
        finally:
            gatherer.process.kill()
            carbon.stop()
        run(feed_is_disabled_by_default.__name__, feed_is_disabled_by_default, root)
        machine.ended.set()
        machine.join()
        (root / "gatherer.log").unlink()
        run(values_that_do_not_fit_are_dropped_and_counted.__name__, values_that_do_not_fit_are_dropped_and_counted, root)


if __name__ == "__main__":
    main()
