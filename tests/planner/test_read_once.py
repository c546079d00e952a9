"""Counts of work: each scaling is derived once, and a plan reads each config once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.configs import quiet

from ropescale_kernels.errors import RopeScaleWarning
from ropescale_kernels.planner.compare import compare_dialects, scaling_and_notes
from ropescale_kernels.planner.inspect import inspect_config
from ropescale_kernels.planner.plan import make_plan
from ropescale_kernels.scaling import RopeScaling
from ropescale_kernels.scaling.config import model_config
from ropescale_kernels.scaling.config.model_config import ModelConfig

Published = Callable[[str], dict[str, Any]]


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the rules of which frequencies are derived, in order."""
    found: list[str] = []
    # The only caller of what derives frequencies.
    derive = RopeScaling._from_parameters.__func__  # type: ignore[attr-defined]

    def counted(cls: type[RopeScaling], parameters: Any) -> RopeScaling:
        found.append(parameters.rope_type)
        return derive(cls, parameters)

    monkeypatch.setattr(RopeScaling, "_from_parameters", classmethod(counted))
    return found


@pytest.mark.parametrize(
    ("name", "rope_type"),
    [
        ("qwen3-8b-yarn", "yarn"),
        ("llama-3.1-8b", "llama3"),
        ("phi-4-mini-instruct", "longrope"),
        ("mistral-7b-v0.3", "default"),
    ],
)
def test_a_config_is_derived_once(
    name: str, rope_type: str, published: Published, derived: list[str]
) -> None:
    quiet(published(name))
    assert derived == [rope_type]


def test_notes_come_without_a_warning(published: Published) -> None:
    # The suite turns a warning into an error.
    raw = {**published("qwen3-8b"), "rope_percent": 3.0}
    scaling, notes = scaling_and_notes(raw, "hf", None, None)
    assert scaling.rope_type == "default"
    assert [note.split(":")[0] for note in notes] == ["rope_percent"]
    with pytest.warns(RopeScaleWarning, match=r"^rope_percent: ") as warned:
        assert RopeScaling.from_hf_config(raw) == scaling
    assert tuple(str(warning.message) for warning in warned) == notes


@pytest.fixture
def located(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the configs that are located, in order."""
    found: list[dict[str, Any]] = []
    build = ModelConfig.__init__

    def counted(self: ModelConfig, config: Any) -> None:
        found.append(config)
        build(self, config)

    monkeypatch.setattr(ModelConfig, "__init__", counted)
    return found


def test_a_plan_reads_the_config_once_and_the_planned_one_once(
    published: Published, derived: list[str], located: list[dict[str, Any]]
) -> None:
    raw = published("qwen3-8b")
    plan = make_plan(raw, 131072)
    assert located == [raw, plan.config]
    # The config as it is, and the planned one in 16 dialects.
    assert derived == ["default", *16 * ["yarn"]]


def test_a_plan_without_changes_reads_one_config(
    published: Published, derived: list[str], located: list[dict[str, Any]]
) -> None:
    raw = published("qwen3-8b")
    assert make_plan(raw, 32768).changes == {}
    assert located == [raw]
    assert derived == 16 * ["default"]


def test_an_inspection_reads_the_config_once(
    published: Published, derived: list[str], located: list[dict[str, Any]]
) -> None:
    raw = published("gemma-3-4b-it")
    layers = inspect_config(raw)
    assert [layer.layer_type for layer in layers] == ["full_attention", "sliding_attention"]
    assert located == [raw]
    resolved = [reading for layer in layers for reading in layer.readings if reading.error is None]
    assert len(derived) == len(resolved)


def test_rope_parameters_are_found_once_for_all_dialects_that_read_the_same_keys(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    find = model_config.rope_parameters

    def counted(*arguments: Any, reads_new_key: bool) -> Any:
        found.append(reads_new_key)
        return find(*arguments, reads_new_key=reads_new_key)

    monkeypatch.setattr(model_config, "rope_parameters", counted)
    compare_dialects(published("qwen3-8b-yarn"))
    assert found == [True, False]
