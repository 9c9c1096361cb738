"""The daemon on a machine under hostile load: samples stay on schedule or are skipped, values are right, heartbeats hold."""

import contextlib
import pathlib
import subprocess
import tempfile
import time

import loads
from fixture import PROGRAM, fixture, main, wait_for
from observer import READS_PER_SECOND, Observer
from readings import Readings

# In seconds. The watchdog of the service has 30 s.
INTERVAL, WINDOW, WATCHDOG = 1.0, 10.0, 10.0
CALM, LOADED = 3, 12
PROCESS_COUNT = 50_000
# The service must be started within this time.
START_TIMEOUT = 30
# A second, of the development build.
MAX_CPU_MS = 10
SETTINGS = [
    f'disks.interval = "{INTERVAL:.0f}s"',
    f'disks.window = "{WINDOW:.0f}s"',
    'graphite.interval = "2s"',
    'vmware.interval = "1s"',
    'vmware.window = "10s"',
    'vmware.libraries = ["/none.so"]',
]
# Of a rate. A sample is exact to 1 % of its interval, at both ends of the window, and the fake counters to some ms.
TOLERANCE = 0.04
# In seconds: a document that was published at once, and the inexactness of its time.
ON_TIME, EARLY = 0.05, 0.01


def lateness(at, schedule):
    """How long after the last deadline of the schedule a document was published. A little may be negative."""
    return (at - schedule + EARLY) % INTERVAL - EARLY


def schedule_of(times):
    """The deadlines modulo the interval, by those documents that were published at once."""
    return max(times, key=lambda one: sum(lateness(at, one) < ON_TIME for at in times))


def check(name, observer, loaded):
    """`loaded` has the times at which the load began and ended."""
    beats, documents = observer.heartbeats, observer.documents
    begun, ended = loaded
    gaps = [after - before for before, after in zip(beats, beats[1:])]
    # The second sample is taken one second after the first, apart from the schedule.
    schedule = schedule_of([at for at, _ in documents[1:]])
    times = [at for at, _ in documents if begun < at < ended]
    late = [lateness(at, schedule) for at in times]
    errors = [abs(document["disks"]["sda"]["reads_per_second"] / READS_PER_SECOND - 1) for _, document in documents]
    print(
        f"# {name}: {len(times)} documents in {ended - begun:.0f} s, at most {max(late, default=0) * 1000:.0f} ms after a deadline;"
        f" rates off by at most {max(errors) * 100:.1f} %; at most {max(gaps):.1f} s between heartbeats",
        flush=True,
    )
    for _, document in documents:
        disk = document["disks"]["sda"]
        assert abs(disk["util_percent"] - 50) <= 50 * TOLERANCE, document
        assert abs(disk["reads_per_second"] / READS_PER_SECOND - 1) <= TOLERANCE, document
    assert max(gaps) < WATCHDOG, f"heartbeats {gaps}"
    assert 2 <= len(times) <= (ended - begun) / INTERVAL + 1, f"{len(times)} documents in {ended - begun} s"
    # Late samples do not move the schedule.
    last = [lateness(at, schedule) for at, _ in documents[-3:]]
    assert min(last) < ON_TIME, f"the last documents are {last} s late"


def under_load(name, load, prefix=(), prepare=lambda _: None):
    """Runs the daemon before, during and after a load, which is a context."""
    with fixture(*SETTINGS) as made:
        prepare(made)
        observer = Observer(made)
        made.start(*prefix, NOTIFY_SOCKET=str(made.root / "notify"), WATCHDOG_USEC=str(int(WATCHDOG * 1e6)))
        wait_for("a document", (made.root / "out/disks.tmp").exists)
        time.sleep(CALM)
        with load(made):
            begun = time.monotonic()
            time.sleep(LOADED)
            ended = time.monotonic()
        time.sleep(CALM + INTERVAL)
        observer.stop()
        made.stop()
        check(name, observer, (begun, ended))
        assert not made.logged(" ERROR "), made.log()


def nice_19():
    under_load("nice 19", loads.busy_processors, ("nice", "-n", "19"))


def cpu_quota():
    """From the start on."""
    controller, limits = loads.quota(1)
    with loads.cgroup(controller, **limits) as (inside, folder):
        under_load("quota of 1 %", contextlib.nullcontext, inside)
        stat = (folder / "cpu.stat").read_text()
        assert int(stat.split("nr_throttled ")[1].split()[0]) > LOADED, stat


def memory_pressure():
    """The daemon shares a small memory with a process that uses much more."""

    def faults(made):
        stat = pathlib.Path(f"/proc/{made.daemon.pid}/stat").read_text()
        return int(stat.rsplit(")", 1)[1].split()[9])

    controller, limits = loads.small_memory()
    with loads.on_disk() as folder, loads.swap(folder), loads.cgroup(controller, **limits) as (inside, _):

        @contextlib.contextmanager
        def load(made):
            with loads.memory_hog(inside):
                before = faults(made)
                yield
                print(f"# {faults(made) - before} pages of the daemon were read from the disk", flush=True)
                assert faults(made) > before, "the daemon was not swapped out"

        under_load("memory pressure", load, inside)


def busy_disk():
    """The outputs and the log are on a disk that is busy all the time."""
    with loads.on_disk() as folder:

        def prepare(made):
            for name in ("out", "logs"):
                (folder / name).mkdir()
                (made.root / name).rmdir()
                (made.root / name).symlink_to(folder / name)

        under_load("busy disk", lambda _: loads.busy_disk(folder), prepare=prepare)


def busy_disk_values():
    """The values of the real disks are those that the kernel's counters allow."""
    with loads.on_disk() as folder, fixture(*SETTINGS) as made:
        for name in ("proc", "sys"):
            made.replace_key(f"host.{name}", f"/{name}")
        with loads.busy_disk(folder):
            readings = Readings(made.root / "out/disks.tmp")
            made.start()
            time.sleep(LOADED)
            readings.stop()
        made.stop()
        busiest = readings.check()
        print(f"# busiest disk: {busiest:.1f} %util", flush=True)
        assert busiest > 90, "no disk was busy"


def processes():
    def cpu_ms(made):
        stat = pathlib.Path(f"/proc/{made.daemon.pid}/schedstat").read_text()
        return int(stat.split()[0]) / 1e6

    @contextlib.contextmanager
    def load(made):
        with loads.many_processes(made.root, PROCESS_COUNT):
            before, begun = cpu_ms(made), time.monotonic()
            yield
            spent = (cpu_ms(made) - before) / (time.monotonic() - begun)
            print(f"# the daemon spent {spent:.1f} ms of CPU a second", flush=True)
            assert spent < MAX_CPU_MS, f"{spent} ms of CPU a second"
            for command in ([PROGRAM, "parents", "running"], made.command("status"), ["sh", "systemd/original-is-stopped"]):
                begun = time.monotonic()
                subprocess.run(command, capture_output=True, check=False, timeout=START_TIMEOUT)
                print(f"# {command[-1]}: {(time.monotonic() - begun) * 1000:.0f} ms", flush=True)

    under_load(f"{PROCESS_COUNT} processes", load)


TESTS = {
    "nice-19": nice_19,
    "cpu-quota-of-1-percent": cpu_quota,
    "memory-pressure-with-swap": memory_pressure,
    "busy-disk": busy_disk,
    "busy-disk-values": busy_disk_values,
    "50000-processes": processes,
}

# No load but that of the test delays the fake /proc/diskstats.
tempfile.tempdir = "/dev/shm"
main("load-", TESTS)
