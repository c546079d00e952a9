#!/usr/bin/env bash
# Build the extension with ASan and UBSan beside the normal one, and run its tests with it.
set -eu
bin=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
target=$PWD/build/sanitize/site
rm -rf "$target"
# The CUDA kernels are sanitized by tests/cuda/test_sanitized.py.
PATH="$bin:$PATH" ROPESCALE_CUDA=OFF ROPESCALE_SANITIZE=address,undefined "$bin/python" -m pip install --quiet \
    --disable-pip-version-check --no-build-isolation --no-deps --target "$target" .
preload=$("${CXX:-g++}" -print-file-name=libasan.so):$("${CXX:-g++}" -print-file-name=libstdc++.so.6)
# pytest's own pythonpath has the checkout before everything else; here the built package comes first.
# Python itself never frees some of its memory; the leak checker would report that. The flag makes
# the tests fail if the plain extension were the one that is imported.
LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH="$target:$PWD" ROPESCALE_EMULATED_CUDA= ROPESCALE_EXPECT_SANITIZED=1 TRITON_INTERPRET=0 \
    "$bin/pytest" -o pythonpath=tests -q -p no:cacheprovider tests/ops/test_extension.py tests/ops/test_equal_bits.py \
    tests/properties/test_rotation.py
