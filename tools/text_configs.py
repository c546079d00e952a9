"""Published configs, and the text config object that Transformers makes of one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "configs"

# Published model types whose class Transformers has under another name.
_CLASSES = {"kimi_k2": "deepseek_v3"}


def config_of(config: dict[str, Any]) -> Any:
    """Return the text config object that Transformers makes of a raw config."""
    from transformers import AutoConfig

    raw = copy.deepcopy(config)
    model_type = raw.pop("model_type")
    return AutoConfig.for_model(_CLASSES.get(model_type, model_type), **raw).get_text_config()
