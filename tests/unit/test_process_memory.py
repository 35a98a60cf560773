"""The memory of a daemon's process: what is loaded at its start is left out of collections, free memory is returned."""

import subprocess
import sys

SCRIPT = """
import asyncio, ctypes, gc
from netd import process_memory

process_memory.begin()
assert not gc.isenabled()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [libc.malloc(60_000) for _ in range(500)]  # below the size for which malloc uses mmap
kept = libc.malloc(60_000)  # above them: the heap does not shrink by itself
for block in blocks:
    ctypes.memset(block, 1, 60_000)
for block in blocks:
    libc.free(ctypes.c_void_p(block))
before = process_memory.resident()

async def main():
    process_memory.settle()

asyncio.run(main())
assert gc.isenabled() and gc.get_freeze_count()
print(before - process_memory.resident())
"""


def test_the_start_is_excluded_from_collections_and_its_free_memory_is_returned():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 20_000_000
