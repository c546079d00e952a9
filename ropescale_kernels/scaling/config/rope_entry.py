"""The rope parameters of one layer type in one dialect, and the values of missing ones.

`original_length` decides L, the length of pretraining.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from .class_entries import layer_sizes, own_size
from .dialects import Dialect
from .findings import Findings
from .model_types.config_parts import SUBCONFIG_NAMES
from .model_types.model_type import ModelType
from .model_types.size_names import SIZE_NAMES
from .model_types.trained_lengths import ORIGINAL_KEY


@dataclasses.dataclass(frozen=True)
class RopeEntry:
    """The rope parameters of one layer type, and the config around them.

    Attributes:
        config: The text model's top-level keys.
        dialect: The dialect that reads the config.
        model: Facts about the model type.
        model_type: Name of the model type.
        rope_type: Name of the rule, aliases resolved.
        layer_type: The layer type that was asked for.
        config_key: Key of the config that holds the rope parameters.
        parameters: The rope parameters of the layer type.
        by_layer_type: The mapping of all layer types, or None for flat parameters.
        findings: Collector of warnings and of keys without an effect.
    """

    config: Mapping[str, object]
    dialect: Dialect
    model: ModelType
    model_type: str
    rope_type: str
    layer_type: str | None
    config_key: str
    parameters: Mapping[str, object]
    by_layer_type: Mapping[str, object] | None
    findings: Findings

    def top_level(self, key: str) -> object:
        """Return a top-level key's value, the default of the model type's class, or None."""
        if not key:
            # A class without such a key.
            return None
        value = self.config.get(self.name_of(key))
        return self.model.defaults.get(key) if value is None else value

    def name_of(self, key: str) -> str:
        """Return the name of a top-level key in this config.

        A class of the table may have a name of its own for a size, and an unknown class has any of
        `SIZE_NAMES`.

        Raises:
            RopeScaleConfigError: If the config of an unknown class has a size under two names, with
                two values.
        """
        if self.model.known:
            own = self.model.names.get(key, key)
            return own if self.config.get(key) is None else key
        names = SIZE_NAMES.get(key, ())
        found = [name for name in (key, *names) if self.config.get(name) is not None]
        for name in found[1:]:
            if self.config[name] != self.config[found[0]]:
                got = " and ".join(check.shown(self.config[x]) for x in (found[0], name))
                raise RopeScaleConfigError(expected(f"{found[0]} and {name}", "one size", got))
        return found[0] if found else key

    def require(self, key: str, requirement: str = "") -> object:
        """Return a top-level key's value.

        Args:
            key: The key.
            requirement: What the message gives as expected; by default a number for the rule.

        Raises:
            RopeScaleConfigError: If neither the config nor its class has one.
        """
        value = self.top_level(key)
        if value is None:
            raise self._missing(key, requirement)
        return value

    def parameter(self, key: str) -> object:
        """Return a rope parameter, null included.

        Raises:
            RopeScaleConfigError: If there is no such key.
        """
        if key not in self.parameters:
            raise self._missing(key)
        return self.parameters[key]

    def _missing(self, key: str, requirement: str = "") -> RopeScaleConfigError:
        requirement = requirement or f"a number for rope_type {self.rope_type!r}"
        parts = [name for name in self.config if str(name).endswith(SUBCONFIG_NAMES)]
        hint = f"Give the text model's part alone: {', '.join(parts[:4])}?" if parts else ""
        names = SIZE_NAMES.get(key, ())
        got = "no such key"
        if names and not self.model.known:
            got += f", nor {', '.join(names)}"
        elif given := [name for name in names if self.config.get(name) is not None]:
            hint = f"A {self.model_type} model has no key {given[0]}."
        return RopeScaleConfigError(expected(key, requirement, got, hint))

    def get(self, key: str, top_key: str, default: object) -> object:
        """Return a rope parameter, else a top-level key, else a default.

        Releases before Transformers 5 read the top level alone, except for parameters that a class
        itself nests by layer type.
        """
        inner = self.parameters.get(key) if self.reads_base_inside() else None
        outer = self.top_level(top_key)
        if inner is None:
            return default if outer is None else outer
        if self.by_layer_type is None and top_key in self.config and outer not in (None, inner):
            hint = "The rope parameters win."
            got = check.shown(outer)
            self.findings.note(expected(top_key, f"{key} of the rope parameters", got, hint))
        return inner

    def reads_base_inside(self) -> bool:
        """Return whether the base and the share of the head are read from the rope parameters."""
        return self.dialect.rope_parameters or self.by_layer_type is not None

    def original_length(self, *, top_level: bool = True) -> int:
        """Return L, the length of pretraining.

        A top-level value wins over one among flat rope parameters. Without either, L is
        max_position_embeddings, with a warning if the factor then extends a length that is
        extended already.

        Args:
            top_level: Whether this dialect reads the top level.
        """
        key = ORIGINAL_KEY
        given = self.parameters.get(key)
        top = self.top_level(key) if self.by_layer_type is None else None
        if self.by_layer_type is not None and self.config.get(key) is not None:
            self.findings.ignore(key, self.config[key])
        if top is not None and not top_level:
            self.findings.ignore(key, top)
            top = None
        if given is None and top is None:
            maximum = self.maximum_length()
            if self.parameters.get("factor", 0) not in (None, 1):
                requirement = f"the length of training for rope_type {self.rope_type!r}"
                hint = f"max_position_embeddings {maximum} counts as that length."
                self.findings.note(expected(key, requirement, "no such key", hint))
            return maximum
        lengths = [check.length(key, value) for value in (top, given) if value is not None]
        if lengths[0] != lengths[-1]:
            hint = f"The top-level value {lengths[0]} wins."
            name = f"{self.config_key}[{key!r}]"
            self.findings.note(expected(name, f"{lengths[0]} as in the config", lengths[1], hint))
        return lengths[0]

    def _names_original_length(self) -> bool:
        if self.parameters.get(ORIGINAL_KEY) is not None:
            return True
        return self.by_layer_type is None and self.top_level(ORIGINAL_KEY) is not None

    def maximum_length(self) -> int:
        """Return max_position_embeddings; a config without that key is an error."""
        name = "max_position_embeddings"
        return check.length(name, self.require(name))

    def compare_lengths(self, factor: float, length: int) -> None:
        """Note a max_position_embeddings that is not factor * L, if the config names L."""
        given = self.top_level("max_position_embeddings")
        name = "max_position_embeddings"
        if given is None or not self._names_original_length():
            return
        if not math.isclose(check.length(name, given), factor * length):
            requirement = f"factor * original_max_position_embeddings = {factor * length!r}"
            hint = f"The explicit factor {factor!r} is used."
            self.findings.note(expected(name, requirement, given, hint))

    def rotary_head_dim_name(self) -> str:
        """Return the key or the two keys that give the channels of a head."""
        key = self._head_dim_key()
        names = map(self.name_of, self.model.head_keys)
        return " // ".join(names) if self.top_level(key) is None else key

    def _head_dim_key(self) -> str:
        keys = self.model.layer_head_dim_keys
        if "per_layer_config" in self.config:
            # A class writes its layers' own sizes there, and not under keys of their own.
            keys = {}
        return keys.get(self.layer_type or "", self.model.head_dim_key)

    def rotary_head_dim(self) -> int:
        """Return the channels of a head that the rotation may use."""
        key = self._head_dim_key()
        value = own_size(self.config, self.model, self.layer_type, key)
        if self.layer_type is None and (sizes := layer_sizes(self.config, key)):
            requirement = f"one {key}, as all layers have the same rope parameters"
            got = ", ".join(check.shown(size) for size in [*sizes.values()][:4])
            self.findings.note(expected("per_layer_config", requirement, got, "It is not read."))
        value = self.top_level(key) if value is None else value
        channels = self._quotient() if value is None else check.dimension(key, value, even=False)
        other = self.config.get("head_dim")
        own = key == self.model.head_dim_key != "head_dim" and not self.model.nope_head_dim_key
        if own and other not in (None, channels):
            requirement = f"{self.rotary_head_dim_name()} {channels}, the channels that rotate"
            hint = "It is not read."
            self.findings.note(expected("head_dim", requirement, check.shown(other), hint))
        if value is not None and (nope_key := self.model.nope_head_dim_key):
            channels += check.dimension(nope_key, self.require(nope_key), even=False)
        return channels

    def _quotient(self) -> int:
        sizes = [check.length(name, self.require(name)) for name in self.model.head_keys]
        channels = int(self.model.head_dim_multiple * sizes[0] // sizes[1])
        channels = max(channels, self.model.least_head_dim)
        return check.dimension(self.rotary_head_dim_name(), channels, even=False)

    def rotary_share(self, head_dim: int) -> tuple[str, float]:
        """Return the key of the rotated share of a head, and the share.

        Args:
            head_dim: Channels of a head that the rotation may use.
        """
        name = self.model.rotary_fraction_key
        given = self.get("partial_rotary_factor", name, None)
        if given is None and (channels := self.top_level(self.model.rotary_dim_key)) is not None:
            name = self.model.rotary_dim_key
            given = check.dimension(name, channels) / head_dim
        return name, check.proportion(name, 1.0 if given is None else given)
