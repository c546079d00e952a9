"""onnxruntime's RotaryEmbedding operator on the CPU, as exported models hold it.

One session has two nodes, for q and for k. The tables of cos and sin by position include the
attention factor. Inputs and outputs are bound to torch's memory, so a run copies nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..cases import Case, Inputs
from ._baseline import Baseline, Call, Pair, float32_table, package_version

_PACKAGES = ("onnxruntime", "onnx")
_ELEMENTS = {"float32": 1, "float16": 10}  # onnx.TensorProto.FLOAT and FLOAT16


def _unavailable(device: torch.device) -> str | None:
    if device.type != "cpu":
        return "timed on the CPU only"
    missing = [name for name in _PACKAGES if package_version(name) is None]
    return f"{', '.join(missing)} not installed" if missing else None


def _unsupported(case: Case) -> str | None:
    if case.dtype not in _ELEMENTS:
        return f"no {case.dtype} kernel on the CPU"
    if case.layout == "packed-qkv":
        return "takes contiguous tensors only"
    return None


def _table_bytes(case: Case, context: int) -> int:
    return context * case.rotary_dim * torch.finfo(getattr(torch, case.dtype)).bits // 8


def _model(case: Case) -> bytes:
    from onnx import helper

    element = _ELEMENTS[case.dtype]
    nodes, ends = [], []
    for name, heads in (("q", case.nheads), ("k", case.nheads_k)):
        nodes.append(
            helper.make_node(
                "RotaryEmbedding",
                [name, "position_ids", "cos", "sin"],
                [f"{name}_out"],
                domain="com.microsoft",
                num_heads=heads,
                # The operator takes neither number if whole heads are rotated.
                rotary_embedding_dim=0 if case.rotary_dim == case.head_dim else case.rotary_dim,
            )
        )
        ends.append(f"{name}_out")
    inputs = [helper.make_tensor_value_info(n, element, None) for n in ("q", "k", "cos", "sin")]
    inputs.append(helper.make_tensor_value_info("position_ids", 7, None))  # INT64
    outputs = [helper.make_tensor_value_info(n, element, None) for n in ends]
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "rotary", inputs, outputs)
    # The oldest format that holds these nodes, because a runtime may not read onnx's newest.
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def _session(case: Case) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Spinning threads would take the cores from the contender that is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(_model(case), options, providers=["CPUExecutionProvider"])


def _prepare(inputs: Inputs) -> Call:
    case, session = inputs.case, _session(inputs.case)
    cos, sin = (x.to(inputs.q.dtype) for x in float32_table(inputs, inputs.attention_factor))

    def bound(q: Tensor, k: Tensor) -> tuple[Any, Tensor, Tensor]:
        q, k = (_as_operator_has_it(x, case) for x in (q, k))
        q_out, k_out = torch.empty_like(q), torch.empty_like(k)
        tensors = {"q": q, "k": k, "cos": cos, "sin": sin, "position_ids": inputs.row_ids}
        binding = session.io_binding()
        for name, x in tensors.items():
            binding.bind_ortvalue_input(name, _value(x))
        for name, x in {"q_out": q_out, "k_out": k_out}.items():
            binding.bind_ortvalue_output(name, _value(x))
        return binding, q_out, k_out

    def bind(q: Tensor, k: Tensor) -> Callable[[], object]:
        binding, _, _ = bound(q, k)
        return lambda: session.run_with_iobinding(binding)

    def result() -> Pair:
        binding, q_out, k_out = bound(inputs.q, inputs.k)
        session.run_with_iobinding(binding)
        return _as_case_has_it(q_out, case), _as_case_has_it(k_out, case)

    return Call(inputs, bind, result, writes="given")


def _as_operator_has_it(x: Tensor, case: Case) -> Tensor:
    """Return x as (batch, seqlen, nheads * head_dim), or (batch, nheads, seqlen, head_dim)."""
    return x.transpose(1, 2) if case.layout == "heads-first" else x.flatten(2)


def _as_case_has_it(x: Tensor, case: Case) -> Tensor:
    return x.transpose(1, 2) if x.dim() == 4 else x.view(*x.shape[:2], -1, case.head_dim)


def _value(x: Tensor) -> Any:
    """Return an OrtValue that shares the memory of a tensor and keeps it alive."""
    import onnxruntime

    assert x.is_contiguous()
    return onnxruntime.OrtValue.ortvalue_from_numpy(x.numpy())


BASELINE = Baseline(
    "onnxruntime",
    _prepare,
    _unavailable,
    _unsupported,
    _table_bytes,
    version=lambda: package_version("onnxruntime"),
)
