"""docs/choosing.md: the dialects and their magnitudes, from the code that resolves configs."""

from __future__ import annotations

from typing import Any

from ropescale_kernels.planner.compare import DialectResult, compare_dialects
from ropescale_kernels.scaling.config.dialects import DIALECTS, OTHER_ENGINES, Dialect

from .marks import ROOT, replaced, table

PAGE = ROOT / "docs" / "choosing.md"
EVERYONE = {**DIALECTS, **OTHER_ENGINES}
Config = dict[str, Any]


def _qwen3(maximum: int, **rope: Any) -> Config:
    """Return a config of Qwen3 with YaRN."""
    return {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "head_dim": 128,
        "rope_theta": 1e6,
        "max_position_embeddings": maximum,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
            **rope,
        },
    }


def _deepseek(**rope: Any) -> Config:
    """Return a config of DeepSeek-V3 with YaRN."""
    return {
        "model_type": "deepseek_v3",
        "hidden_size": 7168,
        "num_attention_heads": 128,
        "qk_rope_head_dim": 64,
        "rope_theta": 1e4,
        "max_position_embeddings": 163840,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 40.0,
            "original_max_position_embeddings": 4096,
            **rope,
        },
    }


# Heading of a column to the config in it. The parity tests hold each of these configs against the
# code of the engines (tests/pages/test_choosing.py).
COLUMNS = {
    "s=4": _qwen3(131072),
    "s=4, max 40960": _qwen3(40960),
    "s=64, attention_factor 1": _qwen3(32768 * 64, factor=64.0, attention_factor=1.0),
    "s=4, attn_factor 0.878": _qwen3(131072, attn_factor=0.8782488562869419),
    "s=16, mscale 1 / 1": _qwen3(32768 * 16, factor=16.0, mscale=1.0, mscale_all_dim=1.0),
    "s=4, mscale 0 / 0": _qwen3(131072, mscale=0, mscale_all_dim=0),
    "s=4, mscale 0.7 / 1.2": _qwen3(131072, mscale=0.7, mscale_all_dim=1.2),
}
MLA = {
    "mscale 1 / 1": _deepseek(mscale=1.0, mscale_all_dim=1.0),
    "mscale 0.707 / 1": _deepseek(mscale=0.707, mscale_all_dim=1.0),
    "no mscale": _deepseek(),
    "mscale 1 / 1, attention_factor 1": _deepseek(
        mscale=1.0, mscale_all_dim=1.0, attention_factor=1.0
    ),
}
# Dialects that have code for DeepSeek's models.
WITH_MLA = ("hf", "hf-4.51", "vllm", "sglang", "deepseek")


def _found(dialects: dict[str, Dialect], config: Config) -> dict[str, DialectResult]:
    return {found.dialect: found for found in compare_dialects(config, dialects=dialects)}


def magnitudes() -> str:
    """Return the attention factor of each case in each implementation."""
    found = {heading: _found(EVERYONE, config) for heading, config in COLUMNS.items()}
    rows = []
    for name, dialect in EVERYONE.items():
        if name == "deepseek":
            continue
        cells = [_cell(each[name], each["hf"], name in DIALECTS) for each in found.values()]
        rows.append([f"{name} ({dialect.release})" if name in DIALECTS else name, *cells])
    return table(["", *COLUMNS], rows)


def mla_magnitudes() -> str:
    """Return the attention factor and the softmax multiplier of DeepSeek's models."""
    dialects = {name: DIALECTS[name] for name in WITH_MLA}
    found = {heading: _found(dialects, config) for heading, config in MLA.items()}
    rows = []
    for name in WITH_MLA:
        cells = []
        for each in found.values():
            softmax = each[name].softmax_scale_multiplier
            marks = "**" if each[name].other_magnitude else ""
            cells.append(f"{marks}{each[name].attention_factor:.6g}, {softmax:.6g}{marks}")
        rows.append([name, *cells])
    return table(["", *MLA], rows)


def _cell(reading: DialectResult, hf: DialectResult, whole: bool) -> str:
    assert reading.attention_factor is not None
    if reading.attention_factor != hf.attention_factor:
        return f"**{reading.attention_factor:.6g}**"
    # A partly read engine states differences only: an equal number would claim too much.
    return f"{reading.attention_factor:.6g}" if whole else ""


def points() -> str:
    """Return the treatment of YaRN's keys by each dialect."""
    rows = []
    for name, dialect in DIALECTS.items():
        yarn = dialect.yarn
        factor = {"explicit": "the key", "or_one": "the key, or 1", "ratio": "max / L"}
        length = {"original": "L", "maximum": "max"}[yarn.length]
        betas = {"or_default": "default", "as_given": "an error"}
        magnitude = "replaces" if yarn.attention_factor else "dropped"
        rows.append(
            [
                name,
                factor[yarn.factor] + (" (null: max / L)" if yarn.null_factor else ""),
                length + (f", M-RoPE {yarn.mrope_length}L" if yarn.mrope_length > 1 else ""),
                magnitude if yarn.scales_q_and_k else "softmax scale only",
                "multiplies" if yarn.attn_factor else "ignored",
                {"both_nonzero": "if neither is 0", "both_present": "if both are given"}.get(
                    yarn.mscale, yarn.mscale
                ),
                "read" if yarn.truncate else "ignored",
                betas[yarn.betas],
            ]
        )
    headings = ["", "factor", "ramp measured in", "attention_factor", "attn_factor",
                "mscale ratio", "truncate", "a beta of 0"]  # fmt: skip
    return table(headings, rows)


def rewritten(text: str) -> str:
    """Return the page with fresh parts."""
    parts = {"points": points(), "magnitudes": magnitudes(), "mla": mla_magnitudes()}
    return replaced(text, parts)
