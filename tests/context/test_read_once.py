"""Counts of work: each scaling is derived once, and a plan reads each config once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from resolving import quiet

from ropescale_kernels.errors import RopeScaleWarning
from ropescale_kernels.planner.compare import scaling_and_notes
from ropescale_kernels.planner.plan import make_plan
from ropescale_kernels.scaling import RopeScaling, frequencies

Published = Callable[[str], dict[str, Any]]


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the rules of which frequencies were derived, in order, as they are."""
    found: list[str] = []
    derive = frequencies.derive

    def counted(parameters: Any) -> Any:
        found.append(parameters.rope_type)
        return derive(parameters)

    monkeypatch.setattr(frequencies, "derive", counted)
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


def test_a_plan_derives_each_dialect_twice_at_most(
    published: Published, derived: list[str]
) -> None:
    make_plan(published("qwen3-8b"), 131072)
    # The config as it is, the planned one, and the planned one in 16 dialects.
    assert len(derived) == 18
