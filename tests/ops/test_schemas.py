"""The operators' schemas are frozen: programs saved by earlier versions name their arguments."""

from __future__ import annotations

import pytest
import torch

import ropescale_kernels.operators  # noqa: F401

SCHEMAS = {
    "rotary_qk": "ropescale::rotary_qk(Tensor q, Tensor? k, Tensor position_ids, "
    "Tensor? profile_ids, Tensor steps, Tensor inv_freq_bits, Tensor factor_bits, "
    "Tensor? axis_ids, Tensor? pos_freqs, Tensor? ramp, Tensor? scales, Tensor? inv_freq, "
    "Tensor? factors, bool interleaved, bool conjugate, bool phase_float32, str impl) "
    "-> (Tensor, Tensor)",
    "rotary_qk_": "ropescale::rotary_qk_(Tensor(a!) q, Tensor(b!)? k, Tensor position_ids, "
    "Tensor? profile_ids, Tensor steps, Tensor inv_freq_bits, Tensor factor_bits, "
    "Tensor? axis_ids, Tensor? pos_freqs, Tensor? ramp, Tensor? scales, bool interleaved, "
    "bool conjugate, bool phase_float32, str impl) -> ()",
    "rotary_qk_scaling_grad": "ropescale::rotary_qk_scaling_grad(Tensor grad_q, Tensor? grad_k, "
    "Tensor q, Tensor? k, Tensor position_ids, Tensor? profile_ids, Tensor steps, "
    "Tensor inv_freq_bits, Tensor factor_bits, Tensor? axis_ids, Tensor? pos_freqs, "
    "Tensor? ramp, Tensor? scales, bool interleaved, bool conjugate, bool phase_float32, "
    "str impl) -> (Tensor, Tensor)",
    "rotary_cos_sin": "ropescale::rotary_cos_sin(Tensor q, Tensor? k, Tensor cos, Tensor sin, "
    "Tensor? position_ids, int rotary_dim, bool interleaved, bool conjugate, str impl, "
    "int[]? mrope_section=None, bool mrope_interleaved=False) -> (Tensor, Tensor)",
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_frozen(name: str) -> None:
    operator = getattr(torch.ops.ropescale, name).default
    assert str(operator._schema) == SCHEMAS[name]
    assert torch.Tag.pt2_compliant_tag in operator.tags


def test_every_registered_operator_has_a_frozen_schema() -> None:
    registered = torch._C._dispatch_get_all_op_names()
    ours = {name.removeprefix("ropescale::") for name in registered if "ropescale::" in name}
    assert ours == set(SCHEMAS)
