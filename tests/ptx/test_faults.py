"""What the interpreter refuses, and a device would take in silence: accesses, races, barriers."""

from __future__ import annotations

import pytest
import torch
from support.ptx import snippets
from support.ptx.machine import ORDERS
from support.ptx.memory import FaultError

STORE = "cvt.u64.u32 %d8, %r0;\nst.global.u64 [%d4], %d8;"


def test_a_sound_kernel_runs() -> None:
    assert snippets.run(STORE, threads=96).tolist() == list(range(96))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("st.global.u64 [%d4+8], %d2;", "beyond output 0"),
        ("st.global.u32 [%d4+2], %r0;", "misaligned"),
        ("st.global.u64 [%d3], %d2;", "a store to input 0"),
        ("ld.global.u32 %r1, [16];", "below every buffer"),
        ("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d3];", "misaligned"),
        ("st.global.u64 [%d1], %d2;", "two threads write the same bytes"),
        (f"{STORE}\nld.global.u64 %d9, [%d1];", "reads what another wrote"),
        (f"ld.global.u64 %d9, [%d1];\n{STORE}", "writes what another read"),
        (f"{STORE}\nst.global.u64 [%d4], -1;", "twice, differently"),
        (f"{STORE}\ngriddepcontrol.wait;", "ahead of griddepcontrol.wait"),
        ("ld.global.u64 %d9, [%d3];\ngriddepcontrol.wait;", "ahead of griddepcontrol.wait"),
        ("ld.shared.u32 %r1, [room];", "read before it is written"),
        ("ld.shared.u32 %r1, [room+1024];", "beyond 1024 bytes"),
        ("ld.param.u64 %d9, [snippet_1+8];", "beyond the parameters"),
        ("st.shared.u32 [room], %r0;", "two threads store different values"),
    ],
)
def test_faults(body: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        snippets.run(body, threads=64)


# Each thread passes its number to the thread 32 above it, of another warp, through shared memory.
EXCHANGE = (
    "mov.u32 %r1, room;\nshl.b32 %r2, %r0, 2;\nadd.s32 %r3, %r1, %r2;\n"
    "xor.b32 %r4, %r2, 128;\nadd.s32 %r5, %r1, %r4;\n"
    "st.shared.u32 [%r3], %r0;\nbar.sync 0;\nld.shared.u32 %r6, [%r5];\n"
    "bar.sync 0;\nst.shared.u32 [%r3], %r6;\n"
    "cvt.u64.u32 %d8, %r6;\nst.global.u64 [%d4], %d8;"
)


@pytest.mark.parametrize("order", ORDERS)
def test_barriers_order_warps(order: str) -> None:
    want = [thread ^ 32 for thread in range(64)]
    assert snippets.run(EXCHANGE, threads=64, order=order).tolist() == want


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("which", [0, 1])
def test_each_barrier_is_missed(which: int, order: str) -> None:
    pieces = EXCHANGE.split("bar.sync 0;\n")
    pieces[which : which + 2] = [pieces[which] + pieces[which + 1]]
    with pytest.raises(FaultError, match=r"read before it is written|no barrier between"):
        snippets.run("bar.sync 0;\n".join(pieces), threads=64, order=order)


def test_divergent_threads_meet_again() -> None:
    body = (
        "mov.u32 %r1, 0;\nLOOP:\nadd.s32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, %r0;\n"
        "@%p1 bra LOOP;\nmax.u32 %r1, %r1, 1;\ncvt.u64.u32 %d8, %r1;\nst.global.u64 [%d4], %d8;"
    )
    out = snippets.run(body, threads=40)
    assert torch.equal(out, torch.arange(40).clamp_min(1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # Half of the threads wait at one barrier, the others at another.
        (
            "setp.lt.u32 %p1, %r0, 32;\n@%p1 bra ONE;\n"
            "bar.sync 0;\nbra OUT;\nONE:\nbar.sync 0;\nOUT:",
            "different barriers",
        ),
        ("setp.lt.u32 %p1, %r0, 16;\n@%p1 bar.sync 0;", "skip a barrier"),
        (
            "setp.lt.u32 %p1, %r0, 16;\n@%p1 bra OUT;\n"
            "shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffffffff;\nOUT:",
            "of a whole warp",
        ),
    ],
)
def test_faults_of_divergence(body: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        snippets.run(body, threads=64)


def test_two_blocks_do_not_share() -> None:
    # Both blocks write all of the output.
    with pytest.raises(FaultError, match="two threads write the same bytes"):
        snippets.run(STORE, threads=32, blocks=2)


def test_warp_instructions_are_counted() -> None:
    machine = snippets.launched(
        "setp.lt.u32 %p1, %r0, 32;\n@%p1 bra OUT;\nmov.u32 %r1, 1;\nOUT:", threads=96
    )
    # The six statements of every snippet, the first two of this one and `ret`, by three warps; the
    # last of this one by two.
    assert machine.num_warps == 3
    assert machine.issued.total() == 3 * (6 + 2 + 1) + 2
    assert machine.issued["mov.u32"] == 3 + 2
