"""DTensor q and k over two processes: equal bits to one, nothing communicated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("sharded_worker.py")


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch has no gloo",
)
def test_two_processes_rotate_their_shards(tmp_path: Path) -> None:
    outputs = [tmp_path / f"rank-{rank}" for rank in range(2)]
    ranks = []
    try:
        for rank, output in enumerate(outputs):
            with output.open("w") as file:
                command = [sys.executable, "-W", "ignore", str(WORKER), str(rank)]
                ranks.append(
                    subprocess.Popen([*command, str(tmp_path / "store")], stdout=file, stderr=file)
                )
        for process, output in zip(ranks, outputs, strict=True):
            code = process.wait(timeout=240)
            said = output.read_text()
            assert code == 0, said[-3000:]
            assert said.endswith("refusals\ndone\n"), said[-3000:]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
