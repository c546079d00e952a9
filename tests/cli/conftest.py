"""The command line, run in this process."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from ropescale_kernels.cli import main

Ropescale = Callable[..., tuple[int, str, str]]


@pytest.fixture
def on_stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
    """Put a text (as UTF-8) or bytes on stdin."""

    def put(content: str | bytes) -> None:
        raw = content.encode() if isinstance(content, str) else content
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))

    return put


@pytest.fixture
def ropescale(capsys: pytest.CaptureFixture[str]) -> Ropescale:
    """Run `ropescale ARGUMENTS` and give its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run
