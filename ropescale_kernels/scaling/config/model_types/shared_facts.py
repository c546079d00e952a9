"""Facts that rows of several files share."""

from __future__ import annotations

from .layer_keys import FULL, SLIDING
from .model_type import Axes, LayerType, ModelType

PLAIN = ModelType()
AXES_QWEN2 = Axes((16, 24, 24), interleaved=False)
AXES_QWEN3 = Axes((24, 20, 20), interleaved=True)
GPT_OSS_ROPE = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
GEMMA_LAYERS = {
    FULL: LayerType("rope_theta", 1e6, scaled=True),
    SLIDING: LayerType("rope_local_base_freq", 1e4),
}
