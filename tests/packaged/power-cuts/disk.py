"""A disk with a volatile write cache, as a plugin of nbdkit: nbdkit python disk.py image=FILE

The image has what a reader of the disk sees. When the client disappears, the power is cut: of the writes since the last flush, each
is lost with the same random probability, and some are partial. A write that a flush followed is never lost.
"""

import os
import random
import sys

import nbdkit

API_VERSION = 2
# Of the drive, not of the interface: xfs cannot recover a block of 4 KiB that is written in part.
SECTOR = 4096
image = None
unflushed = []


def config(key, value):
    global image
    assert key == "image", key
    image = os.open(value, os.O_RDWR)


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(_readonly):
    return image


def get_size(handle):
    return os.fstat(handle).st_size


def pread(handle, buffer, offset, _flags):
    assert os.preadv(handle, [buffer], offset) == len(buffer)


def pwrite(handle, buffer, offset, _flags):
    unflushed.append((offset, os.pread(handle, len(buffer), offset), bytes(buffer)))
    os.pwrite(handle, buffer, offset)


def flush(_handle, _flags):
    unflushed.clear()


def close(handle):
    for offset, before, _ in reversed(unflushed):
        os.pwrite(handle, before, offset)
    probability, lost, partial = random.random(), 0, 0
    for offset, _, after in unflushed:
        if random.random() < probability:
            lost += 1
            # The drive had written some sectors of it.
            sectors = random.randrange(max(1, len(after) // SECTOR)) if random.random() < 0.3 else 0
            partial += sectors > 0
            os.pwrite(handle, after[: sectors * SECTOR], offset)
        else:
            os.pwrite(handle, after, offset)
    print(f"{lost} of {len(unflushed)} unflushed writes lost, {partial} of them partly", file=sys.stderr, flush=True)
    unflushed.clear()
