"""Kinds of an operator's arguments; schema, fakes, gradients, vmap and DTensor derive from them.

An operator is a dataclass derived from `Call`, decorated with `operator`. Each field made by
`argument` is an argument of the operator, in the order of the fields; a table stands for several
arguments. Other fields are no arguments. A new argument goes last and has a default, because saved
programs name the arguments that they pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..table.state import GradLeaves, TableState, TableTensors, schema_name


class Kind(Enum):
    """The meaning of an argument."""

    # (batch, seqlen, nheads, head_dim) or (num_tokens, nheads, head_dim)
    HEADS = auto()
    # one value per token
    TOKENS = auto()
    # one row per token, or rows that an argument of kind TOKENS indexes
    ROWS = auto()
    # a rotary table: the tensors of TableTensors, then perhaps those of GradLeaves
    TABLE = auto()
    # memory without an axis of tokens, for the operator to write
    BUFFER = auto()
    FLAG = auto()
    NUMBER = auto()
    TEXT = auto()


# The other kinds are tensors.
_SCHEMA_TYPES = {Kind.FLAG: "bool", Kind.NUMBER: "int", Kind.TEXT: "str"}


# The default of an argument without one; None is a default like any other.
_REQUIRED: Any = object()


@dataclasses.dataclass(frozen=True)
class Argument:
    """A field of a call, as `argument` declares it.

    Args:
        kind: The meaning.
        optional: Whether a tensor may be None.
        written: Whether the operator writes the tensor.
        gradient: Whether heads are the upstream gradient of other heads.
        lead: Axes in front of those of tokens: "axes" for the optional axis of M-RoPE, "copies" for
            an axis that is always there.
        by_sequence: Whether a tensor `(batch,)` holds one value per sequence; see
            `is_by_sequence`.
        dtypes: The dtypes of values per token.
        row_index: The field whose values index the rows; if it is None, each token has a row.
        leaves: Whether the table brings its GradLeaves.
        is_adjoint: Whether a flipped flag gives the adjoint operator.
        default: The default in the schema.
        schema_name: The name in the schema, if it is not the field's. It is frozen.
    """

    kind: Kind
    optional: bool = False
    written: bool = False
    gradient: bool = False
    lead: str = ""
    by_sequence: bool = False
    dtypes: tuple[torch.dtype, ...] = (torch.int32, torch.int64)
    row_index: str = ""
    leaves: bool = False
    is_adjoint: bool = False
    default: Any = _REQUIRED
    schema_name: str = ""


def argument(kind: Kind, *, initial: Any = _REQUIRED, **options: Any) -> Any:
    """Return a dataclass field that is an argument of an operator.

    Args:
        kind: The meaning of the argument.
        initial: The field's value in calls made in Python without it; by default the schema's.
        options: The other fields of `Argument`.
    """
    meaning = Argument(kind, **options)
    value = meaning.default if initial is _REQUIRED else initial
    if value is _REQUIRED:
        value = dataclasses.MISSING
    return dataclasses.field(default=value, metadata={"argument": meaning})


class Output(NamedTuple):
    """A result of an operator.

    `like` is the argument, by its name in Python, whose shape the result has. If the argument is
    None, the result is absent. `lead` is an argument whose first axis leads the result too.
    `option` is a flag without which the result is absent; an operator with such an output returns a
    list.
    """

    like: str
    lead: str = ""
    dtype: torch.dtype | None = None
    option: str = ""

    def exists(self, values: dict[str, Any]) -> bool:
        """Return whether a call with these arguments has the result."""
        return values[self.like] is not None and (not self.option or bool(values[self.option]))


class Slot(NamedTuple):
    """One argument in a schema."""

    # The name in the schema, which is frozen.
    name: str
    # The name in Python: the field of the call, or of the table's tensors.
    key: str
    field: str
    argument: Argument
    # The tensor of a table.
    part: str
    optional: bool

    # Whether the argument is a tensor or None.
    is_tensor: bool


class Call:
    """One call of an operator. Derive a dataclass with slots from it, and set NAME and OUTPUTS."""

    __slots__ = ()
    NAMESPACE: ClassVar[str] = "ropescale"
    NAME: ClassVar[str]
    OUTPUTS: ClassVar[tuple[Output, ...]] = ()
    # The public function that takes heads which require grad, of an operator that writes heads.
    OUT_OF_PLACE: ClassVar[str] = ""
    # `operator` sets the following: the arguments in the order of the schema, and their names in
    # Python; the arguments by field; the fields of heads that are rotated, the first of which gives
    # the shape of tokens; the fields of tensors besides the table; the fields besides tables; the
    # tensors that a kernel reads, with their kinds; the arguments that the operator writes.
    SLOTS: ClassVar[tuple[Slot, ...]]
    KEYS: ClassVar[tuple[str, ...]]
    ARGUMENTS: ClassVar[dict[str, Argument]]
    HEADS: ClassVar[tuple[str, ...]]
    INPUTS: ClassVar[tuple[str, ...]]
    PLAIN: ClassVar[tuple[str, ...]]
    READ: ClassVar[tuple[tuple[str, Kind], ...]]
    WRITTEN: ClassVar[tuple[str, ...]]


_Call = TypeVar("_Call", bound=Call)


def operator(kind: type[_Call]) -> type[_Call]:
    """Derive from the fields of a dataclass what the machinery reads."""
    slots = kind.SLOTS = _slots_of(kind)
    kind.KEYS = tuple(slot.key for slot in slots)
    kind.PLAIN = tuple(slot.key for slot in slots if not slot.part)
    kind.READ = tuple((slot.key, slot.argument.kind) for slot in slots if slot.is_tensor)
    kind.WRITTEN = tuple(slot.key for slot in slots if slot.argument.written)
    kind.ARGUMENTS = {slot.field: slot.argument for slot in slots}
    tensors = [slot for slot in slots if slot.is_tensor and not slot.part]
    kind.INPUTS = tuple(slot.field for slot in tensors)
    kind.HEADS = tuple(
        slot.field
        for slot in tensors
        if slot.argument.kind is Kind.HEADS and not slot.argument.gradient
    )
    return kind


def _slots_of(kind: type[Call]) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        meaning: Argument | None = field.metadata.get("argument")
        if meaning is None:
            continue
        if meaning.kind is not Kind.TABLE:
            name = meaning.schema_name or field.name
            is_tensor = meaning.kind not in _SCHEMA_TYPES
            own = Slot(name, field.name, field.name, meaning, "", meaning.optional, is_tensor)
            slots.append(own)
            continue
        optional = TableTensors._field_defaults
        for part in TableTensors._fields:
            is_optional = part in optional
            name = schema_name(part)
            slots.append(Slot(name, part, field.name, meaning, part, is_optional, True))
        for part in GradLeaves._fields if meaning.leaves else ():
            slots.append(Slot(schema_name(part), part, field.name, meaning, part, True, True))
    return tuple(slots)


def schema_of(kind: type[Call]) -> str:
    """Return the schema of an operator, without its name."""
    words, marks = [], iter("abcdefgh")
    for slot in kind.SLOTS:
        word = _SCHEMA_TYPES.get(slot.argument.kind, "Tensor")
        word += f"({next(marks)}!)" if slot.argument.written else ""
        word += "?" if slot.optional else ""
        default = slot.argument.default
        text = f'"{default}"' if isinstance(default, str) else default
        words.append(f"{word} {slot.name}" + ("" if default is _REQUIRED else f"={text}"))
    if returns_list(kind):
        results = "Tensor[]"
    else:
        results = ", ".join(["Tensor"] * len(kind.OUTPUTS))
        results = results if len(kind.OUTPUTS) == 1 else f"({results})"
    return f"({', '.join(words)}) -> {results}"


def returns_list(kind: type[Call]) -> bool:
    """Return whether the number of results depends on an option."""
    return any(output.option for output in kind.OUTPUTS)


def bind(kind: type[Call], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an operator by their names in Python.

    torch.library leaves out arguments that are at their defaults, so the others are bound by their
    names in the schema.
    """
    if len(args) == len(kind.KEYS):
        return dict(zip(kind.KEYS, args, strict=True))
    values = {slot.name: slot.argument.default for slot in kind.SLOTS}
    values.update(zip(values, args, strict=False))
    values.update(kwargs)
    return {slot.key: values[slot.name] for slot in kind.SLOTS}


def values_of(kind: type[Call], call: Any) -> list[Any]:
    """Return the arguments of an operator in order, from the fields of a call."""
    values: list[Any] = []
    for name, meaning in kind.ARGUMENTS.items():
        value = getattr(call, name)
        if meaning.kind is Kind.TABLE:
            values += value.state
            values += value.sources if meaning.leaves else ()
        else:
            values.append(value)
    return values


def call_from(kind: type[Call], values: dict[str, Any]) -> Any:
    """Return the call that has these arguments, the tensors of its table checked."""
    fields = {key: values[key] for key in kind.PLAIN}
    for name, meaning in kind.ARGUMENTS.items():
        if meaning.kind is not Kind.TABLE:
            continue
        tensors = TableTensors(*[values[part] for part in TableTensors._fields])
        table = TableState(tensors, _num_axes(kind, values, tensors.axis_ids))
        table.check()
        if meaning.leaves:
            table.sources = tuple([values[part] for part in GradLeaves._fields])
        fields[name] = table
    return kind(**fields)


def is_by_sequence(shape: Sequence[int], tokens: Sequence[int]) -> bool:
    """Return whether values have the shape `(batch,)`, which wins over an equal `(seqlen,)`.

    Args:
        shape: Shape of an argument that may hold one value per sequence.
        tokens: Shape of the tokens, `(batch, seqlen)` or `(num_tokens,)`.
    """
    return len(shape) == 1 and len(tokens) == 2 and shape[0] == tokens[0]


def _num_axes(kind: type[Call], values: dict[str, Any], axis_ids: Tensor | None) -> int:
    """Return the position axes of a table: those that position_ids bring, or 0."""
    if axis_ids is None:
        return 0
    token_dims = values[kind.HEADS[0]].dim() - 2
    for slot in kind.SLOTS:
        if slot.argument.lead == "axes":
            x = values[slot.key]
            return int(x.shape[0]) if x.dim() > token_dims else 0
    return 0
