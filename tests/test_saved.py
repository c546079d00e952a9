"""What earlier versions saved still loads, and gives what it gave: tests/fixtures/saved.

The files were written by the version whose modules and fields they name.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import ropescale_kernels as rk
import ropescale_kernels.operators  # saved programs find their operators

SAVED = Path(__file__).resolve().parent / "fixtures" / "saved"
# Frequencies follow torch's own float32 operations, whose bits another processor may not share.
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def results() -> Any:
    return torch.load(SAVED / "results.pt", weights_only=False)


def check(got: Any, want: Any) -> None:
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, **CLOSE)


@pytest.mark.parametrize("name", ["captured", "passed"])
def test_an_exported_program_runs(results: Any, name: str) -> None:
    q, k, position_ids = results["inputs"]
    inputs: tuple[Any, ...] = (q.clone(), k.clone(), position_ids)
    if name == "passed":
        yarn = {"rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}
        inputs = (*inputs, rk.RotaryTable(rk.RopeScaling.yarn(rotary_dim=16, **yarn)))
    program = torch.export.load(SAVED / f"{name}.pt2")
    check(program.module()(*inputs), results[name])


@pytest.mark.parametrize("weights_only", [True, False])
def test_tables_load_and_rotate(results: Any, weights_only: bool) -> None:
    q, k, position_ids = results["inputs"]
    found = torch.load(SAVED / "tables.pt", weights_only=weights_only)
    for name in ("table", "dynamic"):
        got = rk.apply_rotary_qk(q, k, position_ids, found[name], profile_ids=results["ids"])
        check(got, results[name])
    with pytest.raises(AssertionError):
        check(rk.apply_rotary_qk(q, k, position_ids + 1, found["table"]), results["table"])


def test_pickled_scalings_are_those_of_every_rule(results: Any) -> None:
    found = pickle.loads((SAVED / "scalings.pkl").read_bytes())
    assert found.keys() == results["inv_freq"].keys()
    for name, scaling in found.items():
        assert scaling.fingerprint() == results["fingerprint"][name]
        torch.testing.assert_close(scaling.inv_freq, results["inv_freq"][name], rtol=1e-6, atol=0)
        assert scaling.attention_factor == pytest.approx(results["factor"][name], rel=1e-7)
        again = pickle.loads(pickle.dumps(scaling))
        assert again.fingerprint() == scaling.fingerprint()


def test_a_pickled_module_rotates(results: Any) -> None:
    module = pickle.loads((SAVED / "embedding.pkl").read_bytes())
    check(module(*results["inputs"]), results["embedding"])
    assert list(module.state_dict()) == results["state"]
