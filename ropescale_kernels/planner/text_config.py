"""The text model's part of a config, with what its class adds: keys that heads and layers need."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import RopeScaleConfigError, expected
from ..scaling import validate as check
from ..scaling.config.dialects import DIALECTS
from ..scaling.config.rope_entry import RopeEntry, find_rope_entry
from ..scaling.config.rope_parameters import layer_types
from .compare import BASELINE


class TextConfig:
    """Keys of the text model, by name, the class's defaults behind them."""

    def __init__(self, config: Mapping[str, object]) -> None:
        """Read a config.

        Args:
            config: A model's config, possibly multimodal.

        Raises:
            RopeScaleConfigError: If its rope parameters are no mapping.
        """
        self.rope_layer_types = layer_types(config)
        self.entry: RopeEntry = find_rope_entry(config, DIALECTS[BASELINE], self.main_layer_type())
        self.nested = config.get("text_config") is not None
        self._whole = config

    def main_layer_type(self) -> str | None:
        """Return the layer type that reaches over the whole context."""
        names = self.rope_layer_types
        return "full_attention" if "full_attention" in names else names[0]

    @property
    def model_type(self) -> str:
        """Name of the model type, "" where the config has none."""
        return self.entry.model_type

    def get(self, key: str) -> object:
        """Return a key's value, its class's default, or None."""
        return self.entry.top(key)

    def anywhere(self, key: str) -> object:
        """Return a key's value of the text model, else of the whole model, or None."""
        value = self.get(key)
        return self._whole.get(key) if value is None else value

    def length(self, key: str) -> int:
        """Return a positive integer.

        Raises:
            RopeScaleConfigError: If it is missing or something else.
        """
        return check.length(key, self.present(key))

    def present(self, key: str) -> object:
        """Return a key's value.

        Raises:
            RopeScaleConfigError: If neither the config nor its class has one.
        """
        value = self.get(key)
        if value is None:
            raise RopeScaleConfigError(expected(key, "an integer in the config", "no such key"))
        return value

    def optional_length(self, key: str) -> int | None:
        """Return a positive integer, or None where there is no such key.

        Raises:
            RopeScaleConfigError: If it is something else.
        """
        value = self.get(key)
        return None if value is None else check.length(key, value)

    def head_dim(self) -> int:
        """Return the channels of a key's head."""
        if self.get("head_dim") is not None:
            return self.length("head_dim")
        return self.length("hidden_size") // self.length("num_attention_heads")

    def value_head_dim(self) -> int:
        """Return the channels of a value's head."""
        return self.head_dim() if self.get("v_head_dim") is None else self.length("v_head_dim")

    def kv_heads(self) -> int:
        """Return the number of heads of keys and values in a layer."""
        if self.get("multi_query") is True and self.get("new_decoder_architecture") is not True:
            return 1
        for key in ("num_key_value_heads", "num_kv_heads"):
            if self.get(key) is not None:
                return self.length(key)
        return self.length("num_attention_heads")
