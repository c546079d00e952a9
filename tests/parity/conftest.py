"""What the installed Transformers computes for a config, in this process."""

from __future__ import annotations

import importlib
import inspect
import json
import pathlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tools.sweep.rotary import Numbers, numbers, rotary_class
from tools.text_configs import CONFIGS, config_of


def rope_of(
    config: Any, layer_type: str | None = None, seq_len: int | None = None
) -> tuple[torch.Tensor, float]:
    """Return inv_freq and the attention factor of a config object."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    parameters = config.rope_parameters
    if layer_type is not None and layer_type in parameters:
        parameters = parameters[layer_type]
    kwargs = {} if parameters is config.rope_parameters else {"layer_type": layer_type}
    rope_type = parameters["rope_type"]
    # Where heads differ by layer type, so do the configs that the modules are built from.
    if getattr(config, "is_heterogeneous", False):
        config = config.per_layer_config[layer_type]
    if rope_type != "default":
        return ROPE_INIT_FUNCTIONS[rope_type](config, device=None, seq_len=seq_len, **kwargs)
    return embedding_class(config).compute_default_rope_parameters(config, **kwargs)


def numbers_of(config: Any) -> Numbers:
    """Return inv_freq and the attention factor that the rotary module computes, by layer type."""
    return numbers(embedding_class(config), config)


def embedding_class(config: Any) -> Any:
    """Return the rotary module's class of a text config object."""
    found = rotary_class(config)
    assert found is not None, type(config)
    return found


def _modeling(config_class: type) -> ModuleType:
    package = config_class.__module__.rsplit(".", 1)[0]
    return importlib.import_module(f"{package}.modeling_{package.rsplit('.', 1)[1]}")


def source_of(model_type: str) -> str:
    """Return the source of a model type's modules."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return inspect.getsource(_modeling(CONFIG_MAPPING[model_type]))


@pytest.fixture(scope="session")
def hf() -> SimpleNamespace:
    """Return the functions of this file, if Transformers is installed."""
    pytest.importorskip("transformers", minversion="5.20")
    return SimpleNamespace(
        config_of=config_of,
        rope_of=rope_of,
        numbers_of=numbers_of,
        embedding_class=embedding_class,
        source_of=source_of,
    )


@pytest.fixture(scope="session")
def configs() -> pathlib.Path:
    """Return the folder of published configs."""
    return CONFIGS


@pytest.fixture(params=sorted(path.stem for path in CONFIGS.glob("*.json")))
def published(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Return each published config: its name, its path and its keys."""
    path = CONFIGS / f"{request.param}.json"
    return SimpleNamespace(name=request.param, path=path, raw=json.loads(path.read_text()))
