#!/usr/bin/env bash
# Run the tests of the Triton kernels with another Triton than the one installed.
#
#   tools/try_triton.sh BIN VERSION NUMPY      (an old interpreter wants a numpy of its time)
set -eu
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
target=$PWD/build/triton-$2
if [ ! -d "$target/triton" ]; then
    "$bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps \
        --target "$target" "triton==$2" "numpy==$3"
fi
PYTHONPATH="$target" ROPESCALE_EMULATED_CUDA= "$bin/pytest" -q -n auto -p no:cacheprovider -k triton \
    -W "ignore:Conversion of an array:DeprecationWarning" tests/triton tests/ops/test_equal_bits.py \
    tests/ops/test_rotary_qk.py tests/ops/test_rotary_cos_sin.py tests/ops/test_scaling_grad.py \
    tests/ops/test_given_rows.py
