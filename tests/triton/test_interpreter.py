"""What tests/support/interpreter.py leaves out changes nothing."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

import ropescale_kernels as rk
from tools.contract.draws import draw, yarn

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("Triton compiles here", allow_module_level=True)

from support.interpreter import patch_once
from triton import language as tl
from triton.runtime import interpreter


class Counted:
    """The interpreter's own patching, with a count of the searches through the language."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.searches = 0
        search = interpreter._patch_builtin

        def counted(*arguments: Any) -> None:
            self.searches += 1
            search(*arguments)

        monkeypatch.setattr(interpreter, "_patch_builtin", counted)


def rotated() -> torch.Tensor:
    table = rk.RotaryTable(yarn(16))
    out = rk.apply_rotary_qk(draw(5, 2, 16), None, torch.arange(5), table, impl="triton")[0]
    assert tl.core.is_builtin(tl.load), "the interpreter restores what it has patched"
    return out


def test_a_launch_searches_the_language_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    ours = rotated()
    once, counted.searches = counted.searches, 0
    # The same with the interpreter's own function, which searches at each inner call too.
    own = interpreter._patch_lang.__wrapped__
    monkeypatch.setattr(interpreter, "_patch_lang", own)
    theirs = rotated()
    assert torch.equal(ours, theirs)
    assert 0 < 5 * once < counted.searches


def test_every_inner_call_would_find_nothing_to_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    own = interpreter._patch_lang.__wrapped__
    attribute = interpreter._patch_attr

    def named(obj: Any, name: str, *rest: Any) -> None:
        found.append(name)
        attribute(obj, name, *rest)

    monkeypatch.setattr(interpreter, "_patch_attr", named)
    monkeypatch.setattr(interpreter, "_patch_lang", own)
    rotated()
    every = list(found)
    found.clear()
    monkeypatch.setattr(interpreter, "_patch_lang", patch_once(own))
    rotated()
    assert sorted(found) == sorted(every)
    assert len(found) > 50
