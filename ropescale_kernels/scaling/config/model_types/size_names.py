"""Names of a model's sizes in classes that the table does not have: GPT-2's, MPT's, T5's, ..."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The name in most classes, and the other names of the same size.
SIZE_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hidden_size": ("n_embd", "n_embed", "d_model"),
        "num_attention_heads": ("n_head", "n_heads", "num_heads"),
        "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    }
)
