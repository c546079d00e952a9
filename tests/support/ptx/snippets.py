"""Small kernels written in PTX by hand, for tests of the interpreter itself."""

from __future__ import annotations

import struct
from typing import Any

import torch
from torch import Tensor

from .machine import Machine
from .memory import GlobalMemory
from .program import Program

_HEAD = """
.version 8.0
.target sm_90
.address_size 64
.shared .align 16 .b8 room[1024];
.entry snippet(.param .u64 snippet_0, .param .u64 snippet_1) {
    .reg .pred %p<8>;
    .reg .b16 %h<8>;
    .reg .b32 %r<16>;
    .reg .f32 %f<8>;
    .reg .b64 %d<16>;
    ld.param.u64 %d0, [snippet_0];
    ld.param.u64 %d1, [snippet_1];
    mov.u32 %r0, %tid.x;
    mul.wide.u32 %d2, %r0, 8;
    add.s64 %d3, %d0, %d2;
    add.s64 %d4, %d1, %d2;
"""


def program(body: str) -> Program:
    """Return a kernel with a body.

    In it, %r0 is the thread; %d0 and %d1 are the addresses of the input and of the output; %d3 and
    %d4 those of the thread's eight bytes of each.
    """
    return Program(f"{_HEAD}{body}\nret;\n}}", "snippet")


def run(body: str, *, threads: int = 1, given: Tensor | None = None, **options: Any) -> Tensor:
    """Run a kernel with a body on int64 memory of eight bytes a thread, and return its output.

    Args:
        body: Statements; see `program`.
        threads: Threads of a block.
        given: The input, one int64 for each thread.
        options: As `launched` takes them.
    """
    out = torch.zeros(threads, dtype=torch.int64)
    launched(body, threads=threads, given=given, out=out, **options)
    return out


def launched(
    body: str,
    *,
    threads: int,
    given: Tensor | None = None,
    out: Tensor | None = None,
    blocks: int = 1,
    order: str = "together",
) -> Machine:
    """Run a kernel as `run` does, and return the launch."""
    given = torch.zeros(threads, dtype=torch.int64) if given is None else given
    out = torch.zeros(threads, dtype=torch.int64) if out is None else out
    machine = Machine(
        program(body),
        GlobalMemory([given], [out]),
        (blocks, 1, 1),
        (threads, 1, 1),
        struct.pack("<QQ", given.data_ptr(), out.data_ptr()),
        shared_bytes=1024,
        order=order,
    )
    machine.run()
    return machine


def value(*lines: str) -> int:
    """Return what statements of one thread leave in %d8, as an unsigned number."""
    return int(run("\n".join([*lines, "st.global.u64 [%d4], %d8;"]))) % 2**64
