"""Runs docs/examples/python/shinken_gatherer.py with Python 2.7 and 3 beside the daemon, in each of its states."""

import json
import os
import pathlib
import subprocess
import sys
import time

from fixture import COUNT, DISKS, READY, Skipped, document, fixture, main, paused, replace, wait_for

READER = pathlib.Path("docs/examples/python/shinken_gatherer.py").absolute()
ROOT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")).absolute() / "python2.7"
# The last release with Python 2.7, in the archive once it has left the mirrors.
RELEASE = "bullseye"
MIRRORS = ("http://deb.debian.org/debian", "http://archive.debian.org/debian")
FILES = {"graphite": COUNT, "disks": DISKS, "vmware": READY}
CONFIGURATION = """graphite.interval = "100ms"
disks.interval = "100ms"
vmware.interval = "100ms"
vmware.libraries = ["/nonexistent.so"]
"""
# Contents that are no documents, and the reason.
MALFORMED = {
    b"": "malformed: ",
    b"[1]": "malformed: not an object",
    b'{"schema":2}': "malformed: unsupported schema 2, expected 1",
    b'{"schema":1,"updated_at":1}': "malformed: missing field ",
    b'{"schema":1,"updated_at":"1","hosts":1,"metrics":1,"disks":{},"whisper_disks":[],"is_vmware":true,'
    b'"cpu_ready_percent":1,"cpu_ready_percent_per_vcpu":1,"vcpus":1,"error":null}': 'malformed: updated_at is "1"',
    b'{"schema":1,"updated_at":NaN}': "malformed: NaN is not a number of JSON",
    b'{"schema":1,"updated_at":1e999}': "malformed: 1e999 is not a number of JSON",
    b'{"schema":1,"\xff":0}': "malformed: ",
    b"[" * 1000000: "malformed: ",
    b" " * ((16 << 20) + 1): "larger than 16777216 bytes",
}


def python2():
    """The command of Debian's Python 2.7 with its own libraries, in a folder that is cached."""
    complete = ROOT / "complete"
    for mirror in () if complete.exists() else MIRRORS:
        subprocess.run(["rm", "-rf", ROOT], check=True)
        command = ["mmdebstrap", "--quiet", "--variant=extract", "--include=python2.7", RELEASE, ROOT]
        if subprocess.run([*command, f"deb {mirror} {RELEASE} main"], capture_output=True).returncode == 0:
            complete.touch()
            break
    if not complete.exists():
        raise Skipped("Debian's python2.7 cannot be downloaded")
    (loader,) = ROOT.glob("lib/*/ld-[0-9]*.so")
    libraries = f"{loader.parent}:{ROOT}/usr/lib/{loader.parent.name}"
    return ["env", f"PYTHONHOME={ROOT}/usr", loader, "--library-path", libraries, ROOT / "usr/bin/python2.7"]


class Reader:
    """The reader with the files and the tree of a fixture."""

    def __init__(self, python, made):
        self.python, self.made = python, made

    def file(self, name):
        return self.made.root / "out" / FILES[name]

    def run(self, name, tree="whisper"):
        """Returns the document or the text of the error."""
        arguments = [name, self.file(name), *([self.made.root / tree] if name == "graphite" else [])]
        ended = subprocess.run([*self.python, READER, *arguments], capture_output=True, text=True, timeout=30)
        assert ended.returncode in (0, 3), ended.stderr
        assert (ended.returncode == 0) == (ended.stderr == ""), ended
        return json.loads(ended.stdout) if ended.returncode == 0 else ended.stderr.rstrip("\n")

    def cannot(self, name, reason):
        answer, expected = self.run(name), f"cannot read the file {self.file(name)}: {reason}"
        assert isinstance(answer, str) and answer.startswith(expected), f"{answer} is not {expected}"


def states(python):
    """Never ran, runs, stopped, killed: the table of the specification."""
    with fixture(CONFIGURATION) as made:
        reader = Reader(python, made)
        own = reader.run("graphite")
        assert (own["hosts"], own["metrics"]) == (1, 1) and abs(own["updated_at"] - time.time()) < 60, own
        reader.cannot("disks", "No such file or directory")
        never = reader.run("vmware")
        assert never["is_vmware"] is False and never["cpu_ready_percent"] is None, never

        made.start()
        for name in FILES:
            wait_for(name, reader.file(name).exists)
        with paused(made.daemon):
            for name in FILES:
                assert reader.run(name) == document(reader.file(name)), name
        (made.root / "whisper/added").mkdir()
        wait_for("the next count", lambda: reader.run("graphite")["hosts"] == 2)

        made.stop()
        kept = {name: document(reader.file(name)) for name in ("graphite", "vmware")}
        (made.root / "whisper/later").mkdir()
        assert reader.run("graphite") == kept["graphite"] and kept["graphite"]["hosts"] == 2
        assert reader.run("vmware") == kept["vmware"] and kept["vmware"]["is_vmware"] is True
        reader.cannot("disks", "No such file or directory")


def wrong_values(python):
    """Files of a gatherer that ended long ago: the disk file, which a crash of the machine left, is not accepted. Nor are wrong types."""
    with fixture(CONFIGURATION) as made:
        reader = Reader(python, made)
        made.start()
        for name in FILES:
            wait_for(name, reader.file(name).exists)
        made.kill()
        for name in FILES:
            old = document(reader.file(name)) | {"updated_at": 7}
            replace(reader.file(name), json.dumps(old) + "\n")
            if name == "disks":
                reader.cannot(name, "outdated: ")
                replace(reader.file(name), json.dumps(old | {"updated_at": int(time.time()) + 3660}))
                reader.cannot(name, "updated_at is 36")
            else:
                assert reader.run(name) == old
            field = {"graphite": "metrics", "disks": "disks", "vmware": "is_vmware"}[name]
            replace(reader.file(name), json.dumps(old | {field: None}))
            reader.cannot(name, f"malformed: {field} is null")


def hostile(python):
    """No file that is not a document is read, followed or waited for."""
    with fixture(CONFIGURATION) as made:
        reader, secret = Reader(python, made), made.root / "secret"
        secret.write_text('{"schema":1}')
        for name in FILES:
            path = reader.file(name)
            for reason, place in (
                ("is a symbolic link", lambda: path.symlink_to(secret)),
                ("is a symbolic link", lambda: path.symlink_to("/nonexistent")),
                ("not a regular file", lambda: os.mkfifo(path)),
                ("owned by uid 65534, must be owned by root or shinken-gatherer", lambda: (path.touch(), os.chown(path, 65534, 65534))),
            ):
                place()
                reader.cannot(name, reason)
                path.unlink()
            path.mkdir()
            reader.cannot(name, "not a regular file")
            path.rmdir()
            for content, reason in MALFORMED.items():
                path.write_bytes(content)
                reader.cannot(name, reason)
            path.unlink()


def same_count(python):
    """Without a file, the reader counts what the gatherer counts."""
    with fixture(CONFIGURATION) as made:
        tree = os.fsencode(made.root / "whisper")
        names = (b"lost+found/x.wsp", b"host/lost+found/a.wsp", b"caf\xe9/\xff.wsp", b"x.wsp/y.wsp", b"host/.wsp", b"host/a.WSP", b"empty/a")
        for name in names:
            os.makedirs(os.path.join(tree, os.path.dirname(name)), exist_ok=True)
            open(os.path.join(tree, name), "wb").close()
        os.mkfifo(tree + b"/host/fifo.wsp")
        os.symlink(b"/nonexistent", tree + b"/host/link.wsp")
        os.symlink(b"host", tree + b"/link")
        os.symlink(b"whisper", tree + b"\xff")
        own = Reader(python, made).run("graphite", os.fsdecode(b"whisper\xff"))
        once = subprocess.run(made.command("once", "--json", "--window", "10ms"), capture_output=True)
        count = json.loads(once.stdout)["graphite"]
        assert (own["hosts"], own["metrics"]) == (count["hosts"], count["metrics"]), (own, count)
        assert count["hosts"] == 4 and count["metrics"] == 6, count


if __name__ == "__main__":
    pythons = {"python2": python2, "python3": lambda: [sys.executable]}
    tests = (states, wrong_values, hostile, same_count)
    named = {(test.__name__, name): (test, python) for name, python in pythons.items() for test in tests}
    main("reader::", {"_".join(key): lambda test=test, python=python: test(python()) for key, (test, python) in named.items()})
