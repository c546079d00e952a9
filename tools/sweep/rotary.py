"""The rotary class of a model type in the installed Transformers, and the numbers that it computes.

A modeling file is read as text. Only a file whose classes rotate is imported.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

# Frequencies and attention factor by layer type; None is the only key of a class without layers.
Numbers = Mapping[str | None, tuple[torch.Tensor, float]]

_ROTARY = re.compile(r"(Rotary|Rope)\w*Embedding$")
_SUFFIX = "_inv_freq"
# Config classes that are passed where an annotation names another one.
_PASSED_AS = {"T5GemmaModuleConfig": "T5GemmaConfig"}


@dataclasses.dataclass(frozen=True)
class _Place:
    """A call that builds a rotary class.

    Attributes:
        rotary: Name of the rotary class.
        owners: Names of the config classes of the calling class.
        conditions: Tests of `if` that lead to the call, each with the outcome that it needs.
    """

    rotary: str
    owners: frozenset[str]
    conditions: tuple[tuple[str, bool], ...]


def text_config(config: Any) -> Any:
    """Return the config of the text model inside a config object."""
    try:
        return config.get_text_config()
    except ValueError:
        return config.get_text_config(decoder=True)


def rotary_class(config: Any) -> type | None:
    """Return the class that rotates in the model of a text config object, or None.

    None is returned too if the model builds its rotary class for other values of the config.
    """
    for place in places(type(config)):
        if all(_holds(test, config) is outcome for test, outcome in place.conditions):
            return load(type(config), place.rotary)
    return None


def load(config_class: type, name: str) -> type:
    """Return a rotary class of the model of a config class."""
    reader = _reader(config_class)
    for path in _modeling_files(reader):
        stem = os.path.splitext(os.path.basename(path))[0]
        if any(place.rotary == name for place in _places(path)):
            package = reader.__module__.rsplit(".", 1)[0]
            found = getattr(importlib.import_module(f"{package}.{stem}"), name)
            assert isinstance(found, type)
            return found
    raise LookupError(name)


def places(config_class: type) -> list[_Place]:
    """Return the calls that build a rotary class from a config class, or else from its parent."""
    reader = _reader(config_class)
    near = [place for path in _modeling_files(reader) for place in _places(path)]
    for kind in reader.__mro__:
        names = {kind.__name__, _PASSED_AS.get(kind.__name__)}
        # A caller that names no config class takes the only one beside it.
        found = [place for place in near if not place.owners or place.owners & names]
        if found:
            return found
    return []


def numbers(rotary: type, config: Any) -> Numbers:
    """Return what a rotary class computes for a text config object.

    Raises:
        Exception: Whatever the class raises for a config that it refuses.
    """
    module = rotary(config)
    buffers = {name: value for name, value in module.named_buffers() if "original" not in name}
    if "inv_freq" in buffers:
        return {None: (buffers["inv_freq"], getattr(module, "attention_scaling", 1.0))}
    layers = [name.removesuffix(_SUFFIX) for name in buffers if name.endswith(_SUFFIX)]
    return {
        layer: (buffers[layer + _SUFFIX], getattr(module, f"{layer}_attention_scaling"))
        for layer in layers
    }


def modeling_source(config_class: type) -> str:
    """Return the text of the modeling files beside a config class."""
    return "".join(_text(path) for path in _modeling_files(config_class))


def _reader(config_class: Any) -> type:
    """Return the config class of the model: another one if a type borrows the whole model."""
    if not any(_modeling_files(config_class)):
        import transformers
        from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

        name = MODEL_MAPPING_NAMES.get(config_class.model_type)
        if isinstance(name, str):
            reader = getattr(transformers, name).config_class
            assert isinstance(reader, type)
            return reader
    assert isinstance(config_class, type)
    return config_class


def _modeling_files(config_class: type) -> Iterator[str]:
    folder = os.path.dirname(inspect.getfile(config_class))
    for name in sorted(os.listdir(folder)):
        if name.startswith("modeling_") and name.endswith(".py"):
            yield os.path.join(folder, name)


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


@functools.cache
def _places(path: str) -> tuple[_Place, ...]:
    text = _text(path)
    if not re.search(r"^class \w*(Rotary|Rope)\w*Embedding\b", text, re.MULTILINE):
        return ()
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    rotary = {node.name: _config_names(node) for node in classes if _ROTARY.search(node.name)}
    found: list[_Place] = []
    for node in classes:
        owners = _config_names(node)
        for call, conditions in _calls(node, ()):
            if (name := call.func.id) in rotary:  # type: ignore[attr-defined]
                # The annotation of the rotary class serves where the caller's names no class.
                found.append(_Place(name, owners or rotary[name], conditions))
    return tuple(found)


def _calls(
    node: ast.AST, conditions: tuple[tuple[str, bool], ...]
) -> Iterator[tuple[ast.Call, tuple[tuple[str, bool], ...]]]:
    """Yield the calls of plain names below a node, with the conditions that lead to each."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield node, conditions
    for field, value in ast.iter_fields(node):
        more = conditions
        if isinstance(node, (ast.If, ast.IfExp)) and field in ("body", "orelse"):
            more = (*conditions, (ast.unparse(node.test), field == "body"))
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _calls(child, more)


def _config_names(node: ast.ClassDef) -> frozenset[str]:
    """Return the config classes that annotate the parameters of a class."""
    found: set[str] = set()
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and ast.unparse(part.target) == "config":
            found |= set(re.findall(r"\w+Config\b", ast.unparse(part.annotation)))
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            for argument in part.args.args:
                if argument.annotation is not None:
                    found |= set(re.findall(r"\w+Config\b", ast.unparse(argument.annotation)))
    return frozenset(found - {"PreTrainedConfig"})


class _Self:
    """The instance whose `__init__` a condition stands in: a copy of the config's values."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)


def _holds(test: str, config: Any) -> bool:
    """Return the outcome of a condition on the config, or True if it is on something else."""
    try:
        return bool(eval(test, {"config": config, "self": _Self(config)}))
    except (NameError, AttributeError):
        return True
