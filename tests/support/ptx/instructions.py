"""What each instruction does, by name. An instruction that is not here is an error."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..exact_fma import fma as exact_fma
from .memory import FaultError
from .program import Statement, members
from .values import SIGNED, UNSIGNED, Type, to_bfloat16, to_float16, words

if TYPE_CHECKING:
    from .machine import Machine

Instruction = Callable[["Machine", Statement, Any], None]
_TABLE: dict[str, Instruction] = {}
_U32 = Type("u", 4)
_PREDICATE = Type("p", 0)


def of(statement: Statement) -> Instruction:
    """Return the function that runs a statement."""
    if statement.name not in _TABLE:
        raise NotImplementedError(statement.text)
    return _TABLE[statement.name]


def _instruction(*names: str) -> Callable[[Instruction], Instruction]:
    def add(function: Instruction) -> Instruction:
        _TABLE.update(dict.fromkeys(names, function))
        return function

    return add


def _elementwise(name: str, compute: Callable[..., Any]) -> None:
    """Add an instruction that computes its first operand from the others, all of one type."""

    def run(machine: Machine, statement: Statement, threads: Any) -> None:
        _need_rounding(statement)
        kind = _arithmetic_type(statement)
        values = [machine.read(each, kind, threads) for each in statement.operands[1:]]
        machine.write(statement.operands[0], compute(*values), threads)

    _TABLE[name] = run


def _need_rounding(statement: Statement) -> None:
    """Refuse arithmetic of floats without `.rn`: fused, flushed or approximate."""
    rounds = statement.name in ("add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt")
    if not rounds or statement.type.kind != "f":
        return
    if "rn" not in statement.modifiers or {"ftz", "approx", "full"} & {*statement.modifiers}:
        raise FaultError("arithmetic that is not rounded to nearest")


def _arithmetic_type(statement: Statement) -> Type:
    kind = statement.type
    # Bits count as unsigned.
    return Type("u", kind.size) if kind.kind == "b" else kind


for _name, _compute in {
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "not": operator.invert,
    "min": np.minimum,
    "max": np.maximum,
    "abs": np.abs,
}.items():
    _elementwise(_name, _compute)


@_instruction("add", "sub")
def _add(machine: Machine, statement: Statement, threads: Any) -> None:
    _need_rounding(statement)
    compute = operator.add if statement.name == "add" else operator.sub
    if statement.modifiers[-1] in ("s16x2", "u16x2"):
        x, y = (
            words(machine.read(each, _U32, threads)[:, None].view(np.uint8), 2)
            for each in statement.operands[1:]
        )
        machine.write(statement.operands[0], words(compute(x, y), 4)[:, 0], threads)
        return
    x, y = (machine.read(each, statement.type, threads) for each in statement.operands[1:])
    machine.write(statement.operands[0], compute(x, y), threads)


@_instruction("neg")
def _neg(machine: Machine, statement: Statement, threads: Any) -> None:
    kind = statement.type
    if kind.kind == "f":
        bits = machine.read(statement.operands[1], kind.bits, threads)
        result = bits ^ bits.dtype.type(1 << 8 * kind.size - 1)
    else:
        result = -machine.read(statement.operands[1], kind, threads)
    machine.write(statement.operands[0], result, threads)


@_instruction("mul", "mad")
def _mul(machine: Machine, statement: Statement, threads: Any) -> None:
    _need_rounding(statement)
    kind = statement.type
    x, y = (machine.read(each, kind, threads) for each in statement.operands[1:3])
    part = next((each for each in ("wide", "hi", "lo") if each in statement.modifiers), "lo")
    if kind.kind == "f":
        if statement.name == "mad":
            raise NotImplementedError(statement.text)
        product, out = x * y, kind
    elif part == "lo":
        product, out = x * y, kind
    else:
        # 64-bit products of 32-bit factors; no kernel has the high half of 64-bit factors.
        assert kind.size <= 4, statement.text
        wide = (SIGNED if kind.kind == "s" else UNSIGNED)[2 * kind.size]
        product = x.astype(wide) * y.astype(wide)
        out = Type(kind.kind, 2 * kind.size)
        if part == "hi":
            product, out = (product >> wide(8 * kind.size)).astype(x.dtype), kind
    if statement.name == "mad":
        product = product + machine.read(statement.operands[3], out, threads)
    machine.write(statement.operands[0], product, threads)


@_instruction("fma")
def _fma(machine: Machine, statement: Statement, threads: Any) -> None:
    _need_rounding(statement)
    if statement.type != Type("f", 4):
        raise NotImplementedError(statement.text)
    values = [machine.read(each, statement.type, threads) for each in statement.operands[1:]]
    machine.write(statement.operands[0], exact_fma(*values), threads)


@_instruction("div", "rem")
def _div(machine: Machine, statement: Statement, threads: Any) -> None:
    _need_rounding(statement)
    x, y = (machine.read(each, statement.type, threads) for each in statement.operands[1:])
    if statement.type.kind == "f":
        machine.write(statement.operands[0], x / y, threads)
        return
    if (y == 0).any():
        raise FaultError("an integer division by zero")
    quotient = abs(x) // abs(y)
    if statement.type.kind == "s":
        # PTX rounds towards zero.
        quotient = np.where((x < 0) != (y < 0), -quotient, quotient)
    result = quotient if statement.name == "div" else x - quotient * y
    machine.write(statement.operands[0], result, threads)


@_instruction("rcp")
def _rcp(machine: Machine, statement: Statement, threads: Any) -> None:
    _need_rounding(statement)
    x = machine.read(statement.operands[1], statement.type, threads)
    machine.write(statement.operands[0], x.dtype.type(1) / x, threads)


@_instruction("shl", "shr")
def _shift(machine: Machine, statement: Statement, threads: Any) -> None:
    kind = _arithmetic_type(statement)
    x = machine.read(statement.operands[1], kind, threads)
    count = machine.read(statement.operands[2], _U32, threads)
    # A shift by the width or more leaves zeros, or the sign.
    width = np.uint32(8 * kind.size)
    if statement.name == "shr" and kind.kind == "s":
        result = x >> np.minimum(count, width - np.uint32(1)).astype(x.dtype)
    else:
        inside = np.minimum(count, width - np.uint32(1)).astype(x.dtype)
        shifted = x << inside if statement.name == "shl" else x >> inside
        result = np.where(count < width, shifted, x.dtype.type(0))
    machine.write(statement.operands[0], result, threads)


@_instruction("bfe")
def _bfe(machine: Machine, statement: Statement, threads: Any) -> None:
    """Extract bits; a signed field extends by its sign."""
    x = machine.read(statement.operands[1], statement.type, threads)
    start, length = _field(machine, statement.operands[2:4], x, threads)
    width = x.dtype.type(8 * x.itemsize)
    above = width - start - length
    machine.write(statement.operands[0], (x << above) >> (above + start), threads)


@_instruction("bfi")
def _bfi(machine: Machine, statement: Statement, threads: Any) -> None:
    """Insert the low bits of the first operand into the second."""
    kind = Type("u", statement.type.size)
    x, y = (machine.read(each, kind, threads) for each in statement.operands[1:3])
    start, length = _field(machine, statement.operands[3:5], x, threads)
    whole = x.dtype.type(8 * x.itemsize)
    ones = ~x.dtype.type(0) >> (whole - length)
    mask = ones << start
    machine.write(statement.operands[0], (y & ~mask) | ((x << start) & mask), threads)


def _field(machine: Machine, operands: tuple[str, ...], x: Any, threads: Any) -> tuple[Any, Any]:
    start, length = (machine.read(each, _U32, threads) & np.uint32(255) for each in operands)
    if ((length == 0) | (start + length > 8 * x.itemsize)).any():
        raise FaultError("a field of no bits, or beyond the word")
    return start.astype(x.dtype), length.astype(x.dtype)


@_instruction("prmt")
def _prmt(machine: Machine, statement: Statement, threads: Any) -> None:
    """Choose four of the eight bytes of two words; a selector's top bit copies the sign."""
    if len(statement.modifiers) != 1:
        raise NotImplementedError(statement.text)
    low, high, selector = (machine.read(each, _U32, threads) for each in statement.operands[1:4])
    source = np.stack([low, high], 1).view(np.uint8)
    nibbles = selector[:, None] >> np.arange(0, 16, 4, dtype=np.uint32) & np.uint32(15)
    chosen = np.take_along_axis(source, (nibbles & 7).astype(np.int64), 1)
    chosen = np.where(nibbles & 8, np.where(chosen & 128, 255, 0), chosen).astype(np.uint8)
    machine.write(statement.operands[0], words(chosen, 4)[:, 0], threads)


@_instruction("setp")
def _setp(machine: Machine, statement: Statement, threads: Any) -> None:
    kind, test = _arithmetic_type(statement), statement.modifiers[0]
    x, y = (machine.read(each, kind, threads) for each in statement.operands[1:3])
    if kind.kind == "f":
        unordered = np.isnan(x) | np.isnan(y)
        if test in ("nan", "num"):
            result = unordered == (test == "nan")
        elif test.endswith("u"):
            result = unordered | _COMPARE[test[:-1]](x, y)
        else:
            result = ~unordered & _COMPARE[test](x, y)
    else:
        result = _COMPARE[_SAME.get(test, test)](x, y)
    machine.write(statement.operands[0], result, threads)


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
# Other names for comparisons of unsigned integers.
_SAME = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}


@_instruction("selp")
def _selp(machine: Machine, statement: Statement, threads: Any) -> None:
    x, y = (machine.read(each, statement.type.bits, threads) for each in statement.operands[1:3])
    chosen = machine.read(statement.operands[3], _PREDICATE, threads)
    machine.write(statement.operands[0], np.where(chosen, x, y), threads)


@_instruction("mov")
def _mov(machine: Machine, statement: Statement, threads: Any) -> None:
    to, source = statement.operands
    kind = statement.type if statement.type.kind == "p" else statement.type.bits
    if to.startswith("{"):
        parts = members(to)
        values = words(machine.read(source, kind, threads)[:, None], kind.size // len(parts))
        for i, part in enumerate(parts):
            machine.write(part, values[:, i].copy(), threads)
    elif source.startswith("{"):
        parts = members(source)
        piece = Type("b", kind.size // len(parts))
        values = np.stack([machine.read(part, piece, threads) for part in parts], 1)
        machine.write(to, words(values, kind.size)[:, 0], threads)
    else:
        machine.write(to, machine.read(source, kind, threads), threads)


@_instruction("cvta")
def _cvta(machine: Machine, statement: Statement, threads: Any) -> None:
    # Generic addresses are those of global memory here.
    to, source = statement.operands
    machine.write(to, machine.read(source, statement.type, threads), threads)


@_instruction("cvt")
def _cvt(machine: Machine, statement: Statement, threads: Any) -> None:
    to, target = statement.operands[0], statement.modifiers[-2]
    if target.endswith("x2"):
        # The first source goes to the upper half.
        narrow = to_bfloat16 if target.startswith("bf16") else to_float16
        high, low = (
            narrow(machine.read(each, Type("f", 4), threads)) for each in statement.operands[1:3]
        )
        machine.write(to, words(np.stack([low, high], 1), 4)[:, 0], threads)
        return
    kind, source = statement.types
    values = machine.read(statement.operands[1], source, threads)
    machine.write(to, _converted(values, kind, source, statement), threads)


def _converted(values: Any, kind: Type, source: Type, statement: Statement) -> Any:
    floats = ("f", "bf")
    if kind.kind not in floats:
        if source.kind in floats:
            raise NotImplementedError(statement.text)
        wide = (SIGNED if source.kind == "s" else UNSIGNED)[max(kind.size, source.size)]
        # A wider integer extends by the source's sign, a narrower one drops the upper bits.
        return values.astype(wide).astype((SIGNED if kind.kind == "s" else UNSIGNED)[kind.size])
    narrows = source.kind not in floats or kind.size < source.size
    if narrows and "rn" not in statement.modifiers:
        if kind.kind == "bf" and "rz" in statement.modifiers:
            return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        raise FaultError("a conversion that is not rounded to nearest")
    if kind.kind == "bf":
        return to_bfloat16(values)
    if kind.size == 2:
        return to_float16(values)
    return values.astype({4: np.float32, 8: np.float64}[kind.size])


def _space(statement: Statement) -> str:
    """Return the space of a load or a store. One without a space is not served."""
    for space in ("global", "shared", "param"):
        if space in statement.modifiers:
            return space
    raise NotImplementedError(statement.text)


@_instruction("ld")
def _ld(machine: Machine, statement: Statement, threads: Any) -> None:
    registers, size = members(statement.operands[0]), statement.type.size
    count = size * len(registers)
    rows = machine.load(_space(statement), statement.operands[1], count, threads)
    values = words(rows, size)
    for i, register in enumerate(registers):
        word = np.ascontiguousarray(values[:, i])
        # A signed word extends by its sign into a wider register.
        word = word.view(SIGNED[size]) if statement.type.kind == "s" else word
        machine.write(register, word, threads)


@_instruction("st")
def _st(machine: Machine, statement: Statement, threads: Any) -> None:
    kind = statement.type.bits
    values = [machine.read(each, kind, threads) for each in members(statement.operands[1])]
    rows = np.stack(values, 1).view(np.uint8)
    machine.store(_space(statement), statement.operands[0], rows, threads)


@_instruction("ldmatrix", "stmatrix")
def _matrix(machine: Machine, statement: Statement, threads: Any) -> None:
    """Move 8 x 8 matrices of 16 bits: thread 8m + r has the address of row r of matrix m."""
    loads = statement.name == "ldmatrix"
    if "trans" in statement.modifiers or statement.modifiers[-1] != "b16":
        raise NotImplementedError(statement.text)
    operands = statement.operands if loads else statement.operands[::-1]
    _need_whole_warps(machine, threads)
    rows_at = np.zeros(machine.num_threads, np.uint64)
    rows_at[threads] = machine.addresses(operands[1], threads)
    lanes = machine.lanes[threads]
    for m, register in enumerate(members(operands[0])):
        row = rows_at[machine.warp_starts[threads] + 8 * m + lanes // 4]
        if (row % np.uint64(16) != 0).any():
            raise FaultError("a row of a matrix at a misaligned address")
        at = row + (4 * (lanes % 4)).astype(np.uint64)
        if loads:
            word = words(machine.load_shared(at, 4, threads), 4)[:, 0]
            machine.write(register, word, threads)
        else:
            word = machine.read(register, Type("b", 4), threads)
            machine.store_shared(at, word[:, None].view(np.uint8), threads)


@_instruction("shfl")
def _shfl(machine: Machine, statement: Statement, threads: Any) -> None:
    """Exchange words within a warp: `shfl.sync.bfly`."""
    if statement.modifiers[:2] != ("sync", "bfly"):
        raise NotImplementedError(statement.text)
    _need_whole_warps(machine, threads)
    to, source, mask, clamp, members_mask = statement.operands
    if (machine.read(members_mask, _U32, threads) != 0xFFFFFFFF).any():
        raise NotImplementedError(statement.text)
    if (machine.read(clamp, _U32, threads) != 31).any():
        raise NotImplementedError(statement.text)
    values = np.zeros(machine.num_threads, np.uint32)
    values[threads] = machine.read(source, _U32, threads)
    other = machine.lanes[threads] ^ machine.read(mask, _U32, threads).astype(np.int64) & 31
    machine.write(to.partition("|")[0], values[machine.warp_starts[threads] + other], threads)


def _need_whole_warps(machine: Machine, threads: Any) -> None:
    """Refuse an instruction of whole warps that some threads of a warp do not reach."""
    if len(threads) % 32 or (machine.lanes[threads] != np.arange(len(threads)) % 32).any():
        raise FaultError("an instruction of a whole warp that some of its threads do not reach")


@_instruction("griddepcontrol")
def _griddepcontrol(machine: Machine, statement: Statement, threads: Any) -> None:
    # The machine keeps who has waited. Releasing the next kernel changes nothing here.
    if "launch_dependents" not in statement.modifiers:
        raise NotImplementedError(statement.text)
