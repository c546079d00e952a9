"""Rows of the classes that nest rope parameters by layer type without being asked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .layer_keys import FULL, SLIDING
from .model_type import Axes, LayerType, ModelType
from .shared_facts import GEMMA_LAYERS

_MODERNBERT = ModelType(
    uncounted_layers=True,
    layers={
        FULL: LayerType("global_rope_theta", 1.6e5, scaled=True),
        SLIDING: LayerType("local_rope_theta", 1e4, scaled=True),
    },
)
_PROPORTIONAL = {"rope_type": "proportional", "partial_rotary_factor": 0.25}
_GEMMA4 = {FULL: LayerType(None, 1e6, parameters=_PROPORTIONAL), SLIDING: LayerType(None, 1e4)}
_T5GEMMA2 = ModelType(
    defaults={
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
    },
    layers=GEMMA_LAYERS,
)
_DEEPSEEK_V4: dict[str, Any] = {
    "parameters": {"partial_rotary_factor": 0.125},
    "share_key": "partial_rotary_factor",
    "rotary_dim_key": "qk_rope_head_dim",
}


def _share(share: float) -> dict[str, object]:
    return {"partial_rotary_factor": share}


def _gemma4(
    layers: Mapping[str, LayerType], sliding_window: int, *, partial_in_default: bool = False
) -> ModelType:
    return ModelType(
        defaults={
            "head_dim": 256,
            "global_head_dim": 512,
            "sliding_window": sliding_window,
            "sliding_window_pattern": 6,
        },
        layer_head_dim_keys={FULL: "global_head_dim"},
        rotary_fraction_key="partial_rotary_factor" if partial_in_default else "",
        partial_in_default=partial_in_default,
        layers=layers,
    )


_STEP: dict[str, Any] = {"share_key": "partial_rotary_factors", "parameters": _share(1.0)}
NESTED: Mapping[str, ModelType] = MappingProxyType(
    {
        "beam": ModelType(
            defaults={"head_dim": 128},
            uncounted_layers=True,
            layers={SLIDING: LayerType(None, 1e4)},
            layers_without_rope=frozenset({FULL}),
        ),
        "cohere_compass_text": ModelType(
            head_dim_key="",
            uncounted_layers=True,
            axes=Axes((24, 20, 20), interleaved=True),
            nests=True,
        ),
        "deepseek_v4": ModelType(
            defaults={"head_dim": 512},
            partial_in_default=True,
            uncounted_layers=True,
            layers={
                "main": LayerType("rope_theta", 1e4, **_DEEPSEEK_V4),
                "compress": LayerType(
                    "compress_rope_theta",
                    1.6e5,
                    scaled=True,
                    yarn={"attention_factor": 1.0},
                    keeps=frozenset({"rope_theta", "partial_rotary_factor"}),
                    **_DEEPSEEK_V4,
                ),
            },
            main_layer="compress",
            flat="replaces",
        ),
        "diffusion_gemma_text": _gemma4(_GEMMA4, 512, partial_in_default=True),
        "dots3_note_text": ModelType(
            defaults={
                "head_dim": 256,
                "qk_rope_head_dim": 64,
                "swa_head_dim": 256,
                "swa_qk_rope_head_dim": 64,
            },
            partial_in_default=True,
            layer_head_dim_keys={SLIDING: "swa_head_dim"},
            uncounted_layers=True,
            layers={
                "indexed_attention": LayerType(
                    "rope_theta",
                    8e7,
                    scaled=True,
                    rotary_dim_key="qk_rope_head_dim",
                ),
                SLIDING: LayerType(
                    "swa_rope_theta",
                    5e4,
                    scaled=True,
                    scaled_like="indexed_attention",
                    rotary_dim_key="swa_qk_rope_head_dim",
                ),
            },
            main_layer="indexed_attention",
            flat="replaces",
        ),
        "embedding_gemma2_text": _gemma4(
            {FULL: LayerType(None, 1e6), SLIDING: LayerType(None, 1e4)}, 512
        ),
        "gemma4_text": _gemma4(_GEMMA4, 512),
        "gemma4_unified_text": _gemma4(_GEMMA4, 1024),
        "laguna": ModelType(
            defaults={"head_dim": 128},
            partial_in_default=True,
            layers={
                FULL: LayerType(None, 5e5, parameters=_share(0.5)),
                SLIDING: LayerType(None, 1e4, parameters=_share(1.0)),
            },
        ),
        "lfm3": ModelType(
            defaults={"head_dim": 128},
            uncounted_layers=True,
            layers={
                FULL: LayerType(
                    None, 1e6, parameters={**_PROPORTIONAL, "partial_rotary_factor": 0.5}
                ),
                SLIDING: LayerType(None, 1e4),
            },
        ),
        "mellum": ModelType(
            defaults={"head_dim": 128},
            layers={FULL: LayerType(None, 5e5), SLIDING: LayerType(None, 1e4)},
        ),
        "mimo_v2_flash": ModelType(
            defaults={"head_dim": 192},
            partial_in_default=True,
            uncounted_layers=True,
            layers={
                FULL: LayerType(None, 5e6, parameters=_share(0.334), fills=True),
                SLIDING: LayerType(None, 1e4, parameters=_share(0.334), fills=True),
            },
        ),
        "modernbert": _MODERNBERT,
        "modernbert-decoder": _MODERNBERT,
        "neomme": ModelType(
            defaults={"head_dim": 64},
            partial_in_default=True,
            uncounted_layers=True,
            layers={
                FULL: LayerType("rope_theta", 1e6, parameters=_share(0.25), fills=True),
                SLIDING: LayerType("rope_theta", 1e4, parameters=_share(1.0), fills=True),
            },
        ),
        "step3p5": ModelType(
            defaults={"head_dim": 128},
            partial_in_default=True,
            layer_pattern=(FULL,),
            layers={
                FULL: LayerType("rope_theta", 1e4, scaled=True, **_STEP),
                SLIDING: LayerType("rope_theta", 1e4, **_STEP),
            },
            flat="builds",
        ),
        "t5gemma2_decoder": _T5GEMMA2,
        "t5gemma2_text": _T5GEMMA2,
        "ultrabert": ModelType(
            uncounted_layers=True,
            layer_pattern=(SLIDING, SLIDING, FULL),
            layers={
                FULL: LayerType("rope_theta", 2.56e6),
                SLIDING: LayerType("rope_theta", 1e4),
            },
        ),
        "zaya": ModelType(
            defaults={"head_dim": 128},
            partial_in_default=True,
            layers={
                "hybrid": LayerType(None, 5e6, parameters=_share(0.5)),
                "hybrid_sliding": LayerType(None, 1e4, parameters=_share(0.5)),
            },
            layer_pattern=(FULL,),
            main_layer="hybrid",
        ),
    }
)
