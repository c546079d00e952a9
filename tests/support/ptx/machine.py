"""The threads of a launch: registers, places in the program, the order in which warps run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from . import instructions
from .memory import FaultError, GlobalMemory, SharedMemory
from .program import Program, Statement, address
from .values import UNSIGNED, Type, as_bits, interpreted

WARP = 32
# How warps of a block take turns. "together": all threads at the earliest statement. The others run
# one warp of each block as far as it goes.
ORDERS = ("together", "first to last", "last to first", "shuffled")
Dim = tuple[int, int, int]


class Machine:
    """One launch of a program.

    Attributes:
        program: The kernel.
        num_threads: Threads of the launch.
        num_warps: Warps of the launch.
        issued: Warp instructions that were issued, by opcode.
        seen: Indices of the statements that ran.
        barriers: Index of each barrier that the first thread passed, in order, and the addresses of
            the accesses of shared memory behind it, of all threads that ran with the first.
    """

    def __init__(
        self,
        program: Program,
        memory: GlobalMemory,
        grid: Dim,
        block: Dim,
        arguments: bytes,
        *,
        shared_bytes: int = 0,
        order: str = "together",
    ) -> None:
        """Set up the threads.

        Args:
            program: The kernel.
            memory: The buffers that it may access.
            grid: Blocks in x, y, z.
            block: Threads of a block in x, y, z.
            arguments: Bytes of the parameters, laid out as the program declares.
            shared_bytes: Shared memory of a block.
            order: One of ORDERS.
        """
        if len(arguments) < program.parameter_bytes:
            raise ValueError(f"expected {program.parameter_bytes} bytes, got {len(arguments)}")
        self.program = program
        self.issued: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.barriers: list[tuple[int, set[bytes]]] = [(-1, set())]
        self._memory = memory
        self._arguments = np.frombuffer(arguments, np.uint8)
        per_block, num_blocks = int(np.prod(block)), int(np.prod(grid))
        self.num_threads = per_block * num_blocks
        thread = np.arange(self.num_threads)
        inside, self.blocks = thread % per_block, thread // per_block
        self.warps = inside // WARP
        self.lanes = inside % WARP
        # The first thread of each thread's warp, through the launch.
        self.warp_starts = thread - self.lanes
        warps_of_block = int(self.warps.max()) + 1
        self.num_warps = warps_of_block * num_blocks
        self._shared = SharedMemory(num_blocks, shared_bytes)
        self._registers = {
            name: np.zeros(self.num_threads, UNSIGNED[size] if size else bool)
            for name, size in program.registers.items()
        }
        self._constants = _special(grid, block, inside, self.blocks)
        self._place = np.zeros(self.num_threads, np.int64)
        self._at_barrier = np.zeros(self.num_threads, bool)
        self._has_waited = np.full(self.num_threads, not program.waits)
        self._turns = _turns(order, num_blocks, warps_of_block)

    def run(self) -> None:
        """Run every thread to its end; a fault names the statement."""
        end = len(self.program.statements)
        with np.errstate(all="ignore"):
            while True:
                ready = (self._place < end) & ~self._at_barrier
                if not ready.any():
                    break
                if self._turns is not None:
                    turn = np.where(ready, self._turns[self.blocks, self.warps], self._turns.size)
                    first = np.full(len(self._turns), self._turns.size)
                    np.minimum.at(first, self.blocks, turn)
                    ready &= turn == first[self.blocks]
                at = int(self._place[ready].min())
                self._run_from(at, np.flatnonzero(ready & (self._place == at)))
        if (self._place < end).any():
            raise FaultError("threads wait at a barrier that others never reach")

    def _run_from(self, at: int, threads: Any) -> None:
        """Run a straight run of statements for the threads that are at its first."""
        end = self.program.run_ends[at]
        num_warps = len(np.unique(self.warp_starts[threads]))
        self.seen.update(range(at, end))
        for index in range(at, end):
            statement = self.program.statements[index]
            self.issued[statement.opcode] += num_warps
            if statement.is_barrier and threads[0] == 0:
                self.barriers.append((index, set()))
            chosen = threads
            if statement.guard is not None:
                chosen = threads[self._registers[statement.guard][threads] != statement.negated]
            try:
                jumped = self._step(statement, index, threads, chosen)
            except FaultError as fault:
                raise FaultError(f"{fault}: {statement.text}") from None
            if jumped:
                return
        self._place[threads] = end

    def _step(self, statement: Statement, index: int, threads: Any, chosen: Any) -> bool:
        """Run one statement for the chosen threads; return whether it set all their places."""
        if statement.name == "bra":
            self._place[threads] = index + 1
            self._place[chosen] = self.program.labels[statement.operands[0]]
            return True
        if statement.name in ("ret", "exit"):
            self._place[threads] = index + 1
            self._place[chosen] = len(self.program.statements)
            return True
        if statement.name in ("bar", "barrier"):
            if len(chosen) != len(threads):
                raise FaultError("some threads of a warp skip a barrier")
            self._place[threads] = index + 1
            self._wait_at_barrier(threads)
            return True
        if statement.opcode == "griddepcontrol.wait":
            self._has_waited[chosen] = True
        elif len(chosen):
            run: Callable[..., None] = instructions.of(statement)
            run(self, statement, chosen)
        return False

    def _wait_at_barrier(self, threads: Any) -> None:
        self._at_barrier[threads] = True
        alive = self._place < len(self.program.statements)
        for block in np.unique(self.blocks[threads]):
            mine = (self.blocks == block) & alive
            if self._at_barrier[mine].all():
                if len(np.unique(self._place[mine])) != 1:
                    raise FaultError("threads of a block wait at different barriers")
                self._at_barrier[mine] = False
                self._shared.pass_barrier(int(block))

    # Operands.

    def read(self, operand: str, kind: Type, threads: Any) -> Any:
        """Return an operand's values as a type."""
        if operand in self._registers:
            return interpreted(self._registers[operand][threads], kind)
        if operand in self._constants:
            return interpreted(self._constants[operand][threads], kind)
        if operand in self.program.parameters:
            number = self.program.parameters[operand]
        elif operand in self.program.shared:
            number = 0
        elif operand[:2] in ("0f", "0d"):
            number = int(operand[2:], 16)
        else:
            number = int(operand.rstrip("U"), 0)
        if kind.kind == "p":
            return np.full(len(threads), number != 0)
        size = 8 if kind.kind != "bf" else 2
        bits = np.full(len(threads), number & ((1 << 8 * size) - 1), UNSIGNED[size])
        return interpreted(bits, kind)

    def write(self, operand: str, values: Any, threads: Any) -> None:
        """Set a register of the threads; "_" takes nothing."""
        if operand == "_":
            return
        register = self._registers[operand]
        size = 0 if register.dtype == bool else register.dtype.itemsize
        register[threads] = as_bits(values, size)

    # Memory.

    def load(self, space: str, operand: str, count: int, threads: Any) -> Any:
        """Return `count` bytes from a space ("global", "shared" or "param"), as rows."""
        at = self.addresses(operand, threads)
        if space == "param":
            offsets = at.astype(np.int64)
            if (offsets + count > len(self._arguments)).any():
                raise FaultError("an access beyond the parameters")
            return self._arguments[offsets[:, None] + np.arange(count)]
        if space == "shared":
            return self.load_shared(at, count, threads)
        self._need_wait(threads)
        return self._memory.load(at, count, threads)

    def store(self, space: str, operand: str, rows: Any, threads: Any) -> None:
        """Write a row of bytes at each thread's address."""
        at = self.addresses(operand, threads)
        if space == "shared":
            self.store_shared(at, rows, threads)
            return
        self._need_wait(threads)
        self._memory.store(at, rows, threads)

    def load_shared(self, at: Any, count: int, threads: Any) -> Any:
        """Return `count` bytes at addresses of shared memory."""
        self._note(at, threads)
        return self._shared.load(at, count, self.blocks[threads], self.warps[threads])

    def store_shared(self, at: Any, rows: Any, threads: Any) -> None:
        """Write a row of bytes at addresses of shared memory."""
        self._note(at, threads)
        self._shared.store(at, rows, self.blocks[threads], self.warps[threads])

    def _note(self, at: Any, threads: Any) -> None:
        if threads[0] == 0:
            self.barriers[-1][1].add(at.tobytes())

    def addresses(self, operand: str, threads: Any) -> Any:
        """Return the addresses that an operand `[base+offset]` means."""
        base, offset = address(operand)
        values = self.read(base, Type("u", 8), threads)
        return values + np.uint64(offset % 2**64)

    def _need_wait(self, threads: Any) -> None:
        if not self._has_waited[threads].all():
            raise FaultError("an access of global memory ahead of griddepcontrol.wait")


def _special(grid: Dim, block: Dim, inside: Any, blocks: Any) -> dict[str, Any]:
    """Return the special registers of every thread."""
    found = {"%laneid": inside % WARP}
    steps_inside, steps = (1, block[0], block[0] * block[1]), (1, grid[0], grid[0] * grid[1])
    for axis, name in enumerate("xyz"):
        found[f"%tid.{name}"] = inside // steps_inside[axis] % block[axis]
        found[f"%ctaid.{name}"] = blocks // steps[axis] % grid[axis]
        found[f"%ntid.{name}"] = np.full_like(inside, block[axis])
        found[f"%nctaid.{name}"] = np.full_like(inside, grid[axis])
    return {name: values.astype(np.uint32) for name, values in found.items()}


def _turns(order: str, num_blocks: int, num_warps: int) -> Any:
    """Return the turn of each warp of each block, or None if all run together."""
    if order == "together":
        return None
    turns = np.tile(np.arange(num_warps), (num_blocks, 1))
    if order == "last to first":
        return turns[:, ::-1].copy()
    if order == "shuffled":
        return np.random.default_rng(0).permuted(turns, axis=1)
    assert order == "first to last", order
    return turns
