"""A FUSE file system that shows a directory and fails on demand: failing.py DIRECTORY MOUNT FAULTS INJECTED

FAULTS is a file of lines "OPERATION ERRNO", read at each operation. With the errno "short", a write accepts half of its data.
Each injected fault adds a byte to INJECTED.
"""

import errno
import os
import sys

from fusepy import FUSE, FuseOSError, Operations

DIRECTORY, MOUNT, FAULTS, INJECTED = sys.argv[1:]
FIELDS = ("st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid")
# The operations, each with the real path first.
REAL = {
    "getattr": lambda path, *_: {field: getattr(os.lstat(path), field) for field in FIELDS},
    "readdir": lambda path, *_: [".", "..", *os.listdir(path)],
    "create": lambda path, mode, *_: os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode),
    "open": lambda path, flags: os.open(path, os.O_RDONLY if flags & os.O_ACCMODE == os.O_RDONLY else os.O_RDWR),
    "read": lambda _, size, offset, descriptor: os.pread(descriptor, size, offset),
    "write": lambda _, data, offset, descriptor: os.pwrite(descriptor, data, offset),
    "truncate": lambda path, length, *_: os.truncate(path, length),
    "flush": lambda *_: 0,
    "fsync": lambda _, data_only, descriptor: os.fsync(descriptor),
    "fsyncdir": lambda *_: 0,
    "release": lambda _, descriptor: os.close(descriptor),
    "rename": lambda old, new: os.rename(old, DIRECTORY + new),
    "unlink": os.unlink,
    "chmod": os.chmod,
    "utimens": lambda path, times=None: os.utime(path, times),
}


class Failing(Operations):
    def __call__(self, operation, path, *arguments):
        if operation not in REAL:
            return super().__call__(operation, path, *arguments)
        with open(FAULTS) as file:
            fault = dict(line.split() for line in file).get(operation)
        if fault:
            with open(INJECTED, "a") as file:
                file.write(".")
        if fault == "short":
            data, *rest = arguments
            arguments = (data[: (len(data) + 1) // 2], *rest)
        elif fault:
            raise FuseOSError(getattr(errno, fault))
        return REAL[operation](DIRECTORY + (path or ""), *arguments)


# The kernel keeps nothing, so that every operation reaches this process.
uncached = {"attr_timeout": 0, "entry_timeout": 0, "direct_io": True}
FUSE(Failing(), MOUNT, foreground=True, nothreads=True, hard_remove=True, **uncached)
