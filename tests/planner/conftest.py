"""Published configs for the tests of `ropescale_kernels.planner`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIGS = Path(__file__).parent.parent / "fixtures" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))


@pytest.fixture
def published() -> Callable[[str], dict[str, Any]]:
    """Return a function from the name of a published config to the config."""
    return lambda name: json.loads((CONFIGS / f"{name}.json").read_text())
