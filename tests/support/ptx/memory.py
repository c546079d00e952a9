"""Memory of a launch: the buffers of a call, and the shared memory of its blocks.

A fault says what a device would have done in silence. Threads are numbered through the launch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

_NOBODY, _SEVERAL = -1, -2
# Owners are kept for each two bytes: no element in global memory is smaller.
_UNIT = 2


class FaultError(Exception):
    """An access, a barrier or an instruction that is wrong."""


class _Buffer:
    """A tensor's storage, and the threads that read and wrote each unit of it."""

    def __init__(self, x: Tensor, name: str) -> None:
        storage = x.untyped_storage()
        self.name = name
        self.base = storage.data_ptr()
        self.data = np.frombuffer(_bytes_at(self.base, storage.nbytes()), np.uint8)
        self.writable = False
        self.writer = np.empty(0, np.int32)
        self.reader = np.empty(0, np.int32)

    def allow_stores(self) -> None:
        """Make the buffer an output."""
        self.writable = True
        units = -(-len(self.data) // _UNIT)
        self.writer = np.full(units, _NOBODY, np.int32)
        self.reader = np.full(units, _NOBODY, np.int32)


def _bytes_at(address: int, count: int) -> Any:
    import ctypes

    return (ctypes.c_char * count).from_address(address)


class GlobalMemory:
    """The buffers of a call. An access elsewhere is a fault.

    No unit may be written by two threads, or written by one and read by another, because nothing
    orders threads of different blocks. A thread may write a unit again with equal bytes.
    """

    def __init__(self, inputs: Iterable[Tensor | None], outputs: Iterable[Tensor | None]) -> None:
        """Share the memory of tensors; storages that are inputs and outputs are outputs."""
        found: dict[int, _Buffer] = {}
        for kind, tensors in (("input", inputs), ("output", outputs)):
            for i, x in enumerate(tensors):
                if x is None or not x.untyped_storage().nbytes():
                    continue
                buffer = _Buffer(x, f"{kind} {i}")
                buffer = found.setdefault(buffer.base, buffer)
                if kind == "output":
                    buffer.allow_stores()
        self._buffers = sorted(found.values(), key=lambda each: each.base)
        self._bases = np.array([each.base for each in self._buffers], np.uint64)

    def load(self, addresses: Any, count: int, threads: Any) -> Any:
        """Return `count` bytes at each address, as rows."""
        rows = np.empty((len(addresses), count), np.uint8)
        for buffer, chosen, at in self._parts(addresses, count):
            rows[chosen] = buffer.data[at]
            if buffer.writable:
                owners, units = threads[chosen][:, None], at[:, ::_UNIT] // _UNIT
                writer = buffer.writer[units]
                if ((writer != _NOBODY) & (writer != owners)).any():
                    raise FaultError(f"a thread reads what another wrote, in {buffer.name}")
                reader = buffer.reader[units]
                new = np.where((reader == _NOBODY) | (reader == owners), owners, _SEVERAL)
                buffer.reader[units] = new
                if (buffer.reader[units] != new).any():
                    # Threads of this access share a unit.
                    buffer.reader[units] = _SEVERAL
        return rows

    def store(self, addresses: Any, rows: Any, threads: Any) -> None:
        """Write a row of bytes at each address."""
        for buffer, chosen, at in self._parts(addresses, rows.shape[1]):
            if not buffer.writable:
                raise FaultError(f"a store to {buffer.name}")
            owners, units = threads[chosen][:, None], at[:, ::_UNIT] // _UNIT
            writer, reader = buffer.writer[units], buffer.reader[units]
            if ((writer != _NOBODY) & (writer != owners)).any():
                raise FaultError(f"two threads write the same bytes of {buffer.name}")
            if ((reader != _NOBODY) & (reader != owners)).any():
                raise FaultError(f"a thread writes what another read, in {buffer.name}")
            again = np.repeat(writer == owners, _UNIT, axis=1)[:, : at.shape[1]]
            if (again & (buffer.data[at] != rows[chosen])).any():
                raise FaultError(
                    f"a thread writes the same bytes of {buffer.name} twice, differently"
                )
            buffer.data[at] = rows[chosen]
            buffer.writer[units] = owners
            if (buffer.writer[units] != owners).any():
                raise FaultError(f"two threads write the same bytes of {buffer.name}")

    def _parts(self, addresses: Any, count: int) -> Iterable[tuple[_Buffer, Any, Any]]:
        """Yield each buffer, the accesses that fall into it, and the indices of their bytes."""
        _check_alignment(addresses, count)
        which = np.searchsorted(self._bases, addresses, side="right").astype(np.int64) - 1
        for index in np.unique(which):
            if index < 0:
                raise FaultError(f"an access of {count} bytes below every buffer")
            buffer, chosen = self._buffers[index], which == index
            offsets = (addresses[chosen] - np.uint64(buffer.base)).astype(np.int64)
            if (offsets + count > len(buffer.data)).any():
                raise FaultError(
                    f"an access of {count} bytes at {int(offsets.max())}, beyond {buffer.name} of "
                    f"{len(buffer.data)} bytes"
                )
            yield buffer, chosen, offsets[:, None] + np.arange(count)


class SharedMemory:
    """The shared memory of each block.

    Bytes that nobody wrote cannot be read. Between two barriers, no byte may be written by one warp
    and read by another, or written by two warps with different values.
    """

    # Numbers of warps of a block stay below; the last stands for several.
    _WARPS = 64

    def __init__(self, num_blocks: int, size: int) -> None:
        self._size = size
        self._data = np.zeros((num_blocks, size), np.uint8)
        # The barriers passed and the warp of the last access, as one number; -1 for none.
        self._writes = np.full((num_blocks, size), -1, np.int64)
        self._reads = np.full((num_blocks, size), -1, np.int64)
        self._barriers = np.zeros(num_blocks, np.int64)

    def pass_barrier(self, block: int) -> None:
        """Order the accesses of a block so far before those to come."""
        self._barriers[block] += 1

    def load(self, addresses: Any, count: int, blocks: Any, warps: Any) -> Any:
        """Return `count` bytes at each address of a block."""
        where = blocks[:, None], self._at(addresses, count)
        if (self._writes[where] < 0).any():
            raise FaultError("shared memory is read before it is written")
        if self._others(self._writes, where, blocks, warps).any():
            raise FaultError("no barrier between a warp's store and another's load")
        several = self._others(self._reads, where, blocks, warps)
        access = self._access(blocks, warps)
        self._reads[where] = np.where(several, access - warps[:, None] + self._WARPS - 1, access)
        again = self._others(self._reads, where, blocks, warps)
        self._reads[where] += np.where(again, self._WARPS - 1 - self._reads[where] % self._WARPS, 0)
        return self._data[where]

    def store(self, addresses: Any, rows: Any, blocks: Any, warps: Any) -> None:
        """Write a row of bytes at each address of a block."""
        where = blocks[:, None], self._at(addresses, rows.shape[1])
        if self._others(self._reads, where, blocks, warps).any():
            raise FaultError("no barrier between a warp's load and another's store")
        if (self._others(self._writes, where, blocks, warps) & (self._data[where] != rows)).any():
            raise FaultError("no barrier between the stores of two warps")
        self._data[where] = rows
        if (self._data[where] != rows).any():
            raise FaultError("two threads store different values at one place")
        self._writes[where] = self._access(blocks, warps)

    def _access(self, blocks: Any, warps: Any) -> Any:
        return (self._barriers[blocks] * self._WARPS + warps)[:, None]

    def _others(self, accesses: Any, where: Any, blocks: Any, warps: Any) -> Any:
        """Return which bytes another warp has accessed since the last barrier."""
        last = accesses[where]
        since = last // self._WARPS == self._barriers[blocks][:, None]
        return since & (last % self._WARPS != warps[:, None])

    def _at(self, addresses: Any, count: int) -> Any:
        _check_alignment(addresses, count)
        # An address in shared memory has 32 bits.
        offsets = addresses.astype(np.int64) & 0xFFFFFFFF
        if (offsets + count > self._size).any():
            raise FaultError(
                f"an access of {count} bytes beyond {self._size} bytes of shared memory"
            )
        return offsets[:, None] + np.arange(count)


def _check_alignment(addresses: Any, count: int) -> None:
    wrong = addresses % np.uint64(count) != 0
    if wrong.any():
        raise FaultError(f"an access of {count} bytes at a misaligned address")
