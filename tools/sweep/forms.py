"""The forms of a config that the sweep compares: the class's default, and old flat keys."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from ropescale_kernels.scaling.config.model_types import MODEL_TYPES

from .rotary import rotary_class, text_config

_SIZES = {"hidden_size": 1280, "num_attention_heads": 8, "max_position_embeddings": 4096}
_THETA = {"rope_theta": 54321.0}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
# Old flat keys of a text model beside its sizes. Releases before 4.43 wrote `type`.
_FLAT: dict[str, dict[str, Any]] = {
    "bare": {},
    "base": _THETA,
    "yarn": {**_THETA, "rope_scaling": _YARN},
    "linear": {**_THETA, "rope_scaling": {"type": "linear", "factor": 2.0}},
}
# What a class without a config of its own defaults needs to have.
_NEEDS = {
    "gemma4_assistant": {
        "text_config": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    }
}
FORMS = ("default", *_FLAT)


@dataclasses.dataclass(frozen=True)
class Form:
    """One form of a model type's config.

    Attributes:
        name: Name of the form, one of `FORMS`.
        given: Spellings of the config that this package gets: raw dicts and config objects.
        build: Return the class's config object of the same values.
    """

    name: str
    given: tuple[Any, ...]
    build: Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model type of Transformers.

    Attributes:
        model_type: Its name.
        config_class: Its config class.
        default: The config object of the class's defaults, or None if the class has none.
        text: The part of `default` that describes the text model.
    """

    model_type: str
    config_class: Any
    default: Any
    text: Any

    def forms(self) -> Iterator[Form]:
        """Yield the forms; a class without a default config has the flat ones alone."""
        if self.default is not None:
            yield Form("default", (self.default, self.default.to_dict()), lambda: self.default)
        path = () if self.default is None else text_path(self.default)
        sizes = self._sizes(path)
        for name, keys in _FLAT.items():
            raw = _nested(path, {**sizes, **keys})
            yield Form(name, ({"model_type": self.model_type, **raw},), self._builder(raw))

    def _builder(self, raw: dict[str, Any]) -> Callable[[], Any]:
        return lambda: self.config_class(**copy.deepcopy(raw))

    def _switch(self) -> dict[str, Any]:
        """Return the key without which a model does not rotate, with the value that it needs."""
        row = MODEL_TYPES.get(self.model_type if self.text is None else self.text.model_type)
        return {} if row is None or row.rotates_if is None else dict([row.rotates_if])

    def _sizes(self, path: tuple[str, ...]) -> dict[str, Any]:
        """Return sizes that the class accepts: others than its own, if it accepts those."""
        switch = self._switch()
        if self.text is None:
            return {**_SIZES, **switch}
        named = {"model_type": self.text.model_type} if path else {}
        tries = [_SIZES, {**named, **_SIZES}, _sizes_of(self.text)]
        for sizes in tries[:-1]:
            try:
                text = text_config(self._builder(_nested(path, {**sizes, **switch}))())
                rotary = rotary_class(text)
                if rotary is not None:
                    rotary(text)
            except Exception:  # Classes refuse sizes with errors of many kinds.
                continue
            return {**sizes, **switch}
        return {**tries[-1], **switch}


def subject(model_type: str) -> Subject:
    """Return a model type of the installed Transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config_class = CONFIG_MAPPING[model_type]
    try:
        default = config_class(**_NEEDS.get(model_type, {}))
    except Exception:  # Classes fail with errors of many kinds.
        return Subject(model_type, config_class, None, None)
    return Subject(model_type, config_class, default, text_config(default))


def text_path(config: Any) -> tuple[str, ...]:
    """Return the keys that lead from a config object to the config of its text model."""
    text = text_config(config)
    if text is config:
        return ()
    parts = {key: value for key, value in vars(config).items() if hasattr(value, "to_dict")}
    for key, value in parts.items():
        if value is text:
            return (key,)
    for key, value in parts.items():
        if text_config(value) is text:
            return (key, *text_path(value))
    raise LookupError(type(config).__name__)


def _sizes_of(text: Any) -> dict[str, Any]:
    """Return a class's own sizes under the usual names."""
    values = text.to_dict()
    found = {key: values.get(type(text).attribute_map.get(key, key)) for key in _SIZES}
    return {key: value for key, value in found.items() if isinstance(value, int)}


def _nested(path: tuple[str, ...], keys: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(path):
        keys = {key: keys}
    return keys
