"""Run the PTX that Triton makes of its kernels over the contract's calls, and report as JSON.

    triton_calls.py

Runs in a process of its own, as Triton either compiles or interprets for good. Prints the calls
that differ or fault, and what became of each barrier that was removed.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from ropescale_kernels.backends import triton as backend
from ropescale_kernels.backends.triton import launch
from ropescale_kernels.backends.triton.compile import Variant, source_of
from ropescale_kernels.backends.triton.launch_config import PROGRAMS_PER_SM, tile_of
from support.bits import WORDS
from support.ptx import calls
from support.ptx.machine import ORDERS, Machine
from support.ptx.memory import FaultError, GlobalMemory
from support.ptx.program import Program

MULTIPROCESSORS = 132
ARCHITECTURE = 90
WARP = 32
NOTHING = "griddepcontrol.launch_dependents"


class Compiled:
    """A variant, compiled for a device that is not here, and run in the interpreter.

    Attributes:
        program: The kernel; a test may put another in its place.
        launches: The launches that ran.
    """

    order = ORDERS[0]

    def __init__(self, variant: Variant) -> None:
        variant = variant._replace(device=torch.device("cuda", 0))
        source, options = source_of(variant, WARP)
        target = GPUTarget("cuda", ARCHITECTURE, WARP)
        kernel = triton.compile(source, target=target, options=options)
        self.tile = tile_of(variant.rotary_dim, variant.dtype.itemsize, WARP)
        self.program = Program(kernel.asm["ptx"], variant.kernel.__name__)
        self.launches: list[Machine] = []
        self._kinds = list(source.signature.values())
        self._metadata = kernel.metadata

    def __call__(
        self, grid: tuple[int, int, int], pointers: tuple[Tensor | None, ...], scalars: Any
    ) -> None:
        q, q_out, k, k_out, *others = pointers
        machine = Machine(
            self.program,
            GlobalMemory([q, k, *others], [q_out, k_out]),
            grid,
            (WARP * self._metadata.num_warps, 1, 1),
            self._parameters(pointers, scalars),
            shared_bytes=self._metadata.shared,
            order=Compiled.order,
        )
        self.launches.append(machine)
        machine.run()

    def _parameters(self, pointers: tuple[Tensor | None, ...], scalars: Any) -> bytes:
        """Lay the arguments out as a launch does: aligned, without those that are constants."""
        given = iter([x for x in pointers if x is not None])
        numbers = iter(scalars)
        data = b""
        for kind in self._kinds:
            if kind == "constexpr":
                continue
            form = "<i" if kind == "i32" else "<q"
            value = next(given).data_ptr() if kind.startswith("*") else next(numbers)
            size = struct.calcsize(form)
            data += b"\0" * (-len(data) % size) + struct.pack(form, value)
        # Behind them stand pointers to scratch memory, which these kernels do not use.
        return data + b"\0" * (self.program.parameter_bytes - len(data))


@cache
def compiled(variant: Variant) -> Compiled:
    found = Compiled(variant)
    VARIANTS.append(found)
    return found


VARIANTS: list[Compiled] = []


def every_call() -> Iterator[calls.Call]:
    for dtype in WORDS:
        yield from calls.of_dtype(dtype)


def outcome(call: calls.Call) -> str:
    """Make a call, and say what came of it: "" for equal bits."""
    try:
        call.launch("triton")
    except FaultError as fault:
        return str(fault)
    return f"{call.wrong()} elements differ" if call.wrong() else ""


def barriers(program: Program) -> list[int]:
    return [at for at, each in enumerate(program.statements) if each.is_barrier]


def layout_of(program: Program) -> str:
    """Return the accesses of shared memory and the barriers, which are equal in many variants."""
    return " ".join(each.opcode for each in program.statements if each.is_of_shared_memory)


def orders_nothing(machine: Machine, barrier: int) -> bool:
    """Return whether each thread accesses equal addresses before and behind a barrier.

    Each of them then meets its own accesses alone, which need no barrier.
    """
    steps = zip(machine.barriers, machine.barriers[1:], strict=False)
    pairs = [(before, behind) for (_, before), (at, behind) in steps if at == barrier]
    return all(not before or before == behind for before, behind in pairs)


def run_contract() -> tuple[dict[str, str], int, dict[Compiled, calls.Call]]:
    """Make every call.

    Returns:
        What was wrong, by call; the number of calls; and a call of each variant.
    """
    wrong: dict[str, str] = {}
    users: dict[Compiled, calls.Call] = {}
    count = 0
    for count, call in enumerate(every_call(), 1):
        Compiled.order = ORDERS[count % len(ORDERS)]
        before = {each: len(each.launches) for each in VARIANTS}
        result = outcome(call)
        if result:
            wrong[call.name] = result
        (used,) = [each for each in VARIANTS if len(each.launches) > before.get(each, 0)]
        users.setdefault(used, call)
    return wrong, count, users


def remove_barriers(users: dict[Compiled, calls.Call]) -> dict[str, str]:
    """Remove each barrier of a variant of each layout, and return what came of the call.

    A barrier that orders nothing is left alone.

    One program takes all heads, so that every barrier of its loop has work on both sides.
    """
    launch._programs_wanted = lambda device: 1
    launch._launch_plan.cache_clear()
    Compiled.order = "together"
    chosen = {layout_of(each.program): each for each in VARIANTS if barriers(each.program)}
    removed: dict[str, str] = {}
    for variant in chosen.values():
        call, sound = users[variant], variant.program
        call.renew()
        assert outcome(call) == "", call.name
        whole = variant.launches[-1]
        for at in barriers(sound):
            if orders_nothing(whole, at):
                continue
            variant.program = sound.replaced(at, NOTHING)
            call.renew()
            removed[f"{call.name}, barrier at {at}"] = outcome(call)
        variant.program = sound
    return removed


def share_seen(variant: Compiled) -> float:
    seen: set[int] = set().union(*(each.seen for each in variant.launches))
    return len(seen) / len(variant.program.statements)


def main() -> None:
    backend.unavailable = lambda: None
    backend.unsupported = lambda spec: None
    launch.compiled = compiled
    launch._programs_wanted = lambda device: PROGRAMS_PER_SM * MULTIPROCESSORS
    wrong, count, users = run_contract()
    found = {
        "triton": triton.__version__,
        "calls": count,
        "wrong": wrong,
        "variants": len(VARIANTS),
        "removed": remove_barriers(users),
        "least seen": min(share_seen(each) for each in VARIANTS),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
