"""Command lines that make each engine serve a context."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from ..scaling import RopeScaling
from ..scaling.config.dialects.other_engines import LLAMA_CPP_RELEASE
from ..scaling.config.dialects.sglang import SGLANG
from ..scaling.config.dialects.vllm import VLLM
from .scaling_rule import parameters_of, rule_of

# Releases whose flags the commands use. Tests check every command against their lists of flags.
RELEASES = {
    VLLM.name: VLLM.release,
    SGLANG.name: SGLANG.release,
    "llama.cpp": LLAMA_CPP_RELEASE,
}
_MODEL = "MODEL"
_GGUF = "MODEL.gguf"


def commands(
    keys: Mapping[str, object], scaling: RopeScaling, tokens: int, *, scaled_here: bool
) -> dict[str, str]:
    """Return one command line for each engine, for a POSIX shell.

    Args:
        keys: Keys to set, in the form of Transformers 5; empty if the model's own config has them.
        scaling: The scaling that results.
        tokens: Length to serve.
        scaled_here: Whether the scaling is not in the model's own files.

    Returns:
        Commands by engine, without an engine whose flags do not have the rule; `MODEL` stands for
        the model's folder or name.
    """
    length = str(tokens)
    override = json.dumps(keys)
    vllm = ["vllm", "serve", _MODEL]
    sglang = ["python", "-m", "sglang.launch_server", "--model-path", _MODEL]
    llama = ["llama-server", "--model", _GGUF, "--ctx-size", length]
    if keys:
        vllm += ["--hf-overrides", override]
        sglang += ["--json-model-override-args", override]
    if scaled_here:
        spoken = rule_of(scaling).llama_cpp(parameters_of(scaling))
        llama = [] if spoken is None else llama + spoken.flags
    found = {
        "vllm": [*vllm, "--max-model-len", length],
        "sglang": [*sglang, "--context-length", length],
        "llama.cpp": llama,
    }
    return {engine: shlex.join(words) for engine, words in found.items() if words}
