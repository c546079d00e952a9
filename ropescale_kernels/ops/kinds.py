"""Kinds of an operator's arguments; schema, fakes, gradients, vmap and DTensor derive from them.

An operator is a dataclass derived from `Call`, decorated with `operator`. Each field made by
`argument` is an argument of the operator, in the order of the fields; a table stands for several
arguments. Other fields are no arguments, and they are keyword-only. A new argument goes last and
has a default, because saved programs name the arguments that they pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch

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
    NUMBERS = auto()
    TEXT = auto()


# The other kinds are tensors.
_SCHEMA_TYPES = {Kind.FLAG: "bool", Kind.NUMBER: "int", Kind.NUMBERS: "int[]", Kind.TEXT: "str"}


# The default of an argument without one; None is a default like any other.
_REQUIRED: Any = object()


@dataclasses.dataclass(frozen=True)
class Argument:
    """A field of a call, as `argument` declares it.

    Args:
        kind: The meaning.
        optional: Whether a tensor, or NUMBERS, may be None.
        written: Whether the operator writes the tensor.
        gradient: The heads whose upstream gradient these heads are.
        lead: Axes in front of those of tokens: "axes" for the optional axis of M-RoPE, "copies" for
            an axis that is always there.
        by_sequence: Whether a tensor `(batch,)` holds one value per sequence; see
            `is_by_sequence`.
        dtypes: The dtypes of values per token.
        row_index: The field whose values index the rows; if it is None, each token has a row.
        row_axes: The field of M-RoPE sections. If the field is not None, the rows have an axis in
            front of the tokens', one entry for each M-RoPE axis.
        leaves: Whether the table brings its GradLeaves.
        is_adjoint: Whether a flipped flag gives the adjoint operator.
        default: The default in the schema.
        schema_name: The name in the schema, if it is not the field's. It is frozen.
    """

    kind: Kind
    optional: bool = False
    written: bool = False
    gradient: str = ""
    lead: str = ""
    by_sequence: bool = False
    dtypes: tuple[torch.dtype, ...] = (torch.int32, torch.int64)
    row_index: str = ""
    row_axes: str = ""
    leaves: bool = False
    is_adjoint: bool = False
    default: Any = _REQUIRED
    schema_name: str = ""

    def has_row_axes(self, values: dict[str, Any]) -> bool:
        """Return whether an axis of M-RoPE leads these rows in a call with the arguments."""
        return bool(self.row_axes) and values[self.row_axes] is not None


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
    list. `gradient` is the leaf of a table whose gradient the result is.
    """

    like: str
    lead: str = ""
    dtype: torch.dtype | None = None
    option: str = ""
    gradient: str = ""


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
    # `operator` sets the following. The arguments in the order of the schema, and their names in
    # Python; the arguments by field; the fields of heads that are rotated, the first of which gives
    # the shape of tokens; the fields of tensors besides the table; the tensors that a kernel reads,
    # with their kinds.
    SLOTS: ClassVar[tuple[Slot, ...]]
    KEYS: ClassVar[tuple[str, ...]]
    ARGUMENTS: ClassVar[dict[str, Argument]]
    HEADS: ClassVar[tuple[str, ...]]
    INPUTS: ClassVar[tuple[str, ...]]
    READ: ClassVar[tuple[tuple[str, Kind], ...]]
    PLAN: ClassVar[Plan]


class Plan(NamedTuple):
    """Places in the order of a schema, found once per operator because each call needs them."""

    # The place of the first heads.
    heads: int
    # The tensors that a kernel reads, and their kinds.
    read: tuple[tuple[int, Kind], ...]
    # The tensors that the operator writes.
    written: tuple[int, ...]
    # The first tensor of the table, which is also the place of the table among the fields; the ends
    # of its TableTensors and of its GradLeaves. None without a table.
    table: tuple[int, int, int] | None
    # The values that bring the position axes of the table.
    axes: int | None
    # For each output, the place of `like`, and of `option` or None.
    results: tuple[tuple[int, int | None], ...]
    returns_list: bool


_Call = TypeVar("_Call", bound=Call)


def operator(kind: type[_Call]) -> type[_Call]:
    """Derive from the fields of a dataclass what the machinery reads."""
    slots = kind.SLOTS = _slots_of(kind)
    kind.KEYS = tuple(slot.key for slot in slots)
    kind.READ = tuple((slot.key, slot.argument.kind) for slot in slots if slot.is_tensor)
    kind.ARGUMENTS = {slot.field: slot.argument for slot in slots}
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    positional = [field.name for field in fields if not field.kw_only]
    assert positional == list(kind.ARGUMENTS), f"{kind.NAME}: a field that is no argument"
    tensors = [slot for slot in slots if slot.is_tensor and not slot.part]
    kind.INPUTS = tuple(slot.field for slot in tensors)
    kind.HEADS = tuple(
        slot.field
        for slot in tensors
        if slot.argument.kind is Kind.HEADS and not slot.argument.gradient
    )
    kind.PLAN = _plan_of(kind)
    return kind


def _plan_of(kind: type[Call]) -> Plan:
    at = {key: i for i, key in enumerate(kind.KEYS)}
    parts = [at[slot.key] for slot in kind.SLOTS if slot.part]
    axes = [at[slot.key] for slot in kind.SLOTS if slot.argument.lead == "axes"]
    return Plan(
        heads=at[kind.HEADS[0]],
        read=tuple((at[key], of) for key, of in kind.READ),
        written=tuple(at[slot.key] for slot in kind.SLOTS if slot.argument.written),
        table=(parts[0], parts[0] + len(TableTensors._fields), parts[-1] + 1) if parts else None,
        axes=axes[0] if axes else None,
        results=tuple((at[o.like], at[o.option] if o.option else None) for o in kind.OUTPUTS),
        returns_list=any(output.option for output in kind.OUTPUTS),
    )


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
    if kind.PLAN.returns_list:
        results = "Tensor[]"
    else:
        results = ", ".join(["Tensor"] * len(kind.OUTPUTS))
        results = results if len(kind.OUTPUTS) == 1 else f"({results})"
    return f"({', '.join(words)}) -> {results}"


def bind(
    kind: type[Call], args: Sequence[Any], kwargs: dict[str, Any] | None = None
) -> Sequence[Any]:
    """Return the arguments of an operator in the order of its schema.

    torch.library leaves out arguments that are at their defaults, so the others are bound by their
    names in the schema.
    """
    if len(args) == len(kind.KEYS):
        return args
    values = {slot.name: slot.argument.default for slot in kind.SLOTS}
    values.update(zip(values, args, strict=False))
    values.update(kwargs or {})
    return tuple(values.values())


def by_name(kind: type[Call], values: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of an operator by their names in Python."""
    return dict(zip(kind.KEYS, values, strict=True))


def present(kind: type[Call], values: Sequence[Any]) -> list[bool]:
    """Return which of its results a call with these arguments has."""
    return [
        values[like] is not None and (option is None or bool(values[option]))
        for like, option in kind.PLAN.results
    ]


def values_of(kind: type[Call], call: Any) -> list[Any]:
    """Return the arguments of an operator in order, from the fields of a call."""
    values = [getattr(call, name) for name in kind.ARGUMENTS]
    if kind.PLAN.table is not None:
        start, stop, end = kind.PLAN.table
        table = values[start]
        values[start : start + 1] = table.state + (table.sources if end > stop else ())
    return values


def call_from(kind: Any, values: Sequence[Any]) -> Any:
    """Return the call that has these arguments, the tensors of its table checked."""
    plan: Plan = kind.PLAN
    if plan.table is None:
        return kind(*values)
    start, stop, end = plan.table
    tensors = TableTensors(*values[start:stop])
    num_axes = 0 if tensors.axis_ids is None else _num_axes(plan, values)
    table = TableState(tensors, num_axes)
    table.check()
    if end > stop:
        table.sources = tuple(values[stop:end])
    return kind(*values[:start], table, *values[end:])


def is_by_sequence(shape: Sequence[int], tokens: Sequence[int]) -> bool:
    """Return whether values have the shape `(batch,)`, which wins over an equal `(seqlen,)`.

    Args:
        shape: Shape of an argument that may hold one value per sequence.
        tokens: Shape of the tokens, `(batch, seqlen)` or `(num_tokens,)`.
    """
    return len(shape) == 1 and len(tokens) == 2 and shape[0] == tokens[0]


def _num_axes(plan: Plan, values: Sequence[Any]) -> int:
    """Return the position axes of a table with `axis_ids`: those that position_ids bring, or 0."""
    if plan.axes is None:
        return 0
    x = values[plan.axes]
    return int(x.shape[0]) if x.dim() > values[plan.heads].dim() - 2 else 0
