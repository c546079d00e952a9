"""The shapes that the bench times, named by their models, and the suites of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..scaling import RopeScaling
from ..table import RotaryTable

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}
# Memory layouts of q and k, (batch, seqlen, nheads, head_dim). "contiguous": in the order of that
# shape. "heads-first": heads before tokens, as attention takes them. "packed-qkv": slices of one
# buffer (batch, seqlen, nheads + 2 nheads_k, head_dim).
LAYOUTS = ("contiguous", "heads-first", "packed-qkv")
WINDOW = 32768
HEADLINE = "llama-3.1-8b"


@dataclass(frozen=True)
class Case:
    """One shape: q `(batch, seqlen, nheads, head_dim)`, k with nheads_k.

    Attributes:
        context: Length of the window that holds the positions; also the rows of a cos and sin
            table.
        spread: Whether positions lie evenly over the window, as those of many requests do. If
            false, they are the last ones of the window.
        options: Whether this package's options are timed too (profiles, dynamic tables, pairings,
            phases).
    """

    model: str
    nheads: int
    nheads_k: int
    head_dim: int
    rotary_dim: int
    seqlen: int
    batch: int = 1
    dtype: str = "bfloat16"
    layout: str = "contiguous"
    context: int = WINDOW
    spread: bool = False
    options: bool = False

    @property
    def tokens(self) -> int:
        """Return the tokens of the call."""
        return self.batch * self.seqlen

    @property
    def name(self) -> str:
        """Return the name in tables: the model, and each property that is not the default."""
        words = [self.model]
        if self.seqlen == 1:
            words.append("decode" if self.batch == 1 else f"decode of {self.batch}")
        if self.layout != LAYOUTS[0]:
            words.append(self.layout)
        if self.context != WINDOW:
            words.append(f"context {self.context}")
        return " ".join(words)

    @property
    def bytes(self) -> int:
        """Return the bytes that a copy of q and k reads and writes."""
        size = DTYPES[self.dtype].itemsize
        return 2 * self.tokens * (self.nheads + self.nheads_k) * self.head_dim * size

    def scaling(self) -> RopeScaling:
        """Return YaRN with factor 4, whose attention factor is not 1."""
        return RopeScaling.yarn(
            rotary_dim=self.rotary_dim,
            rope_theta=1e6,
            factor=4.0,
            original_max_position_embeddings=WINDOW,
        )


@dataclass
class Inputs:
    """The tensors of a case.

    Attributes:
        position_ids: (batch, seqlen) int64.
        rows: The positions that a cos and sin table has rows for.
        row_ids: (batch, seqlen) int64, the row of each token in such a table.
    """

    case: Case
    q: Tensor
    k: Tensor
    position_ids: Tensor
    table: RotaryTable
    inv_freq: Tensor
    attention_factor: float
    rows: Tensor
    row_ids: Tensor


# nheads, nheads_k, head_dim, rotary_dim and the tokens of a prefill, for each model. The "mla"
# models of DeepSeek have the rotated channels only. "tp8" is one of eight tensor-parallel shards.
MODELS = {
    name: Case(name, *shape)
    for name, shape in {
        "llama-3.1-8b": (32, 8, 128, 128, 4096),
        "qwen3-32b": (64, 8, 128, 128, 1024),
        "llama-3.1-70b-tp8": (8, 1, 128, 128, 4096),
        "qwen2.5-3b": (16, 2, 128, 128, 4096),
        "gemma-3-27b": (32, 16, 128, 128, 1024),
        "gemma-2-9b": (16, 8, 256, 256, 1024),
        "gpt-oss-20b": (64, 8, 64, 64, 1024),
        "phi-3-medium": (40, 10, 128, 128, 1024),
        "deepseek-v3-mla": (128, 1, 64, 64, 1024),
        "deepseek-v2-lite-mla": (16, 1, 64, 64, 4096),
        "glm-4-9b": (32, 2, 128, 64, 1024),
        "phi-2": (32, 32, 80, 32, 1024),
        "gpt-neox-20b": (64, 64, 96, 24, 512),
    }.items()
}
_SWEEP_ON_CPU = (1, 4, 16, 64, 256, 1024, 4096)
_SWEEP_ON_GPU = (*_SWEEP_ON_CPU, 8192, 32768, 131072)
# Models and dtypes timed at each of _SWEEP_OF_SHAPES: grouped heads, a shard, MLA, float32.
_SWEPT = (
    (HEADLINE, "bfloat16"),
    ("llama-3.1-70b-tp8", "bfloat16"),
    ("deepseek-v3-mla", "bfloat16"),
    (HEADLINE, "float32"),
)
_SWEEP_OF_SHAPES = (1, 16, 256, 4096, 32768)
_CONTEXTS = (4096, WINDOW, 131072, 1048576)


def prefill(model: str, dtype: str = "bfloat16", tokens: int | None = None) -> Case:
    """Return the prefill of a model, with the model's own or the given number of tokens."""
    case = MODELS[model]
    return replace(case, dtype=dtype, seqlen=tokens or case.seqlen)


def decode(model: str, dtype: str = "bfloat16", batch: int = 1) -> Case:
    """Return the decode of a model: one token of each sequence."""
    return replace(MODELS[model], dtype=dtype, seqlen=1, batch=batch)


def _overview(device: str) -> Iterable[Case]:
    large = 32768 if device == "cuda" else None
    yield prefill(HEADLINE, "bfloat16", large)
    yield prefill(HEADLINE, "float32", large)
    for model in ("llama-3.1-70b-tp8", "deepseek-v3-mla", "glm-4-9b"):
        yield prefill(model, "bfloat16", large)
    yield decode(HEADLINE)


def _models(device: str) -> Iterable[Case]:
    for model in MODELS:
        yield prefill(model, "bfloat16", 8192 if device == "cuda" else None)
        yield decode(model)


def _layouts(device: str) -> Iterable[Case]:
    for layout in LAYOUTS:
        yield replace(prefill(HEADLINE, tokens=8192 if device == "cuda" else None), layout=layout)


def _options(device: str) -> Iterable[Case]:
    yield replace(prefill(HEADLINE, tokens=8192 if device == "cuda" else None), options=True)
    yield replace(decode(HEADLINE), options=True)


def _tokens(device: str) -> Iterable[Case]:
    for tokens in _SWEEP_ON_GPU if device == "cuda" else _SWEEP_ON_CPU:
        case = prefill(HEADLINE, tokens=tokens)
        yield replace(case, context=max(case.context, tokens))


def _shapes(device: str) -> Iterable[Case]:
    for model, dtype in _SWEPT:
        for tokens in _SWEEP_OF_SHAPES if device == "cuda" else _SWEEP_OF_SHAPES[:-1]:
            yield prefill(model, dtype, tokens)


def _contexts(device: str) -> Iterable[Case]:
    # onnxruntime, the CPU contender that keeps a table by position, takes float32.
    dtype = "bfloat16" if device == "cuda" else "float32"
    for context in _CONTEXTS:
        yield replace(decode(HEADLINE, dtype, batch=64), context=context, spread=True)


SUITES = {
    "overview": _overview,
    "models": _models,
    "layouts": _layouts,
    "options": _options,
    "tokens": _tokens,
    "shapes": _shapes,
    "context": _contexts,
}


def suite(names: Iterable[str], device: str = "cpu") -> list[Case]:
    """Return the cases of suites, each case once, in the order of the suites.

    Args:
        names: Keys of SUITES.
        device: "cpu" or "cuda". A CUDA device is timed at more tokens.
    """
    found: dict[Case, Case] = {}
    for case in (case for name in names for case in SUITES[name](device)):
        shape = replace(case, options=False)
        # A case with options contains the case of the same shape without them.
        found[shape] = replace(case, options=case.options or found.get(shape, case).options)
    return list(found.values())


def make_inputs(
    case: Case, device: torch.device | str = "cpu", *, positions: Tensor | None = None
) -> Inputs:
    """Return a case's tensors, drawn with a fixed seed.

    Args:
        case: The shape.
        device: Device of the tensors.
        positions: (batch, seqlen) int64, instead of the case's own positions. `rows` are then these
            positions alone: a table up to position ten million would not fit.

    Returns:
        The tensors, of standard normal elements.
    """
    generator = torch.Generator(device).manual_seed(0)
    sizes = [case.nheads, case.nheads_k, case.nheads_k]
    shape = (case.batch, case.seqlen, sum(sizes), case.head_dim)
    packed = torch.randn(*shape, generator=generator, device=device).to(DTYPES[case.dtype])
    q, k, _ = torch.split(packed, sizes, dim=2)
    if case.layout == "contiguous":
        q, k = q.contiguous(), k.contiguous()
    elif case.layout == "heads-first":
        q, k = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k))
    scaling = case.scaling()
    if positions is None:
        rows = torch.arange(case.context)
        position_ids = row_ids = _positions(case)
    else:
        rows, position_ids = positions.flatten(), positions
        row_ids = torch.arange(len(rows)).view(positions.shape)
    return Inputs(
        case=case,
        q=q,
        k=k,
        position_ids=position_ids.to(device),
        table=RotaryTable(scaling, device=device),
        inv_freq=scaling.inv_freq.to(device),
        attention_factor=scaling.attention_factor,
        rows=rows.to(device),
        row_ids=row_ids.to(device),
    )


def _positions(case: Case) -> Tensor:
    if case.spread:
        ends = torch.arange(1, case.tokens + 1) * case.context // case.tokens - 1
        return ends.view(case.batch, case.seqlen)
    last = torch.arange(case.context - case.seqlen, case.context)
    return last.expand(case.batch, -1).contiguous()
