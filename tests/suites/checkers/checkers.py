"""Runs Nagios and Icinga 2 on the example definitions and compares their status files with the expected answers."""

import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM, EXAMPLES = os.path.abspath(sys.argv[1]), pathlib.Path("docs/examples").absolute()
INSTALLED = "/usr/sbin/shinken-gatherer"

NAGIOS_CFG = """log_file={root}/nagios.log
cfg_file=/etc/nagios4/objects/templates.cfg
cfg_file=/etc/nagios4/objects/timeperiods.cfg
cfg_file=/etc/nagios4/objects/contacts.cfg
cfg_file=/etc/nagios4/objects/commands.cfg
cfg_file={root}/host.cfg
cfg_file={root}/shinken-gatherer.cfg
object_cache_file={root}/objects.cache
status_file={root}/nagios.dat
status_update_interval=1
nagios_user=nagios
nagios_group=nagios
check_external_commands=0
command_file={root}/nagios.cmd
query_socket={root}/nagios.qh
lock_file={root}/nagios.pid
temp_file={root}/nagios.tmp
temp_path={root}
check_result_path={root}
state_retention_file={root}/retention.dat
check_result_reaper_frequency=1
service_inter_check_delay_method=n
host_inter_check_delay_method=n
enable_notifications=0
check_for_updates=0
"""
# The templates of Nagios include the commands and contacts.
NAGIOS_HOST = """define host {
    use generic-host
    host_name localhost
    address 127.0.0.1
    max_check_attempts 1
    contact_groups admins
    check_period 24x7
}
"""
ICINGA_CONF = """const NodeName = "test"
object CheckerComponent "checker" { }
object FileLogger "log" { path = "%(root)s/icinga2.log" }
object StatusDataWriter "status" {
  status_path = "%(root)s/icinga.dat"
  objects_path = "%(root)s/icinga.objects"
  update_interval = 1s
}
object GraphiteWriter "perfdata" {
  host = "127.0.0.1"
  port = %(port)s
  enable_send_thresholds = true
}
object CheckCommand "passive-ok" { command = [ "/bin/true" ] }
object Host "localhost" {
  check_command = "passive-ok"
  vars.shinken_gatherer = true
}
include "%(root)s/shinken-gatherer.conf"
"""
CHECKS = ("graphite", "disks", "vmware")
# Names of the services in the two examples.
SERVICES = {
    "Graphite metrics": "graphite",
    "Graphite writer disks": "disks",
    "VMware CPU ready": "vmware",
    "graphite-metrics": "graphite",
    "graphite-writer-disks": "disks",
    "vmware-cpu-ready": "vmware",
}


def count(metrics):
    return {"hosts": 4000, "metrics": metrics, "scan_seconds": 0.1, "interval_seconds": 900}


def disks(**util):
    disk = {"reads_per_second": 1.0, "read_bytes_per_second": 512.0, "write_bytes_per_second": 512.0}
    disk |= {"read_await_ms": 0.8, "write_await_ms": 1.9, "queue_size": 0.15, "writes_per_second": 3.0}
    found = {name.replace("__", "/"): disk | {"util_percent": value} for name, value in util.items()}
    return {"interval_seconds": 10, "window_seconds": 60.0, "disks": found, "whisper_disks": []}


def ready(total):
    figures = {"cpu_ready_percent": total, "cpu_ready_percent_per_vcpu": total / 4, "vcpus": 4, "error": None}
    return {"interval_seconds": 10, "window_seconds": 60.0, "is_vmware": True} | figures


# For each scenario and check: the document (None: no file), the state, the beginning of the text and of the perfdata.
SCENARIOS = {
    "all well": {
        "graphite": (count(1000000), 0, "GRAPHITE OK: 1000000 metrics, 4000 hosts, counted ", "metrics=1000000;1500000;2000000;0 hosts=4000;;;0 age="),
        "disks": (disks(sda=12.3), 0, "DISKS OK: %util sda 12.3% over 60 s", "sda_util=12.3%;80;95;0;100 sda_read_await=0.0008s;;;0 sda_write_await=0.0019s;;;0 sda_queue=0.15;;;0 age="),
        "vmware": (ready(1.84), 0, "VMWARE OK: 0.46% ready per vCPU, 1.84% in total on 4 vCPUs over 60 s", "cpu_ready_per_vcpu=0.46%;5;10;0;100 cpu_ready=1.84%;;;0;400 age="),
    },
    "trouble": {
        "graphite": (count(2500000), 2, "GRAPHITE CRITICAL: 2500000 metrics (above 2000000), 4000 hosts, counted ", "metrics=2500000;1500000;2000000;0 "),
        "disks": (disks(cciss__c0d0=99.5, sda=85.0), 2, "DISKS CRITICAL: %util cciss/c0d0 99.5% (above 95), sda 85.0% (above 80)", "cciss/c0d0_util=99.5%;80;95;0;100 "),
        "vmware": (ready(24.0), 1, "VMWARE WARNING: 6.00% ready per vCPU (above 5), 24.00% in total", "cpu_ready_per_vcpu=6%;5;10;0;100 "),
    },
    "never ran": {
        "graphite": (None, 0, "GRAPHITE OK: 1 metrics, 1 hosts, counted by this check, ", "metrics=1;1500000;2000000;0 hosts=1;;;0 age=0s;;;0"),
        "disks": (None, 3, "DISKS UNKNOWN: cannot read the file ", ""),
        "vmware": (None, 0, "VMWARE OK: not a VMware VM", ""),
    },
}


def wait_for(what, condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")


def set_scene(root, scene):
    """Publishes the documents of a scenario and installs the program and the examples for it."""
    root.chmod(0o755)
    (root / "whisper/web1").mkdir(parents=True)
    (root / "whisper/web1/load.wsp").touch()
    (root / "gatherer.toml").write_text(
        f'state_dir = "{root}/state"\nhost.run = "{root}/run"\n[graphite]\nwhisper_dir = "{root}/whisper"\noutput = "{root}/graphite.json"\n'
        f'[disks]\noutput = "{root}/disks.json"\n[vmware]\noutput = "{root}/vmware.json"\n'
    )
    for check, (document, *_expected) in scene.items():
        if document is not None:
            document = {"schema": 1, "updated_at": int(time.time())} | document
            (root / f"{check}.json").write_text(json.dumps(document) + "\n")
    shutil.copy(PROGRAM, root / "program")
    installed = root / "shinken-gatherer"
    installed.write_text(f'#!/bin/sh\nexec {root}/program --config {root}/gatherer.toml "$@"\n')
    installed.chmod(0o755)
    for example in ("nagios/shinken-gatherer.cfg", "icinga2/shinken-gatherer.conf"):
        text = (EXAMPLES / example).read_text()
        # Icinga spreads the first checks over up to a minute of their interval.
        text = re.sub(r"(check_interval|retry_interval) = \w+", r"\1 = 1s", text)
        assert text.count(INSTALLED) > 0, example
        (root / pathlib.Path(example).name).write_text(text.replace(INSTALLED, str(installed)))
    return installed


def statuses(path):
    """The checked services of a status file, by the check that they run."""
    found, service = {}, None
    for line in path.read_text().splitlines() if path.exists() else []:
        line = line.strip()
        if line.startswith("servicestatus"):
            service = {}
        elif line == "}" and service is not None:
            if service.get("has_been_checked") == "1":
                found[SERVICES[service["service_description"]]] = service
            service = None
        elif service is not None and "=" in line:
            key, value = line.split("=", 1)
            service[key] = value
    return found


def compare(scene, found):
    for check, (_document, state, text, perfdata) in scene.items():
        service = found[check]
        assert service["current_state"] == str(state), (check, service)
        assert service["plugin_output"].startswith(text), (check, service["plugin_output"])
        assert service["performance_data"].startswith(perfdata), (check, service["performance_data"])
        assert bool(service["performance_data"]) == bool(perfdata), (check, service["performance_data"])


def all_checked(path):
    found = statuses(path)
    return found if len(found) == len(CHECKS) else None


def nagios(root, scene):
    set_scene(root, scene)
    (root / "nagios.cfg").write_text(NAGIOS_CFG.format(root=root))
    (root / "host.cfg").write_text(NAGIOS_HOST)
    shutil.chown(root, "nagios", "nagios")
    verified = subprocess.run(["nagios4", "-v", root / "nagios.cfg"], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout
    process = subprocess.Popen(["nagios4", root / "nagios.cfg"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        compare(scene, wait_for("Nagios to run the checks", lambda: all_checked(root / "nagios.dat")))
    finally:
        process.terminate()
        process.wait()


def icinga(root, scene):
    set_scene(root, scene)
    with socket.create_server(("127.0.0.1", 0)) as graphite:
        received = bytearray()

        def receive():
            try:
                connection, _ = graphite.accept()
            except OSError:
                return  # the test has ended without a connection
            while chunk := connection.recv(65536):
                received.extend(chunk)

        threading.Thread(target=receive, daemon=True).start()
        text = ICINGA_CONF % {"root": root, "port": graphite.getsockname()[1]}
        (root / "icinga2.conf").write_text(text)
        shutil.chown(root, "nagios", "nagios")
        user = pwd.getpwnam("nagios")
        process = subprocess.Popen(
            ["icinga2", "daemon", "-c", root / "icinga2.conf"]
            + [word for name in ("DataDir", "LogDir", "CacheDir", "SpoolDir", "InitRunDir") for word in ("-D", f"Configuration.{name}={root}")],
            stdout=(root / "icinga2.out").open("w"),
            stderr=subprocess.STDOUT,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            env={"PATH": os.environ["PATH"], "HOME": str(root)},
        )
        try:
            found = wait_for("Icinga to run the checks", lambda: all_checked(root / "icinga.dat"))
            compare(scene, found)
            # Icinga forwards only perfdata that its parser accepted.
            for check, (_document, _state, _text, perfdata) in scene.items():
                if perfdata:
                    label, value = perfdata.split(";")[0].rstrip("%").split("=")
                    metric = re.compile(rf"\.perfdata\.{label.replace('/', '_')}\.value {value}0* ".encode())
                    wait_for(f"{metric.pattern} in {bytes(received)}", lambda: metric.search(received))
            assert "invalid perf" not in (root / "icinga2.log").read_text().lower(), "Icinga refused perfdata"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(root / 'icinga2.out').read_text()}") from error
        finally:
            process.terminate()
            process.wait()


def strict_parser(root, scene):
    """Monitoring::Plugin::Performance dies on invalid perfdata, but does not support ranges with an @."""
    installed = set_scene(root, scene)
    parse = "use Monitoring::Plugin::Performance use_die => 1; my @p = Monitoring::Plugin::Performance->parse_perfstring($ARGV[0]);"
    parse += 'print join(" ", map { $_->perfoutput } @p);'
    for check in CHECKS:
        for options in ([], ["-w", "~:5", "-c", "10:20"]):
            answer = subprocess.run([installed, "check", check, *options], capture_output=True, text=True)
            text, _, perfdata = answer.stdout.partition(" | ")
            assert answer.returncode in range(4) and answer.stdout.count("\n") == 1, answer
            if not perfdata:
                continue
            parsed = subprocess.run(["perl", "-e", parse, perfdata.strip()], capture_output=True, text=True)
            assert parsed.returncode == 0, (perfdata, parsed.stderr)
            written = [figure.rstrip(";") for figure in perfdata.split()]
            assert [figure.rstrip(";") for figure in parsed.stdout.split()] == written, (text, written, parsed.stdout)


for checker in (nagios, icinga, strict_parser):
    for name, scene in SCENARIOS.items():
        label = f"checkers::{checker.__name__}_{name.replace(' ', '_')}"
        try:
            with tempfile.TemporaryDirectory() as directory:
                checker(pathlib.Path(directory), scene)
            print(f"ok {label}", flush=True)
        except Exception as error:  # whatever went wrong is this test's failure, not the next one's
            print(f"{type(error).__name__}: {error}\nnot ok {label}", flush=True)
