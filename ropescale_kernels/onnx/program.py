"""Replace the operators of this package in an exported program by the standard RotaryEmbedding."""

from __future__ import annotations

from typing import Any

from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from ..errors import RopeScaleTypeError, RopeScaleUnsupportedError, RopeScaleValueError, expected
from ..ops.kinds import Call
from ..table.state import GradLeaves, TableTensors, schema_name
from . import standard
from .caches import caches_of
from .edit import Edit

_BY_TABLE = ("rotary_qk", "rotary_qk_")
_BY_ROWS = ("rotary_cos_sin",)
_TABLE = tuple(schema_name(name) for name in TableTensors._fields)
# The arguments that the graph follows, by their names in the schemas. `impl` chooses among equal
# results, and only gradients read the leaves.
_FOLLOWED = {
    *("q", "k", "position_ids", "profile_ids", "interleaved", "conjugate", "phase_float32"),
    *("cos", "sin", "rotary_dim", "impl"),
    *_TABLE,
    *(schema_name(name) for name in GradLeaves._fields),
}


def prepare(program: ExportedProgram, *, max_position: int) -> ExportedProgram:
    """Return the program with calls of this package's operators as the standard RotaryEmbedding.

    The new program holds rows of cos and sin for the positions 0 to `max_position`, float32, with
    the bits of the kernels: `4 * (max_position + 2) * rotary_dim` bytes for each table and
    magnitude. Calls with equal tables share them. The standard operator computes in float32, and
    the result is rounded once to the type of q. A token whose position or profile is out of range
    gets NaN in its rotated channels.

    Args:
        program: What `torch.export.export` returned. It is left as it is.
        max_position: The largest position that the graph serves: a context of n tokens has n - 1.

    Returns:
        A program for `torch.onnx.export(program, opset_version=23)`; torch can run it too.

    Raises:
        RopeScaleTypeError: An argument of the wrong kind.
        RopeScaleValueError: A negative `max_position`, or a program without our operators.
        RopeScaleUnsupportedError: A dynamic table, a table that is no constant of the program, a
            call in a subgraph, a program that is decomposed already, or an option that the graph
            does not follow.

    Example:
        >>> import torch, ropescale_kernels as rk
        >>> from ropescale_kernels.onnx import prepare
        >>> rotary = rk.RotaryEmbedding(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
        >>> args = torch.randn(1, 8, 4, 64), torch.randn(1, 8, 1, 64), torch.arange(8)
        >>> program = prepare(torch.export.export(rotary, args), max_position=4095)
        >>> q, k = program.module()(*args)
    """
    if not isinstance(program, ExportedProgram):
        want = "the ExportedProgram that torch.export.export returns"
        raise RopeScaleTypeError(expected("program", want, type(program).__name__))
    if isinstance(max_position, bool) or not isinstance(max_position, int):
        raise RopeScaleTypeError(expected("max_position", "an int", type(max_position).__name__))
    if max_position < 0:
        raise RopeScaleValueError(expected("max_position", "0 or more", max_position))
    _refuse_hidden_calls(program)
    translation = _Translation(program, max_position)
    calls = [node for node in translation.edit.graph.nodes if _is_ours(node.target)]
    if not calls:
        want = f"a call of {Call.NAMESPACE}::{', '.join((*_BY_TABLE, *_BY_ROWS))}"
        raise RopeScaleValueError(expected("program", want, "none"))
    for call in calls:
        translation.replace(call)
    return translation.edit.finish()


def _is_ours(target: Any) -> bool:
    return isinstance(target, OpOverload) and target.namespace == Call.NAMESPACE


def _refuse_hidden_calls(program: ExportedProgram) -> None:
    """Refuse calls that are not in the outermost graph as calls of an operator."""
    for name, module in program.graph_module.named_modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            if name and _is_ours(node.target):
                hint = "If it is torch.no_grad() in the model, export under torch.no_grad()."
                want = "calls of apply_rotary_qk outside torch.cond, scan and grad modes"
                raise RopeScaleUnsupportedError(expected("program", want, f"{name}.{node}", hint))
            if any(_is_ours(x) for x in node.args):
                want = "the program that torch.export.export returned"
                hint = "Call prepare before run_decompositions."
                got = f"the decomposed call {node}"
                raise RopeScaleUnsupportedError(expected("program", want, got, hint))


def _arguments(call: Node) -> dict[str, Any]:
    """Return the arguments of a call by their names in the schema.

    Raises:
        RopeScaleUnsupportedError: An operator, or an option, that the graph does not follow.
    """
    target: Any = call.target
    if _name(call) not in (*_BY_TABLE, *_BY_ROWS):
        want = f"calls of {', '.join((*_BY_TABLE, *_BY_ROWS))}"
        raise RopeScaleUnsupportedError(expected("program", want, _name(call)))
    arguments = target._schema.arguments
    values = {x.name: x.default_value for x in arguments}
    values.update(zip(values, call.args, strict=False))
    values.update(call.kwargs)
    for argument in arguments:
        name, value = argument.name, values[argument.name]
        if name not in _FOLLOWED and value != argument.default_value:
            want = "no value, because a graph for ONNX does not follow this argument"
            raise RopeScaleUnsupportedError(expected(name, want, str(value)))
    return values


def _name(call: Node) -> str:
    target: Any = call.target
    return str(target._schema.name).removeprefix(f"{Call.NAMESPACE}::")


def _table_of(edit: Edit, values: dict[str, Any]) -> TableTensors:
    """Return the values of a call's table.

    Raises:
        RopeScaleUnsupportedError: A dynamic table, or one that is no constant of the program.
    """
    if values["pos_freqs"] is not None:
        want = "a static table, because the rows of cos and sin are constants"
        hint = "Build it of scaling.at_seq_len(n) for the longest n."
        raise RopeScaleUnsupportedError(expected("table", want, "a dynamic one", hint))
    found: list[Any] = []
    for name in _TABLE:
        node = values[name]
        value = None if node is None else edit.value(node)
        if node is not None and value is None:
            want = "a table that the program holds as a constant"
            hint = "Make the table an attribute of the model, and call update_ outside of it."
            raise RopeScaleUnsupportedError(expected("table", want, f"{name} from {node}", hint))
        found.append(None if value is None else value.cpu())
    return TableTensors(*found)


class _Translation:
    """Calls of a program as the standard operator, with the rows of cos and sin that they share."""

    def __init__(self, program: ExportedProgram, max_position: int) -> None:
        self.edit = Edit(program)
        self._max_position = max_position
        # By the bits of the table, the options of the call and the device.
        self._caches: dict[bytes, list[tuple[Node, Node]]] = {}

    def replace(self, call: Node) -> None:
        """Replace one call."""
        values = _arguments(call)
        heads = [values[name] for name in ("q", "k") if values[name] is not None]
        if _name(call) in _BY_ROWS:
            results = self._by_rows(call, heads, values)
        else:
            results = self._by_table(call, heads, values)
        if _name(call).endswith("_"):
            self.edit.write(call, heads, results)
        else:
            self.edit.replace(call, results)

    def _by_table(self, call: Node, heads: list[Node], values: dict[str, Any]) -> list[Node]:
        tensors = _table_of(self.edit, values)
        has_profiles = values["profile_ids"] is not None
        num_profiles = tensors.inv_freq_bits.shape[0] if has_profiles else 1
        return self.edit.trace(
            call,
            standard.by_table,
            heads,
            values["position_ids"],
            values["profile_ids"],
            self._caches_of(
                heads[0],
                tensors,
                conjugate=values["conjugate"],
                phase_float32=values["phase_float32"],
                num_profiles=num_profiles,
            ),
            values["axis_ids"],
            num_profiles=num_profiles,
            interleaved=values["interleaved"],
        )

    def _caches_of(
        self, heads: Node, tensors: TableTensors, **options: Any
    ) -> list[tuple[Node, Node]]:
        words = [b"" if x is None else x.numpy().tobytes() for x in tensors]
        key = b"".join([repr((options, heads.meta["val"].device)).encode(), *words])
        if key not in self._caches:
            caches = caches_of(tensors, max_position=self._max_position, **options)
            self._caches[key] = [
                (
                    self.edit.constant("ropescale_cos", cos, heads),
                    self.edit.constant("ropescale_sin", sin, heads),
                )
                for cos, sin in caches
            ]
        return self._caches[key]

    def _by_rows(self, call: Node, heads: list[Node], values: dict[str, Any]) -> list[Node]:
        return self.edit.trace(
            call,
            standard.by_rows,
            heads,
            values["cos"],
            values["sin"],
            values["position_ids"],
            rotary_dim=values["rotary_dim"],
            interleaved=values["interleaved"],
            conjugate=values["conjugate"],
        )
