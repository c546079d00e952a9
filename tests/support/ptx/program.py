"""The text of a kernel, read: parameters, registers, statements, labels."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import cached_property

from .values import Type, type_of

_ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*\(")
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(?P<align>\d+)\s+)?\.(?P<type>\w+)\s+"
    r"(?:\.ptr\s+(?:\.\w+\s+)?(?:\.align\s+\d+\s+)?)?(?P<name>[\w$]+)(?:\[(?P<count>\d+)\])?"
)
_SHARED = re.compile(r"\.shared\s+\.align\s+\d+\s+\.b8\s+([\w$]+)")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)", re.S)
_LABEL = re.compile(r"([$\w]+):\s*")
_STATEMENT = re.compile(
    r"(?:@(?P<negated>!?)(?P<guard>%\w+)\s+)?(?P<opcode>[a-z]\w*(?:[.:]+\w+)*)\s*(?P<rest>.*)", re.S
)
_ADDRESS = re.compile(r"\[\s*([^\s+\]]+)\s*(?:\+\s*(-?\w+))?\s*\]")
# After these, threads of a launch may be at different places.
_ENDS_RUN = ("bra", "ret", "exit", "bar", "barrier")


@dataclass(frozen=True)
class Statement:
    """One instruction.

    Attributes:
        text: As in the file.
        opcode: With its modifiers, such as "add.rn.f32".
        operands: Names, numbers, addresses `[base+offset]` and vectors `{a, b}`, as written.
        guard: The predicate under which it runs, or None.
        negated: Whether it runs where the predicate is false.
    """

    text: str
    opcode: str
    operands: tuple[str, ...]
    guard: str | None = None
    negated: bool = False

    @cached_property
    def name(self) -> str:
        """The instruction without modifiers."""
        return self.opcode.split(".")[0]

    @cached_property
    def modifiers(self) -> tuple[str, ...]:
        """The parts of the opcode behind the name."""
        return tuple(part for part in re.split(r"[.:]+", self.opcode)[1:] if part)

    @cached_property
    def types(self) -> tuple[Type, ...]:
        """The types among the modifiers; `cvt` has two, the destination's first."""
        found = (type_of(modifier) for modifier in self.modifiers)
        return tuple(each for each in found if each is not None)

    @cached_property
    def type(self) -> Type:
        """The type of the operands."""
        return self.types[-1]

    @cached_property
    def is_barrier(self) -> bool:
        """Whether threads of a block wait here for each other."""
        return self.name in ("bar", "barrier")

    @cached_property
    def is_of_shared_memory(self) -> bool:
        """Whether it is a barrier, or accesses shared memory."""
        return self.is_barrier or any(each.startswith("shared") for each in self.modifiers)


class Program:
    """A kernel of a PTX file.

    Attributes:
        name: Its symbol.
        parameters: Offset of each parameter in the bytes of a launch's arguments.
        parameter_bytes: Their size in all.
        registers: Size of each register in bytes, 0 for a predicate.
        shared: Symbols of shared memory.
        statements: In order.
        labels: Index of the statement behind each label.
        waits: Whether it has a `griddepcontrol.wait`.
    """

    def __init__(self, text: str, symbol: str) -> None:
        """Read the one kernel whose name contains `symbol`."""
        entries = [match for match in _ENTRY.finditer(text) if symbol in match[1]]
        if len(entries) != 1:
            raise ValueError(f"{symbol}: expected one kernel, got {[each[1] for each in entries]}")
        self.name = entries[0][1]
        whole = text
        text = re.sub(r"//[^\n]*", "", text[entries[0].end() :])
        head, _, rest = text.partition("{")
        self.parameters: dict[str, int] = {}
        self.parameter_bytes = self._read_parameters(head.partition(")")[0])
        self.registers: dict[str, int] = {}
        self.statements: list[Statement] = []
        self.labels: dict[str, int] = {}
        self._read_body(_body(rest))
        # Symbols stand before the kernel; each kernel of ours has at most one.
        self.shared = set(_SHARED.findall(whole))
        self.waits = any(each.opcode == "griddepcontrol.wait" for each in self.statements)

    @cached_property
    def run_ends(self) -> dict[int, int]:
        """From the first statement of each straight run to the index behind its last."""
        starts = {0, *self.labels.values()}
        starts |= {i + 1 for i, each in enumerate(self.statements) if each.name in _ENDS_RUN}
        inside = sorted(start for start in starts if start < len(self.statements))
        return dict(zip(inside, [*inside[1:], len(self.statements)], strict=True))

    def replaced(self, index: int, text: str) -> Program:
        """Return a copy with another statement at an index."""
        other = copy.copy(self)
        other.statements = [*self.statements]
        other.statements[index] = statement(text)
        return other

    def moved(self, index: int, behind: int) -> Program:
        """Return a copy whose statement at `index` stands behind the later one at `behind`."""
        other = copy.copy(self)
        other.statements = [*self.statements]
        other.statements.insert(behind, other.statements.pop(index))
        other.labels = {
            label: at - 1 if index < at <= behind else at for label, at in self.labels.items()
        }
        other.__dict__.pop("run_ends", None)
        return other

    def _read_parameters(self, text: str) -> int:
        offset = 0
        for match in _PARAMETER.finditer(text):
            kind = type_of(match["type"])
            assert kind is not None, match[0]
            align = int(match["align"] or kind.size)
            offset = -(-offset // align) * align
            self.parameters[match["name"]] = offset
            offset += kind.size * int(match["count"] or 1)
        return offset

    def _read_body(self, text: str) -> None:
        # Statements end with a semicolon; labels, directives and braces end with their line.
        text = re.sub(r"^\s*\.(loc|file|pragma)\b[^\n]*$", "", text, flags=re.M)
        for piece in text.split(";"):
            words = piece.strip()
            while words:
                label = _LABEL.match(words)
                if label:
                    self.labels[label[1]] = len(self.statements)
                    words = words[label.end() :]
                elif words[0] in "{}":
                    words = words[1:].lstrip()
                else:
                    break
            if words.startswith(".reg"):
                self._declare(words)
            elif words and not words.startswith("."):
                self.statements.append(statement(words))

    def _declare(self, text: str) -> None:
        match = _REGISTERS.match(text)
        assert match is not None, text
        kind = type_of(match[1])
        assert kind is not None, text
        for name in match[2].split(","):
            stem, _, count = name.strip().rstrip(">").partition("<")
            names = [f"{stem}{i}" for i in range(int(count))] if count else [stem]
            self.registers.update(dict.fromkeys(names, kind.size))


def _body(text: str) -> str:
    """Return what stands before the brace that closes the kernel."""
    depth = 1
    for match in re.finditer(r"[{}]", text):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return text[: match.start()]
    raise ValueError("a kernel's closing brace is missing")


def statement(text: str) -> Statement:
    """Read one instruction."""
    match = _STATEMENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"no instruction: {text!r}")
    # `p|q` is one operand: a second result, which is read off the name.
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", match["rest"])
    return Statement(
        " ".join(text.split()),
        match["opcode"],
        tuple(each.strip() for each in operands),
        match["guard"],
        match["negated"] == "!",
    )


def address(operand: str) -> tuple[str, int]:
    """Return the base and the offset of an address."""
    match = _ADDRESS.fullmatch(operand)
    if match is None:
        raise ValueError(f"no address: {operand!r}")
    return match[1], int(match[2] or "0", 0)


def members(operand: str) -> tuple[str, ...]:
    """Return the registers of a vector, or the one of a plain operand."""
    if not operand.startswith("{"):
        return (operand,)
    return tuple(each.strip() for each in operand.strip("{} ").split(","))
