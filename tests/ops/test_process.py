"""The process around a call: rounding modes, threads, forks, what is loaded."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
import torch

import ropescale_kernels as rk

TABLE = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("thread_team")
@pytest.mark.parametrize("tokens", [3, 4000])
def test_a_caller_that_flushes_denormals_gets_the_same_bits(tokens: int) -> None:
    """On one thread, and on enough tokens for a team of threads."""
    q = torch.randn(tokens, 4, 64) * 1e-39
    assert (q != 0).any()
    want = rk.apply_rotary_qk(q, None, torch.arange(tokens), TABLE)[0]
    try:
        if not torch.set_flush_denormal(True):
            pytest.skip("this processor cannot flush denormals")
        got = rk.apply_rotary_qk(q, None, torch.arange(tokens), TABLE)[0]
        still_flushing = torch.tensor([1e-39]) * 1.0
    finally:
        torch.set_flush_denormal(False)
    assert still_flushing.item() == 0.0
    assert torch.equal(got.view(torch.int32), want.view(torch.int32))
    assert ((want != 0) & (want.abs() < 1e-38)).any()


@pytest.mark.usefixtures("thread_team")
def test_sixteen_threads_at_once() -> None:
    q = torch.randn(600, 8, 64)
    positions = torch.arange(600) * 17
    want = rk.apply_rotary_qk(q, None, positions, TABLE)[0]
    wrong: list[int] = []

    def call(index: int) -> None:
        for _ in range(5):
            mine = q.clone()
            rk.apply_rotary_qk_(mine, None, positions, TABLE)
            if not torch.equal(mine, want):
                wrong.append(index)

    team = [threading.Thread(target=call, args=(i,)) for i in range(16)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not wrong


def test_the_thread_count_is_torchs_and_changes_no_bit() -> None:
    q, positions = torch.randn(3000, 8, 64), torch.arange(3000)
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(rk.apply_rotary_qk(q, None, positions, TABLE)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def slow(*values: str | None) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "imports",
    [slow("import torch, ropescale_kernels as rk"), "import ropescale_kernels as rk, torch"],
)
def test_one_openmp_runtime_in_either_order_of_imports(imports: str) -> None:
    program = f"""
{imports}
table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
rk.apply_rotary_qk(torch.randn(4000, 8, 64), None, torch.arange(4000), table)
torch.randn(1000, 1000) @ torch.randn(1000, 1000)
paths = {{line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}}
names = ("libgomp", "libomp", "libiomp")
print(sum(path.rsplit("/", 1)[-1].startswith(names) for path in paths))
"""
    assert run(program).strip() == "1"


def test_the_package_and_its_module_import_without_torch() -> None:
    program = """
import sys
import ropescale_kernels as rk, ropescale_kernels._C
assert rk.build_info()["extension"] is None
maps = open("/proc/self/maps").read()
print("torch" in sys.modules, "libtorch" in maps, "libgomp" in maps)
"""
    assert run(program).split() == ["False", "False", "False"]


@pytest.mark.parametrize("tokens", [4, 4000])
@pytest.mark.parametrize("before", ["rotate", "torch.rand(4_000_000).add"])
def test_a_forked_child_can_call(tokens: int, before: str) -> None:
    """On one thread and on a team, after a team of the parent that the child does not have.

    torch itself waits for ever in such a child, so the child calls nothing else of it.
    """
    program = f"""
import os, threading, torch, ropescale_kernels as rk
torch.set_num_threads(2)
table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
q, positions = torch.randn({tokens}, 8, 64), torch.arange({tokens})
def rotate(_):
    out = torch.empty_like(q)
    rk.apply_rotary_qk(q, None, positions, table, out=(out, None))
    return out
def threads():
    return len(os.listdir("/proc/self/task"))
alone, want = threads(), rotate(1).numpy().tobytes()
({before})(1)
team = threads() > alone
child = os.fork()
if child == 0:
    os._exit(0 if rotate(1).numpy().tobytes() == want else 1)
timer = threading.Timer(30, os.kill, (child, 9))
timer.daemon = True
timer.start()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), team)
"""
    code, team = run(program).split()
    assert code == "0"
    assert team == str(tokens == 4000 or before != "rotate")


@pytest.mark.parametrize(("wanted", "got"), [("baseline", "baseline"), slow("avx512", None)])
def test_the_isa_variable_chooses_and_clamps(wanted: str, got: str | None) -> None:
    program = f"""
import os
os.environ["ROPESCALE_CPU_ISA"] = {wanted!r}
import torch, ropescale_kernels as rk, ropescale_kernels._C as extension
table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
rk.apply_rotary_qk(torch.randn(4, 8, 64), None, torch.arange(4), table)
print(extension.cpu_isa())
"""
    assert run(program).strip() == (got or rk.build_info()["best_cpu_isa"])


@pytest.mark.slow
def test_an_unknown_isa_is_refused_by_name() -> None:
    program = """
import os
os.environ["ROPESCALE_CPU_ISA"] = "sse9"
import ropescale_kernels as rk
try:
    rk.apply_rotary_qk
except rk.RopeScaleValueError as error:
    print(error)
"""
    assert "ROPESCALE_CPU_ISA: expected one of baseline, avx2, avx512, got sse9" in run(program)
