#!/usr/bin/env bash
# Run the tests of the dialects of Transformers 4 against those releases themselves.
#
#   tools/try_transformers.sh BIN VERSION...
set -eu
bin=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
for version in "$@"; do
    target=$PWD/build/transformers-$version
    if [ ! -d "$target/transformers" ]; then
        "$bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
            --target "$target" "transformers==$version"
    fi
    PYTHONPATH="$target" ROPESCALE_EMULATED_CUDA= "$bin/pytest" -q -p no:cacheprovider tests/parity/test_transformers_4.py
done
