"""Triton's interpreter made fit for the tests; tried on Triton 3.6 and 3.9.

Before 3.9 its fma rounds twice, and tests compare bits. Every version looks through the whole of
Triton's language at each call of a function within a kernel, to patch what it has patched before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import triton
import triton.language as tl
from triton.runtime import interpreter

from support import exact_fma


@functools.cache
def languages(function: Callable[..., Any]) -> list[ModuleType]:
    """Return which modules of Triton's language a function names, as the interpreter looks."""
    return [
        module
        for module in (tl, tl.core)
        if any(value is module for value in function.__globals__.values())
    ]


def patch_once(patch: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the interpreter's `patch`, but patching nothing that is patched.

    A patched function no longer has the mark of a builtin, so that a second search finds nothing.
    """

    @functools.wraps(patch)
    def patch_lang(function: Callable[..., Any]) -> Any:
        if any(tl.core.is_builtin(module.load) for module in languages(function)):
            return patch(function)
        return interpreter._LangPatchScope()

    return patch_lang


def install() -> None:
    """Put both into the interpreter."""
    interpreter._patch_lang = patch_once(interpreter._patch_lang)
    if tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 9):
        exact_fma.install()
