"""Checks of every memory access of an interpreted Triton kernel.

An access is compared with the elements of the tensors that the call names, not with their extents:
the gaps between strided rows are out of bounds. Programs of a grid have no order, so whatever one
writes, no other may read or write. Patches the interpreter's builder; tried on Triton 3.6 and 3.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from triton.runtime import interpreter

_NOBODY, _SEVERAL = -1, -2


class AccessError(AssertionError):
    """An access that a device might not forgive."""


def _addresses(tensors: Iterable[Tensor]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return the address of every element, sorted."""
    found = [np.zeros(0, np.uint64)]
    for x in tensors:
        offsets = torch.zeros((), dtype=torch.int64)
        for size, stride in zip(x.shape, x.stride(), strict=True):
            offsets = offsets[..., None] + torch.arange(size) * stride
        found.append((x.data_ptr() + offsets.reshape(-1) * x.element_size()).numpy().astype("u8"))
    return np.unique(np.concatenate(found))


class Watch:
    """What has been read and written since the kernel began."""

    def __init__(self, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> None:
        outputs = list(outputs)
        self.written = _addresses(outputs)
        self.known = _addresses([*inputs, *outputs])
        self.may_write = np.isin(self.known, self.written)
        self.writer = np.full(len(self.known), _NOBODY)
        self.reader = np.full(len(self.known), _NOBODY)
        self.loads = self.stores = 0

    def _elements(self, addresses: Any, what: str, program: int) -> Any:
        at = np.minimum(np.searchsorted(self.known, addresses), len(self.known) - 1)
        allowed = self.known[at] == addresses
        if what == "write":
            allowed &= self.may_write[at]
        if not allowed.all():
            count = int((~allowed).sum())
            raise AccessError(f"out-of-bounds {what} of {count} elements by program {program}")
        return at

    def load(self, addresses: Any, program: int) -> None:
        """See a read."""
        at = self._elements(addresses, "read", program)
        self.loads += len(at)
        if ((self.writer[at] != _NOBODY) & (self.writer[at] != program)).any():
            raise AccessError(f"race: program {program} reads what another wrote")
        others = (self.reader[at] != _NOBODY) & (self.reader[at] != program)
        self.reader[at] = np.where(others, _SEVERAL, program)

    def store(self, addresses: Any, program: int) -> None:
        """See a write."""
        at = self._elements(addresses, "write", program)
        self.stores += len(at)
        if len(np.unique(at)) != len(at):
            raise AccessError(f"lanes of program {program} write one element")
        if (self.writer[at] != _NOBODY).any():
            raise AccessError(f"program {program} writes what is written already")
        if ((self.reader[at] != _NOBODY) & (self.reader[at] != program)).any():
            raise AccessError(f"race: program {program} writes what another reads")
        self.writer[at] = program

    def finish(self) -> None:
        """Say what should have been written."""
        missing = int((self.may_write & (self.writer == _NOBODY)).sum())
        if missing:
            raise AccessError(f"{missing} output elements were never written")


def _active(pointers: Any, mask: Any) -> Any:
    addresses, active = np.broadcast_arrays(pointers.data, mask.data)
    return addresses[active].astype(np.uint64)


@contextmanager
def sanitized(inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> Iterator[Watch]:
    """Watch the interpreted kernels of the block; outputs that are inputs too are rotated in place.

    Raises:
        AccessError: From within the interpreter as InterpreterError, which names it; or at the end
            for outputs that nothing wrote.
    """
    builder = interpreter.InterpreterBuilder
    load, store = builder.create_masked_load, builder.create_masked_store
    watch = Watch(inputs, outputs)

    def program(self: Any) -> int:
        x, y, z = (int(i) for i in self.grid_idx)
        return (z * self.grid_dim[1] + y) * self.grid_dim[0] + x

    def seen_load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        watch.load(_active(pointers, mask), program(self))
        return load(self, pointers, mask, *rest)

    def seen_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        watch.store(_active(pointers, mask), program(self))
        return store(self, pointers, value, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = seen_load, seen_store
    try:
        yield watch
    finally:
        builder.create_masked_load, builder.create_masked_store = load, store
    watch.finish()
