"""The dialects of Transformers 4 against that release itself; `make transformers-4` installs it.

Before release 5 the functions of `modeling_rope_utils` read a config object's attributes, which
differ by release; the model classes called them, so their answer is the release's.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.configs import quiet

from tools.engine_cases import CASES

transformers = pytest.importorskip("transformers")
RELEASE = tuple(int(part) for part in transformers.__version__.split(".")[:2])
pytestmark = pytest.mark.skipif(RELEASE >= (5,), reason="of Transformers 4")

# 4.54 and later read YaRN as release 5 does.
DIALECT = "hf-4.45" if RELEASE < (4, 50) else "hf-4.51" if RELEASE < (4, 54) else "hf"
# What those releases do to a whole head in models that rotate a share of it in their own code.
OWN_CODE = {"gpt_neox", "stablelm", "phi", "glm", "glm4_moe"}


def _config_of(raw: dict[str, Any]) -> Any:
    raw = copy.deepcopy(raw)
    text = raw.get("text_config", raw)
    model_type = text.pop("model_type")
    try:
        return transformers.AutoConfig.for_model(model_type, **text)
    except ValueError:
        pytest.skip(f"Transformers {transformers.__version__} has no {model_type}")


def _release(config: Any, seq_len: int | None = None) -> tuple[torch.Tensor, float]:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = getattr(config, "rope_scaling", None) or {}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    return ROPE_INIT_FUNCTIONS[rope_type](config, torch.device("cpu"), seq_len=seq_len)


def _compare(raw: dict[str, Any]) -> None:
    text = raw.get("text_config", raw)
    config = _config_of(raw)
    if text["model_type"] in OWN_CODE and RELEASE < (4, 57):
        pytest.skip("this release's model has code of its own")
    # DeepSeek's and Kimi's classes name the rotated part of a head; the functions read head_dim.
    if "qk_rope_head_dim" in text:
        config.head_dim = text["qk_rope_head_dim"]
    layer_type = "full_attention" if text["model_type"].startswith(("gemma3", "olmo3")) else None
    want, attention_factor = _release(config)
    scaling = quiet(raw, dialect=DIALECT, layer_type=layer_type)
    assert torch.equal(scaling.inv_freq, want)
    assert scaling.attention_factor == attention_factor


def test_published(published: SimpleNamespace) -> None:
    text = published.raw.get("text_config", published.raw)
    if "rope_parameters" in text:
        pytest.skip("a config of Transformers 5")
    if text["model_type"] == "kimi_k2":
        text["model_type"] = "deepseek_v3"
    _compare(published.raw)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    text = dict(CASES[name].get("text_config", CASES[name]), model_type="llama")
    # Every release has this class, and its functions read the same attributes of all.
    text["head_dim"] = text.pop("qk_rope_head_dim", None) or text.get("head_dim", 128)
    _compare(text)


@pytest.mark.parametrize("seq_len", [1, 4096, 4097, 131072])
def test_longrope_by_length(seq_len: int, configs: Path) -> None:
    raw = json.loads((configs / "phi-4-mini-instruct.json").read_text())
    want, attention_factor = _release(_config_of(raw), seq_len)
    scaling = quiet(raw, dialect=DIALECT, seq_len=seq_len)
    assert torch.equal(scaling.inv_freq, want)
    assert scaling.attention_factor == attention_factor
