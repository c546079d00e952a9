#!/usr/bin/env bash
# Build a wheel with build isolation from the checkout, and one from the sdist; import the first
# with no torch in a clean environment, and run the operator from another directory with torch.
set -eu
python=${1:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip="-m pip --quiet --disable-pip-version-check"

"$python" -m venv "$work/clean"
clean=$work/clean/bin/python
cd "$work"
git -C "$root" archive --format=tar HEAD | (mkdir checkout && tar -x -C checkout)
$clean $pip install build
echo "wheel from the checkout, and sdist"
$clean $pip wheel --no-deps -w wheels ./checkout
limit=$((4 * 1024 * 1024))
size=$(stat -c %s wheels/*.whl)
[ "$size" -lt $limit ] || { echo "the wheel has $size bytes, expected under $limit" >&2; exit 1; }
(cd checkout && "$clean" -m build --sdist --outdir "$work/sdist" . >"$work/sdist.log" 2>&1) ||
    { cat "$work/sdist.log"; exit 1; }
echo "wheel from the sdist"
# The first wheel has the kernels for every target; once is enough.
ROPESCALE_CUDA_ARCHITECTURES=90 $clean $pip wheel --no-deps -w wheels_of_sdist sdist/*.tar.gz
ls -l wheels wheels_of_sdist

"$python" -m venv "$work/bare"
"$work/bare/bin/python" $pip install wheels/*.whl
"$work/bare/bin/python" - <<'PY'
import sys

import ropescale_kernels
import ropescale_kernels._C

info = ropescale_kernels.build_info()
assert "torch" not in sys.modules and info["extension"] is None, info
assert "site-packages" in ropescale_kernels.__file__, ropescale_kernels.__file__
try:
    ropescale_kernels.RotaryTable
except ModuleNotFoundError as error:
    assert error.name == "torch", error
else:
    raise AssertionError("torch is not installed here")
print("no torch:", info)
PY

# torch comes from the development environment; the package from the sdist's wheel.
"$root/.venv/bin/python" $pip install --no-deps --target "$work/site" wheels_of_sdist/*.whl
PYTHONPATH=$work/site "$root/.venv/bin/python" - <<'PY'
import torch

import ropescale_kernels as rk

assert "site" in rk.__file__ and rk.available_impls()["cpu"] is None, rk.__file__
table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=10000.0))
q = torch.randn(5, 3, 64)
fast, _ = rk.apply_rotary_qk(q, None, torch.arange(5), table)
slow, _ = rk.apply_rotary_qk(q, None, torch.arange(5), table, impl="reference")
assert torch.equal(fast, slow)
print("from the sdist's wheel:", rk.__file__.split("/site/")[-1])
PY
