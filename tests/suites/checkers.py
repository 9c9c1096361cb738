"""Runs Nagios, Icinga 2 and NRPE on the example definitions and compares the states with the expected answers."""

import functools
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

from fixture import DISKS, OUTPUTS, PROGRAM, fixture, main, running, wait_for

EXAMPLES = pathlib.Path("docs/examples").absolute()
INSTALLED = "/usr/sbin/shinken-gatherer"

NAGIOS_CFG = """log_file={root}/nagios.log
cfg_file=/etc/nagios4/objects/templates.cfg
cfg_file=/etc/nagios4/objects/timeperiods.cfg
cfg_file=/etc/nagios4/objects/contacts.cfg
cfg_file=/etc/nagios4/objects/commands.cfg
cfg_file={root}/host.cfg
cfg_file={root}/nagios-shinken-gatherer.cfg
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
include "%(root)s/icinga2-shinken-gatherer.conf"
"""
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
    values = {"cpu_ready_percent": total, "cpu_ready_percent_per_vcpu": total / 4, "vcpus": 4, "error": None}
    return {"interval_seconds": 10, "window_seconds": 60.0, "is_vmware": True} | values


OLD = {"updated_at": 1600000000}
# For each scenario and check: the document (None: no file), the state, the beginning of the text and of the perfdata.
SCENARIOS = {
    "all well": {
        "graphite": (count(1000000), 0, "GRAPHITE OK: 1000000 metrics, 4000 hosts, counted ", "metrics=1000000;1500000;2000000;0 hosts=4000;;;0 age="),
        "disks": (disks(sda=12.3), 0, "DISKS OK: %util sda 12.3% over 60 s", "sda_util=12.3%;75;90;0;100 age="),
        "vmware": (ready(1.84), 0, "VMWARE OK: 0.46% ready per vCPU, 1.84% in total on 4 vCPUs over 60 s", "cpu_ready_per_vcpu=0.46%;5;10;0;100 cpu_ready=1.84%;;;0;400 age="),
    },
    "trouble": {
        "graphite": (count(2500000), 2, "GRAPHITE CRITICAL: 2500000 metrics (above 2000000), 4000 hosts, counted ", "metrics=2500000;1500000;2000000;0 "),
        "disks": (disks(cciss__c0d0=99.5, sda=85.0), 2, "DISKS CRITICAL: %util cciss/c0d0 99.5% (above 90), sda 85.0% (above 75)", "cciss/c0d0_util=99.5%;75;90;0;100 "),
        "vmware": (ready(24.0), 1, "VMWARE WARNING: 6.00% ready per vCPU (above 5), 24.00% in total", "cpu_ready_per_vcpu=6%;5;10;0;100 "),
    },
    "never ran": {
        "graphite": (None, 0, "GRAPHITE OK: 1 metrics, 1 hosts, counted by this check, ", "metrics=1;1500000;2000000;0 hosts=1;;;0 age=0s;;;0"),
        "disks": (None, 3, "DISKS UNKNOWN: cannot read the file ", ""),
        "vmware": (None, 0, "VMWARE OK: not a VMware VM", ""),
    },
    "stopped": {
        "graphite": (count(1000000) | OLD, 1, "GRAPHITE WARNING: 1000000 metrics, 4000 hosts, outdated: ", "metrics=1000000;1500000;2000000;0 "),
        "disks": (None, 3, "DISKS UNKNOWN: cannot read the file ", ""),
        "vmware": (ready(1.84) | OLD, 1, "VMWARE WARNING: 0.46% ready per vCPU, 1.84% in total on 4 vCPUs over 60 s, outdated: ", "cpu_ready_per_vcpu=0.46%;5;10;0;100 "),
    },
    "20 disks": {
        "graphite": (count(1000000), 0, "GRAPHITE OK: ", "metrics="),
        "disks": (disks(**{f"nvme{n}n1": n * 5.0 for n in range(20)}), 2, "DISKS CRITICAL: %util nvme19n1 95.0% (above 90), ", "nvme0n1_util=0%;75;90;0;100 "),
        "vmware": (ready(1.84), 0, "VMWARE OK: ", "cpu_ready_per_vcpu="),
    },
}


def set_scene(made, scene):
    """Publishes the documents of a scenario and installs the program and the examples for it."""
    root = made.root
    root.chmod(0o755)
    for check, (document, *_expected) in scene.items():
        if document is not None:
            document = {"schema": 1, "updated_at": int(time.time())} | document
            (root / "out" / OUTPUTS[check]).write_text(json.dumps(document) + "\n")
    if scene["vmware"][0] is None:
        (root / "sys/class/dmi/id/sys_vendor").write_text("QEMU\n")
    shutil.copy(PROGRAM, root / "program")
    installed = root / "shinken-gatherer"
    installed.write_text(f'#!/bin/sh\nexec {root}/program --config {root}/gatherer.toml "$@"\n')
    installed.chmod(0o755)
    for example in ("nagios/shinken-gatherer.cfg", "icinga2/shinken-gatherer.conf", "nrpe/shinken-gatherer.cfg"):
        text = (EXAMPLES / example).read_text()
        # Icinga spreads the first checks over up to a minute of their interval.
        text = re.sub(r"(check_interval|retry_interval) = \w+", r"\1 = 1s", text)
        assert text.count(INSTALLED) > 0, example
        (root / example.replace("/", "-")).write_text(text.replace(INSTALLED, str(installed)))
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
    return found if len(found) == len(OUTPUTS) else None


def nagios(scene):
    with fixture() as made:
        root = made.root
        set_scene(made, scene)
        (root / "nagios.cfg").write_text(NAGIOS_CFG.format(root=root))
        (root / "host.cfg").write_text(NAGIOS_HOST)
        shutil.chown(root, "nagios", "nagios")
        verified = subprocess.run(["nagios4", "-v", root / "nagios.cfg"], capture_output=True, text=True)
        assert verified.returncode == 0, verified.stdout
        with running("nagios4", root / "nagios.cfg", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            compare(scene, wait_for("Nagios to run the checks", lambda: all_checked(root / "nagios.dat")))


def icinga(scene):
    with fixture() as made, socket.create_server(("127.0.0.1", 0)) as graphite:
        root, user, received = made.root, pwd.getpwnam("nagios"), bytearray()
        set_scene(made, scene)

        def receive():
            try:
                connection, _ = graphite.accept()
            except OSError:
                return  # the test has ended without a connection
            while chunk := connection.recv(65536):
                received.extend(chunk)

        threading.Thread(target=receive, daemon=True).start()
        (root / "icinga2.conf").write_text(ICINGA_CONF % {"root": root, "port": graphite.getsockname()[1]})
        shutil.chown(root, "nagios", "nagios")
        folders = ("DataDir", "LogDir", "CacheDir", "SpoolDir", "InitRunDir")
        command = ["icinga2", "daemon", "-c", root / "icinga2.conf"]
        command += [word for name in folders for word in ("-D", f"Configuration.{name}={root}")]
        rights = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        environment = {"PATH": os.environ["PATH"], "HOME": str(root)}
        with open(made.log_file, "w") as output:
            streams = {"stdout": output, "stderr": subprocess.STDOUT}
            with running(*command, **rights, **streams, env=environment, process_group=0) as process:
                try:
                    found = wait_for("Icinga to run the checks", lambda: all_checked(root / "icinga.dat"))
                    compare(scene, found)
                    # Icinga forwards only perfdata that its parser accepted.
                    for _document, _state, _text, perfdata in scene.values():
                        if perfdata:
                            label, value = perfdata.split(";")[0].rstrip("%").split("=")
                            metric = rf"\.perfdata\.{label.replace('/', '_')}\.value {value}0* ".encode()
                            wait_for(f"{metric} in {bytes(received)}", lambda: re.search(metric, received))
                    assert "invalid perf" not in (root / "icinga2.log").read_text().lower(), "Icinga refused perfdata"
                finally:
                    process.terminate()
                    process.wait(20)


def nrpe(scene):
    """A real check_nrpe, also with the protocol of NRPE 2, which truncates an answer at 1 KiB."""
    with fixture() as made, socket.create_server(("127.0.0.1", 0)) as reserved:
        root, port = made.root, str(reserved.getsockname()[1])
        reserved.close()
        set_scene(made, scene)
        options = ["server_address=127.0.0.1", f"server_port={port}", "nrpe_user=nagios", "nrpe_group=nagios"]
        options += [f"pid_file={root}/nrpe.pid", "allowed_hosts=127.0.0.1", f"include={root}/nrpe-shinken-gatherer.cfg"]
        (root / "nrpe.cfg").write_text("\n".join(options) + "\n")

        def answer(check, *version):
            command = ["/usr/lib/nagios/plugins/check_nrpe", "-H", "127.0.0.1", "-p", port, *version, "-c", f"gatherer_{check}"]
            return subprocess.run(command, capture_output=True, text=True)

        with running("nrpe", "-c", root / "nrpe.cfg", "-f"):
            wait_for("NRPE to answer", lambda: "Connection refused" not in answer("disks").stderr)
            for check, (_document, state, text, perfdata) in scene.items():
                for version in ([], ["-2"]):
                    run = answer(check, *version)
                    line, _, values = run.stdout.partition(" | ")
                    assert (run.returncode, line[:len(text)], values[:len(perfdata)]) == (state, text, perfdata), run
                    assert not perfdata or " age=" in values, run


def strict_parser(scene):
    """Monitoring::Plugin::Performance dies on invalid perfdata, but does not support ranges with an @."""
    parse = "use Monitoring::Plugin::Performance use_die => 1; print join(' ', map { $_->perfoutput }"
    parse += " Monitoring::Plugin::Performance->parse_perfstring($ARGV[0]));"
    with fixture() as made:
        installed = set_scene(made, scene)
        for check in OUTPUTS:
            for options in ([], ["-w", "~:5", "-c", "10:20"]):
                answer = subprocess.run([installed, "check", check, *options], capture_output=True, text=True)
                text, _, perfdata = answer.stdout.partition(" | ")
                assert answer.returncode in range(4) and answer.stdout.count("\n") == 1, answer
                if not perfdata:
                    continue
                parsed = subprocess.run(["perl", "-e", parse, perfdata.strip()], capture_output=True, text=True)
                assert parsed.returncode == 0, (perfdata, parsed.stderr)
                written = [value.rstrip(";") for value in perfdata.split()]
                assert [value.rstrip(";") for value in parsed.stdout.split()] == written, (text, written, parsed.stdout)


main("checkers::", {
    f"{checker.__name__}_{name.replace(' ', '_')}": functools.partial(checker, SCENARIOS[name])
    for checker, scenarios in {
        nagios: ("all well", "trouble", "never ran", "stopped"),
        icinga: ("all well", "trouble", "never ran", "stopped"),
        nrpe: ("all well", "never ran", "stopped", "20 disks"),
        strict_parser: SCENARIOS,
    }.items()
    for name in scenarios
})
