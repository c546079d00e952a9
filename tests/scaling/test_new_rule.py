"""A scaling rule is one file: this one adds a rule, and holds the recipe in CONTRIBUTING to it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typing_extensions import Unpack

import ropescale_kernels as rk
from ropescale_kernels.errors import (
    RopeScaleConfigError,
    RopeScaleUnsupportedError,
    RopeScaleWarning,
)
from ropescale_kernels.planner.inspect import inspect_config
from ropescale_kernels.planner.plan import make_plan
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling import validate as check
from ropescale_kernels.scaling.config.dialects import DIALECTS
from ropescale_kernels.scaling.config.rope_entry import RopeEntry
from ropescale_kernels.scaling.parameters import Parameters
from ropescale_kernels.scaling.rules import RULES
from ropescale_kernels.scaling.rules.extension import Extension, LlamaCpp, LongerContext
from ropescale_kernels.scaling.rules.frequencies import Frequencies, divided, plain_inv_freq
from ropescale_kernels.scaling.rules.rule import ConfigRule, Rule, SharedKeys

ROOT = Path(__file__).resolve().parents[2]
L = 64


class SquareRoot(ConfigRule):
    """Every frequency divided by sqrt(max(1, n / L)), and by sqrt(factor) without a length."""

    rope_type = "square_root"
    depends_on_seq_len = True
    own_keys = frozenset({"factor", "original_max_position_embeddings"})
    title = "square root"
    factor_counts_from = "original"
    no_extension = None

    def parameters(
        self,
        *,
        factor: object,
        original_max_position_embeddings: object,
        **shared: Unpack[SharedKeys],
    ) -> Parameters:
        return dataclasses.replace(
            self.shared(**shared),
            factor=check.scale_factor(factor),
            original_max_position_embeddings=check.length(
                "original_max_position_embeddings", original_max_position_embeddings
            ),
        )

    def frequencies(self, p: Parameters) -> Frequencies:
        growth = p.factor if p.seq_len is None else max(1.0, p.seq_len / p.length())
        return divided(plain_inv_freq(p.rope_theta, p.frequency_dim), math.sqrt(growth))

    def attention_factor(self, p: Parameters) -> float:
        return 1.25

    def constants(self, p: Parameters, frequencies: Frequencies) -> tuple[torch.Tensor, ...]:
        return (frequencies.base_inv_freq,)

    def inv_freq_at(
        self, p: Parameters, constants: tuple[torch.Tensor, ...], seq_lens: torch.Tensor
    ) -> torch.Tensor:
        growth = (seq_lens.to(torch.float64) / p.length()).clamp(min=1.0).sqrt()
        return constants[0] / growth.to(torch.float32)[:, None]

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return self.own_keys

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        length = entry.original_length()
        factor = entry.parameter("factor")
        return self.rope_type, {"factor": factor, "original_max_position_embeddings": length}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, "factor", "original_max_position_embeddings")

    def extended(self, p: Parameters, wanted: LongerContext) -> Extension:
        factor = wanted.target / wanted.original
        rope = {**wanted.given, **wanted.kept, "factor": factor, "rope_theta": p.rope_theta}
        return Extension(rope, factor, ["A remark of the rule."])

    def doubts(self, p: Parameters) -> list[str]:
        return ["A doubt of the rule."]


DIALECT = dataclasses.replace(DIALECTS["hf"], rules=DIALECTS["hf"].rules | {"square_root"})
ROPE: dict[str, Any] = {
    "rope_type": "square_root",
    "factor": 4.0,
    "original_max_position_embeddings": L,
}
CONFIG = {
    "model_type": "llama",
    "head_dim": 16,
    "rope_theta": 1e4,
    "max_position_embeddings": 4 * L,
    "rope_scaling": ROPE,
}


@pytest.fixture
def scaling(monkeypatch: pytest.MonkeyPatch) -> RopeScaling:
    monkeypatch.setitem(RULES, SquareRoot.rope_type, SquareRoot())
    return RopeScaling.from_hf_config(CONFIG, dialect=DIALECT)


def rotated(q: torch.Tensor, positions: torch.Tensor, growth: float) -> torch.Tensor:
    """Return q rotated by the rule's definition, in float64."""
    pair = torch.arange(8, dtype=torch.float64)
    angle = positions.double()[:, None, None] * 1e4 ** (-pair / 8) / math.sqrt(growth)
    first, second = q.double().chunk(2, dim=-1)
    cos, sin = 1.25 * angle.cos(), 1.25 * angle.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(6, 2, 16, generator=draw), torch.tensor([0, 1, 7, 63, 200, 255])


def test_the_rule_is_unknown_until_it_is_in_the_table() -> None:
    assert "square_root" not in RULES
    with pytest.raises(RopeScaleConfigError, match=r"rope_type: .*got 'square_root'"):
        RopeScaling.from_hf_config(CONFIG, dialect=DIALECT)


def test_a_config_becomes_a_scaling(scaling: RopeScaling) -> None:
    assert (scaling.rope_type, scaling.factor, scaling.attention_factor) == ("square_root", 4, 1.25)
    assert torch.equal(scaling.inv_freq, scaling.base_inv_freq / 2)
    assert pickle.loads(pickle.dumps(scaling)) == scaling
    with pytest.raises(RopeScaleConfigError, match=r"factor: .*got 0\.5"):
        RopeScaling.from_hf_config({**CONFIG, "rope_scaling": {**ROPE, "factor": 0.5}}, DIALECT)
    with pytest.warns(RopeScaleWarning, match=r"rope_scaling\['beta_fast'\]"):
        RopeScaling.from_hf_config({**CONFIG, "rope_scaling": {**ROPE, "beta_fast": 8}}, DIALECT)


@pytest.mark.parametrize("transformers", [4, 5])
def test_the_scaling_is_written_back(scaling: RopeScaling, transformers: int) -> None:
    written = json.loads(json.dumps(scaling.to_hf_config(transformers)))
    rope = written["rope_scaling" if transformers == 4 else "rope_parameters"]
    assert ROPE.items() <= rope.items()
    assert RopeScaling.from_hf_config(written, dialect=DIALECT, strict=True) == scaling


class Halved(SquareRoot):
    """A rule without keys of its own."""

    rope_type = "halved"
    depends_on_seq_len = False
    own_keys = frozenset()

    def parameters(self, **shared: Unpack[SharedKeys]) -> Parameters:  # type: ignore[override]
        return self.shared(**shared)

    def frequencies(self, p: Parameters) -> Frequencies:
        return divided(plain_inv_freq(p.rope_theta, p.frequency_dim), 2.0)

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        return self.rope_type, {}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p)


@pytest.mark.parametrize("transformers", [4, 5])
def test_a_rule_without_keys_is_written_too(
    monkeypatch: pytest.MonkeyPatch, transformers: int
) -> None:
    monkeypatch.setitem(RULES, Halved.rope_type, Halved())
    dialect = dataclasses.replace(DIALECT, rules=DIALECT.rules | {"halved"})
    config = {**CONFIG, "rope_scaling": {"rope_type": "halved"}}
    scaling = RopeScaling.from_hf_config(config, dialect=dialect)
    written = scaling.to_hf_config(transformers)
    assert RopeScaling.from_hf_config(written, dialect=dialect) == scaling


def test_a_static_table_rotates(scaling: RopeScaling) -> None:
    q, positions = drawn()
    got, _ = rk.apply_rotary_qk(q, q, positions, rk.RotaryTable(scaling))
    torch.testing.assert_close(got.double(), rotated(q, positions, 4.0), rtol=0, atol=2e-5)
    assert (got - rotated(q, positions, 3.5)).abs().max() > 1e-2


def test_a_dynamic_table_follows_the_length(scaling: RopeScaling) -> None:
    q, positions = drawn()
    table = rk.RotaryTable(scaling, dynamic=True)
    for seq_len, growth in [(3 * L, 3.0), (L // 2, 1.0), (256, 4.0)]:
        table.update_(torch.tensor([seq_len]))
        got = rk.apply_rotary_qk(q, q, positions, table)
        torch.testing.assert_close(
            got[0].double(), rotated(q, positions, growth), rtol=0, atol=2e-5
        )
        static = rk.RotaryTable(scaling.at_seq_len(seq_len))
        assert torch.equal(got[0], rk.apply_rotary_qk(q, q, positions, static)[0])


@pytest.fixture
def in_dialect_hf(scaling: RopeScaling) -> Iterator[None]:
    """Add the name of the rule to dialect "hf", as the recipe asks for."""
    hf = DIALECTS["hf"]
    known = hf.rules
    object.__setattr__(hf, "rules", DIALECT.rules)
    yield
    object.__setattr__(hf, "rules", known)


@pytest.mark.usefixtures("in_dialect_hf")
def test_a_longer_context_is_planned() -> None:
    plan = make_plan(CONFIG, 16 * L)
    assert plan.config["rope_scaling"] == {**ROPE, "factor": 16.0}
    assert plan.config["max_position_embeddings"] == 16 * L
    assert plan.verdict == (
        "More scaling is needed: square root with factor 4 reaches 256 tokens; 1,024 are 16 times "
        "the 64 that it counts from."
    )
    assert "A remark of the rule." in plan.warnings
    assert "A doubt of the rule." not in plan.warnings
    assert "A doubt of the rule." in make_plan(CONFIG, L).warnings
    assert "multiplied by 1.562" in plan.short_requests[0]
    # No flags of llama.cpp say the rule, so there is no command line that would leave it out.
    assert set(plan.commands) == {"vllm", "sglang"}
    assert "llama.cpp has no flags for rope_type 'square_root'." in plan.warnings


@pytest.mark.usefixtures("in_dialect_hf")
def test_a_rule_that_llama_cpp_has_gets_its_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = LlamaCpp(["--square-root"], 1.0)
    monkeypatch.setattr(SquareRoot, "llama_cpp", lambda self, p: spoken)
    plan = make_plan(CONFIG, 16 * L)
    assert plan.commands["llama.cpp"].endswith("--square-root")
    # llama.cpp would multiply by 1, the rule by 1.25.
    assert any("have to make 1.25" in warning for warning in plan.warnings)


@pytest.mark.usefixtures("in_dialect_hf")
def test_a_rule_without_an_extension_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SquareRoot, "no_extension", "It is as long as it is.")
    with pytest.raises(RopeScaleUnsupportedError, match=r"square_root\. It is as long"):
        make_plan(CONFIG, 16 * L)
    assert not make_plan(CONFIG, 4 * L).needed


@pytest.mark.usefixtures("in_dialect_hf")
def test_a_config_is_inspected() -> None:
    (inspection,) = inspect_config(CONFIG)
    assert inspection.numbers["rope_type"] == "square_root"
    assert [pair.divided_by for pair in inspection.pairs] == pytest.approx([2.0] * 8)
    refused = {reading.dialect for reading in inspection.readings if reading.error}
    assert refused == set(DIALECTS) - {"hf"}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_has_an_extension_or_a_reason(rule: Rule) -> None:
    has_extension = type(rule).extended is not Rule.extended
    assert has_extension == (rule.no_extension is None)
    assert has_extension or rule.no_extension


def test_the_planner_names_no_rule() -> None:
    names = re.compile("|".join(f"[\"']{name}[\"']" for name in RULES))
    paths = sorted((ROOT / "ropescale_kernels" / "planner").glob("*.py"))
    assert len(paths) > 10
    assert [path.name for path in paths if names.search(path.read_text())] == []


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_constructor_has_the_keywords_and_defaults_of_its_rule(rule: Any) -> None:
    constructor = getattr(
        RopeScaling, {"dynamic": "dynamic_ntk"}.get(rule.rope_type, rule.rope_type)
    )
    shared = inspect.signature(rule.shared).parameters
    own = {n: p for n, p in inspect.signature(rule.parameters).parameters.items() if n != "shared"}
    want = {name: parameter.default for name, parameter in {**shared, **own}.items()}
    signature = inspect.signature(constructor).parameters
    assert {name: parameter.default for name, parameter in signature.items()} == want


def recipe() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return text.split("## How to add a scaling rule\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", ["llama3", "longrope", "proportional"])
def test_the_recipe_names_every_file_that_names_a_rule(name: str) -> None:
    use = re.compile(rf'"{name}"|\.{name} import|def {name}\(')
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ropescale_kernels").rglob("*.py")
        if use.search(path.read_text())
    }
    own = f"ropescale_kernels/scaling/rules/{name}.py"
    assert own in found
    # The folder of the rules is named for the new file, so it stands for no other file there.
    named = set(re.findall(r"`([^`]+)`", recipe())) - {"ropescale_kernels/scaling/rules/"}
    assert {p for p in found - {own} if not named & {p, f"{Path(p).parent}/"}} == set()


def test_every_file_of_the_recipe_exists() -> None:
    named = re.findall(r"`((?:ropescale_kernels|tests)/[\w/.]+)`", recipe())
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).exists()] == []
