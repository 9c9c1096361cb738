"""Runs the daemon with a real carbon-cache, and compares the published values with those in whisper files."""

import contextlib
import json
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

from fixture import DISKS, document, fixture, main, paused, replace, running, thread, wait_for

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
CONFIGURATION = """log_level = "debug"
graphite.interval = "1s"
disks.interval = "1s"
disks.window = "2s"
vmware.enabled = false"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Carbon:
    """A carbon-cache with its data in the folder of a test."""

    def __init__(self, root):
        self.root, self.line, self.query, self.stack = root, free_port(), free_port(), contextlib.ExitStack()
        self.whisper = root / "storage/whisper"
        (root / "carbon.conf").write_text(CARBON_CONF.format(root=root, line=self.line, query=self.query))
        (root / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1s:1h\n")
        (root / "storage-aggregation.conf").write_text("")
        self.whisper.mkdir(parents=True)

    def __enter__(self):
        (self.root / "carbon-cache-a.pid").unlink(missing_ok=True)
        options = [f"--config={self.root}/carbon.conf", f"--logdir={self.root}", "--nodaemon", "start"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = self.stack.enter_context(running("carbon-cache", *options, **quiet))
        wait_for("carbon to listen", self.listens)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.stack.close()

    def listens(self):
        assert self.process.poll() is None, "carbon-cache ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.line)) == 0

    def points(self, metric):
        """The values of a metric in its whisper file, by time."""
        import whisper

        path = self.whisper / "shinken/gatherer" / (metric + ".wsp")
        if not path.exists():
            return {}
        (start, _end, step), values = whisper.fetch(str(path), time.time() - 3000)
        return {start + i * step: v for i, v in enumerate(values) if v is not None}


class Load:
    """Two disks whose %util changes."""

    ticks = 0

    def __init__(self, root):
        self.path = root / "proc/diskstats"
        (root / "sys/block/cciss!c0d0/device").mkdir(parents=True)
        (root / "sys/block/cciss!c0d0/size").write_text("1000\n")
        self.step()

    def step(self):
        self.ticks += 1 + self.ticks % 3
        self.write((self.ticks * 2, self.ticks))

    def write(self, busy):
        lines = [
            f"{major} 0 {name} 10 0 80 5 {int(ms / 2)} 0 {int(ms * 4)} {int(ms)} 0 {int(ms)} {int(ms * 2)}\n"
            for major, name, ms in ((8, "sda", busy[0]), (104, "cciss/c0d0", busy[1]))
        ]
        replace(self.path, "".join(lines))


class Documents:
    """Every disk document that the daemon of a fixture publishes, by its time."""

    def __init__(self, made):
        self.path, self.published = made.root / "out" / DISKS, {}

    def step(self):
        with contextlib.suppress(FileNotFoundError):
            found = document(self.path)
            self.published[found["updated_at"]] = found["disks"]

    def more(self, count):
        """Waits for more documents, and returns their times."""
        known = set(self.published)
        wait_for("new documents", lambda: len(set(self.published) - known) >= count)
        return sorted(set(self.published) - known)


def feed_to(port):
    return f'{CONFIGURATION}\ncarbon.enabled = true\ncarbon.address = "127.0.0.1:{port}"'


@contextlib.contextmanager
def fed_carbon(load=Load):
    with fixture() as made, Carbon(made.root) as carbon:
        made.configure(feed_to(carbon.line))
        disks, documents = load(made.root), Documents(made)
        with thread(disks.step, 0.1), thread(documents.step, 0.02):
            made.start()
            yield carbon, made, documents


def arrived(carbon, documents, times, below=""):
    """Waits until whisper has exactly the published values for these times, below this folder of the prefix."""
    times = list(times)
    for disk, node in (("sda", "sda"), ("cciss/c0d0", "cciss_c0d0")):
        for value in ("util_percent", "read_await_ms", "write_await_ms", "queue_size"):
            path = f"{below}disks/{node}/{value}"
            wait_for(f"{path} of {times}", lambda path=path: set(times) <= set(carbon.points(path)))
            points = carbon.points(path)
            for at in times:
                assert points.get(at) == documents.published[at][disk][value], (disk, value, at, points)


def whisper_has_the_published_values():
    with fed_carbon() as (carbon, _made, documents):
        arrived(carbon, documents, documents.more(4))
        assert any(disks["sda"]["util_percent"] > 0 for disks in documents.published.values())
        hosts = wait_for("the count to arrive", lambda: carbon.points("graphite/hosts"))
        assert set(hosts.values()) == {1.0}, hosts
        assert set(carbon.points("graphite/metrics").values()) == {1.0}


def values_of_a_stopped_carbon_arrive_later():
    with fed_carbon() as (carbon, made, documents):
        arrived(carbon, documents, documents.more(1))
        carbon.__exit__()
        missed = documents.more(4)
        wait_for("the refused connection in the log", lambda: made.logged("Connection refused"))
        with carbon:
            arrived(carbon, documents, missed)
            arrived(carbon, documents, documents.more(2))
            assert made.logged("sending works again")
            assert len(made.logged("Connection refused (os error 111)")) == 1, made.log()


def a_slow_carbon_delays_no_sample():
    with fed_carbon() as (carbon, _made, documents):
        documents.more(1)
        with paused(carbon.process):
            times = documents.more(6)
        assert max(b - a for a, b in zip(times, times[1:])) <= 3, times
        arrived(carbon, documents, times)


def reload_turns_the_feed_off_and_on():
    with fed_carbon() as (carbon, made, documents):
        documents.more(1)
        unsent = []
        for number, enabled in ((1, "false"), (2, "true")):
            made.configure(feed_to(carbon.line).replace("carbon.enabled = true", f"carbon.enabled = {enabled}"))
            made.daemon.send_signal(signal.SIGHUP)
            wait_for("the reload", lambda: len(made.logged("reloaded")) == number)
            unsent = unsent or documents.more(3)[1:]
        arrived(carbon, documents, documents.more(3)[1:])
        points = carbon.points("disks/sda/util_percent")
        assert not any(at in points for at in unsent), "sent though not enabled"


def daemon_stops_at_once_if_carbon_is_stopped():
    with fed_carbon() as (carbon, made, documents):
        documents.more(1)
        with paused(carbon.process):
            documents.more(1)
            took = made.stop()
        assert took < 1, f"{took} s"


def servers_share_one_configuration_and_one_carbon():
    """Three daemons, each with its own name, whose values the dashboard shows apart."""
    with contextlib.ExitStack() as stack:
        servers = {f"web-{number}.example.com": stack.enter_context(fixture()) for number in (1, 2, 3)}
        carbon = stack.enter_context(Carbon(next(iter(servers.values())).root))
        published = {}
        for number, (name, made) in enumerate(servers.items()):
            made.configure(feed_to(carbon.line), 'carbon.prefix = "shinken.gatherer.{hostname}"')
            made.start()
            wait_for("the missing name", lambda: made.logged("/proc/sys/kernel/hostname"))
            made.stop()
            (made.root / "proc/sys/kernel").mkdir(parents=True)
            (made.root / "proc/sys/kernel/hostname").write_text(name + "\n")
            for host in range(number):
                (made.root / "whisper" / str(host)).mkdir()
            published[name] = Documents(made)
            stack.enter_context(thread(Load(made.root).step, 0.1))
            stack.enter_context(thread(published[name].step, 0.02))
            made.start()
        for number, name in enumerate(servers):
            arrived(carbon, published[name], published[name].more(2), name.replace(".", "_") + "/")
            hosts = wait_for("the count", lambda: carbon.points(f"{name.replace('.', '_')}/graphite/hosts"))
            assert set(hosts.values()) == {number + 1.0}, hosts
        dashboard = json.loads(pathlib.Path("docs/examples/grafana-dashboard.json").read_text())
        variables = {found["name"]: found["query"] for found in dashboard["templating"]["list"]}
        assert variables["server"] == "$prefix.*"
        found = {path.name for path in carbon.whisper.glob(variables["prefix"].replace(".", "/") + "/*")}
        assert found == {name.replace(".", "_") for name in servers}, found
        targets = [target["target"] for panel in dashboard["panels"] for target in panel["targets"]]
        for path in re.findall(r"\$prefix\.\$server\.((?:graphite|disks)[\w.*]+)", " ".join(targets)):
            shown = carbon.whisper.glob(f"shinken/gatherer/*/{path.replace('.', '/')}.wsp")
            assert {str(file.relative_to(carbon.whisper)).split("/")[2] for file in shown} == found, path


def values_that_do_not_fit_are_dropped_and_counted():
    """So many disks that 64 KiB of lines are soon full, and no carbon."""
    port = free_port()
    with fixture(feed_to(port)) as made, contextlib.ExitStack() as stack:
        names = [f"sd{n}" for n in range(150)]
        for name in names:
            (made.root / "sys/block" / name / "device").mkdir(parents=True)
            (made.root / "sys/block" / name / "size").write_text("1000\n")
        lines = [f"8 {n} {name} 1 0 8 1 1 0 8 1 0 1 1\n" for n, name in enumerate(names)]
        (made.root / "proc/diskstats").write_text("".join(lines))
        documents = Documents(made)
        stack.enter_context(thread(documents.step, 0.02))
        made.start()
        wait_for("values to be dropped", lambda: made.logged("dropping the oldest values"))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        listener.settimeout(40)
        connection = stack.enter_context(listener.accept()[0])
        received = bytearray()

        def receive():
            while chunk := connection.recv(65536):
                received.extend(chunk)

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        dropped = wait_for("the count of those dropped", lambda: made.logged("send queue is empty again, "))
        newest = documents.more(1)[0]
        made.stop()
        receiver.join(10)
        assert int(dropped[0].split("send queue is empty again, ")[1].split()[0]) > 0
        # At a stop, the last line may be partial. carbon ignores it.
        lines = [line.split(" ") for line in received.decode().split("\n")[:-1]]
        assert all(len(line) == 3 for line in lines), "a partial line"
        times = {int(at) for path, _value, at in lines if ".disks." in path}
        assert newest in times and min(documents.published) not in times, (times, sorted(documents.published))


TESTS = (
    whisper_has_the_published_values,
    values_of_a_stopped_carbon_arrive_later,
    a_slow_carbon_delays_no_sample,
    reload_turns_the_feed_off_and_on,
    daemon_stops_at_once_if_carbon_is_stopped,
    servers_share_one_configuration_and_one_carbon,
    values_that_do_not_fit_are_dropped_and_counted,
)
if __name__ == "__main__":
    main("carbon::", {test.__name__: test for test in TESTS})
