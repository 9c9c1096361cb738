# -*- coding: utf-8 -*-
"""Reads the files that shinken-gatherer publishes. Needs Python 2.7, or 3.5 or later, and nothing else.

    from shinken_gatherer import CannotRead, graphite, disks, vmware

              gatherer runs           gatherer stopped            gatherer never ran
    graphite  the published count     the last count, outdated    counts the whisper tree by itself
    disks     the published values    raises CannotRead           raises CannotRead
    vmware    the published values    the last measured values    {"is_vmware": False, ...}

Each function returns the document as a dictionary. docs/schema describes the fields. A file that is not a document of the
gatherer raises CannotRead: one that is a link, not a regular file, another user's, too large, or malformed.

To print a document as JSON: python shinken_gatherer.py disks|vmware [FILE], or graphite [FILE [WHISPER_DIR]]
"""

from __future__ import print_function

import errno
import io
import json
import os
import pwd
import stat
import sys
import time

WHISPER_DIRS = ("/opt/graphite/storage/whisper", "/var/lib/graphite/whisper", "/var/lib/carbon/whisper")
DISKS_FILE = "/tmp/__check_graphite_iostats.tmp"
VMWARE_FILE = "/dev/shm/vmware_stats_export.dat"
MAX_BYTES = 16 << 20
SCHEMA = 1
SERVICE_USER = "shinken-gatherer"

NULL, TEXT = type(None), type(u"")
# The types of the fields. docs/schema has all.
GRAPHITE_FIELDS = {"hosts": [int], "metrics": [int]}
DISKS_FIELDS = {"disks": [dict], "whisper_disks": [list]}
VMWARE_FIELDS = {
    "is_vmware": [bool],
    "cpu_ready_percent": [int, float, NULL],
    "cpu_ready_percent_per_vcpu": [int, float, NULL],
    "vcpus": [int, NULL],
    "error": [TEXT, NULL],
}


class CannotRead(Exception):
    """The file does not exist or is not a document of the gatherer. The text begins with "cannot read the file"."""

    def __init__(self, path, reason):
        Exception.__init__(self, "cannot read the file {0}: {1}".format(path, reason))


def graphite(path=None, whisper_dir=None):
    """Returns the numbers of hosts and metrics. If the gatherer never ran, counts the whisper tree, which may take long."""
    if whisper_dir is None:
        whisper_dir = next((folder for folder in WHISPER_DIRS if os.path.isdir(folder)), WHISPER_DIRS[0])
    path = path or whisper_dir + ".nb_metrics"
    return _read(path, GRAPHITE_FIELDS) or _count(whisper_dir)


def disks(path=DISKS_FILE, max_age=300):
    """Returns the activity of the physical disks. Raises CannotRead if the gatherer does not run.

    A file that is older than `max_age` seconds is not accepted: the gatherer is frozen. Nor is one from the future.
    """
    document = _read(path, DISKS_FIELDS)
    if document is None:
        raise CannotRead(path, os.strerror(errno.ENOENT))
    age = int(time.time()) - document["updated_at"]
    if age > max_age:
        raise CannotRead(path, "outdated: {0} s old, the limit is {1} s".format(age, max_age))
    if age < -60:
        raise CannotRead(path, "updated_at is {0} s in the future".format(-age))
    return document


def vmware(path=VMWARE_FILE):
    """Returns the CPU time that VMware withholds. If there is no file, this is not a VMware VM."""
    document = _read(path, VMWARE_FIELDS)
    if document is None:
        document = dict.fromkeys(VMWARE_FIELDS)
        document["is_vmware"] = False
    return document


def _read(path, fields):
    """Returns the document at `path`, None if there is no file. Does not follow a link at `path`, and does not block."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        reason = "is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise CannotRead(path, reason)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CannotRead(path, "not a regular file")
        if found.st_uid not in _trusted_users():
            raise CannotRead(path, "owned by uid {0}, must be owned by root or {1}".format(found.st_uid, SERVICE_USER))
        with io.open(descriptor, "rb", closefd=False) as opened:
            text = opened.read(MAX_BYTES + 1)
    except EnvironmentError as error:
        raise CannotRead(path, error.strerror)
    finally:
        os.close(descriptor)
    if len(text) > MAX_BYTES:
        raise CannotRead(path, "larger than {0} bytes".format(MAX_BYTES))
    try:
        return _parse(text.decode("utf-8"), fields)
    # RuntimeError: nested too deeply.
    except (ValueError, RuntimeError) as error:
        raise CannotRead(path, "malformed: {0}".format(error))


def _parse(text, fields):
    document = json.loads(text, parse_constant=_reject, parse_float=_finite)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    if document.get("schema") != SCHEMA:
        raise ValueError("unsupported schema {0!r}, expected {1}".format(document.get("schema"), SCHEMA))
    for field, types in [("updated_at", [int])] + sorted(fields.items()):
        if field not in document:
            raise ValueError("missing field {0}".format(field))
        if type(document[field]) not in types:
            raise ValueError("{0} is {1}".format(field, json.dumps(document[field])[:40]))
    return document


def _reject(name):
    raise ValueError("{0} is not a number of JSON".format(name))


def _finite(text):
    number = float(text)
    return number if abs(number) != float("inf") else _reject(text)


def _trusted_users():
    """Returns the users whose files are accepted: in /tmp, any user can create a file while the gatherer does not run."""
    users = {0, os.geteuid()}
    try:
        users.add(pwd.getpwnam(SERVICE_USER).pw_uid)
    except KeyError:
        pass
    return users


def _count(whisper_dir):
    """Counts the tree as the gatherer does with its default configuration. A directory that cannot be read is skipped."""
    # Names need not be UTF-8, so they are bytes.
    encode = getattr(os, "fsencode", lambda text: text.encode("utf-8"))
    root = whisper_dir if isinstance(whisper_dir, bytes) else encode(whisper_dir)
    hosts = metrics = 0
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            names = os.listdir(folder)
        except OSError as error:
            if folder is root:
                raise CannotRead(whisper_dir, error.strerror)
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            if stat.S_ISDIR(mode):
                if folder is root and name == b"lost+found":
                    continue
                hosts += folder is root
                pending.append(path)
            elif name.endswith(b".wsp"):
                metrics += stat.S_ISREG(mode) or stat.S_ISLNK(mode)
    return {"hosts": hosts, "metrics": metrics, "updated_at": int(time.time())}


def main(arguments):
    functions = {"graphite": graphite, "disks": disks, "vmware": vmware}
    longest = 3 if arguments[:1] == ["graphite"] else 2
    if not 1 <= len(arguments) <= longest or arguments[0] not in functions:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(json.dumps(functions[arguments[0]](*arguments[1:]), sort_keys=True))
    except CannotRead as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
