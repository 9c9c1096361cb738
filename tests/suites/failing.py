"""A FUSE file system that shows a directory and fails on demand: failing.py DIRECTORY MOUNT FAULTS INJECTED

FAULTS is a file of lines "OPERATION ERRNO", read at each operation ("any" stands for all that change something, and
the errno "short" makes a write take half of what it is given). Each fault injected adds a byte to INJECTED.
"""

import errno
import os
import sys

from fusepy import FUSE, FuseOSError, Operations

CHANGES = ("create", "write", "chmod", "rename", "unlink", "truncate")


class Failing(Operations):
    def __init__(self, directory, faults, injected):
        self.directory, self.faults, self.injected = directory, faults, injected

    def real(self, path):
        return self.directory + path

    def fault(self, operation):
        with open(self.faults) as file:
            faults = dict(line.split() for line in file)
        name = faults.get(operation) or (faults.get("any") if operation in CHANGES else None)
        if name:
            with open(self.injected, "a") as file:
                file.write(".")
        return name

    def __call__(self, operation, *arguments):
        name = self.fault(operation)
        if name == "short":
            path, data, offset, descriptor = arguments
            arguments = (path, data[: (len(data) + 1) // 2], offset, descriptor)
        elif name:
            raise FuseOSError(getattr(errno, name))
        return super().__call__(operation, *arguments)

    def getattr(self, path, descriptor=None):
        status = os.lstat(self.real(path))
        fields = ("st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid")
        return {field: getattr(status, field) for field in fields}

    def readdir(self, path, _):
        return [".", ".."] + os.listdir(self.real(path))

    def create(self, path, mode):
        return os.open(self.real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(self.real(path), os.O_RDONLY if flags & os.O_ACCMODE == os.O_RDONLY else os.O_RDWR)

    def read(self, _, size, offset, descriptor):
        return os.pread(descriptor, size, offset)

    def write(self, _, data, offset, descriptor):
        return os.pwrite(descriptor, data, offset)

    def truncate(self, path, length, descriptor=None):
        os.truncate(self.real(path), length)

    def flush(self, _, descriptor):
        return 0

    def fsync(self, _, data_only, descriptor):
        os.fsync(descriptor)

    def fsyncdir(self, _, data_only, descriptor):
        return 0

    def release(self, _, descriptor):
        os.close(descriptor)

    def rename(self, old, new):
        os.rename(self.real(old), self.real(new))

    def unlink(self, path):
        os.unlink(self.real(path))

    def chmod(self, path, mode):
        os.chmod(self.real(path), mode)

    def utimens(self, path, times=None):
        os.utime(self.real(path), times)


DIRECTORY, MOUNT, FAULTS, INJECTED = sys.argv[1:]
FUSE(
    Failing(DIRECTORY, FAULTS, INJECTED),
    MOUNT,
    foreground=True,
    nothreads=True,
    hard_remove=True,
    attr_timeout=0,
    entry_timeout=0,
    direct_io=True,
)
