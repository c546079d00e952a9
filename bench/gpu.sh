#!/usr/bin/env bash
# Everything a GPU is needed for, in one command of at most nine minutes, without a network:
#
#     bench/gpu.sh [--out DIR] [--wheels DIR] [--rehearse]
#
# Builds in place, runs every test with no GPU test skipped, the memory checker on some of them, and
# the bench against a copy, the torch operations and the peers at hand. Leaves DIR/report.json (commit
# it as bench/results/gpu-<device>.json) and DIR/log. A stage that fails marks the report and the exit
# status; the others still run.
#
#   --out DIR     where to, default gpu-report
#   --wheels DIR  wheels of what the machine's python lacks (typer, rich, pytest-benchmark, ...), and
#                 of peers: liger-kernel, flashinfer-python, sglang, apache-tvm-ffi
#   --rehearse    the same without a GPU, at toy size, on what is built already
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=gpu-report wheels= rehearse=
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=${2:?--out: expected a folder} && shift 2 ;;
    --wheels) wheels=${2:?--wheels: expected a folder} && shift 2 ;;
    --rehearse) rehearse=1 && shift ;;
    *) echo "gpu.sh: expected --out, --wheels or --rehearse, got $1" >&2 && exit 2 ;;
    esac
done
if [ -n "$wheels" ] && [ ! -d "$wheels" ]; then
    echo "gpu.sh: --wheels: expected a folder, got $wheels" >&2
    exit 2
fi
mkdir -p "$out/site" "$out/peers" && out=$(cd "$out" && pwd)
[ -z "$wheels" ] || wheels=$(cd "$wheels" && pwd)
export PYTHONPATH=$PWD:$out/site PYTHONUNBUFFERED=1 ROPESCALE_PEERS=$out/peers
: >"$out/log" && : >"$out/stages"
status=0

# stage NAME SECONDS COMMAND...: run within a time limit, keep "NAME exit-code seconds".
stage() {
    local name=$1 limit=$2 began=$SECONDS code
    shift 2
    echo "== $name" | tee -a "$out/log"
    timeout --kill-after=5 "$limit" "$@" >>"$out/log" 2>&1
    code=$?
    echo "$name $code $((SECONDS - began))" >>"$out/stages"
    [ $code = 0 ] || { status=1 && tail -n 40 "$out/log" && echo "== $name: exit status $code"; }
}

# Wheels that the machine's python lacks, beside it and not into it. Of the large peers, only the
# sources are wanted.
packages() {
    "$python" --version && "$python" -m pip list 2>/dev/null
    nvidia-smi
    [ -n "$wheels" ] || return 0
    local wheel name
    for wheel in "$wheels"/*.whl; do
        name=$(basename "$wheel" | cut -d- -f1)
        case $name in flashinfer_python | sglang) continue ;; esac
        "$python" -m pip show -q "$name" 2>/dev/null && continue
        "$python" -m pip install --quiet --no-index --no-deps --target "$out/site" "$wheel" || return 1
    done
}

build() {
    local capability
    if [ -z "$rehearse" ]; then
        # For this device alone: the others' machine code takes minutes and runs nowhere.
        capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
        ROPESCALE_CUDA=ON ROPESCALE_CUDA_ARCHITECTURES=$capability \
            "$python" setup.py build_ext --inplace || return 1
    fi
    "$python" -c "import ropescale_kernels as rk; print(rk.build_info(), rk.available_impls())"
}

tests() {
    if [ -n "$rehearse" ]; then
        ROPESCALE_GPU_REHEARSAL=1 "$python" -m pytest -q -p no:cacheprovider \
            --junitxml="$out/tests.xml" tests/gpu/test_contract.py
    else
        # What needs no device runs in every other place.
        ROPESCALE_REQUIRE_GPU=1 ROPESCALE_EMULATED_CUDA= "$python" -m pytest -q \
            -p no:cacheprovider --junitxml="$out/tests.xml" tests/gpu tests/test_extension.py \
            tests/test_process.py tests/cuda/test_machine_code.py
    fi
}

sanitizer() {
    local tool
    for tool in memcheck racecheck; do
        echo "-- $tool"
        ROPESCALE_EMULATED_CUDA= compute-sanitizer --tool $tool --error-exitcode 1 "$python" -m \
            pytest -q -p no:cacheprovider tests/gpu/test_contract.py \
            -k "(cuda or triton) and float32 and place" || return 1
    done
}

bench() {
    if [ -n "$rehearse" ]; then
        "$python" -m ropescale_kernels.cli bench --quick --peer none --model llama-3.1-70b-tp8 \
            --json "$out/bench.json"
    else
        "$python" -m ropescale_kernels.cli bench --device cuda --seconds 1.5 --suite overview \
            --suite tokens --suite context --peer unfused --peer transformers --peer liger \
            --peer flashinfer --peer sglang --plot "$out/plots" --json "$out/bench.json"
    fi
}

# Compiling takes longer than timing, so this comes last and on few shapes.
bench_compiled() {
    "$python" -m ropescale_kernels.cli bench --device cuda --seconds 1.5 --suite overview \
        --peer transformers --peer compile --json "$out/bench-compiled.json"
}

export -f packages build tests sanitizer bench bench_compiled
export python out wheels rehearse

stage packages 60 bash -c packages
if [ -n "$wheels" ] && ls "$wheels" | grep -q -e ^flashinfer -e ^sglang; then
    # On cores that the tests leave idle.
    timeout 240 "$python" bench/build_peers.py --wheels "$wheels" --out "$out/peers" \
        >"$out/peers.log" 2>&1 &
    peers=$!
fi
stage build 110 bash -c build
stage tests 190 bash -c tests
fused=$("$python" -W ignore -c "import ropescale_kernels as rk
print(*(n for n in ('cuda', 'triton') if rk.available_impls()[n] is None))" 2>>"$out/log")
if [ -n "$fused" ] && [ -z "$rehearse" ]; then
    stage sanitizer 80 bash -c sanitizer
else
    echo "sanitizer skip 0" >>"$out/stages"
    echo "== sanitizer: not run, there is no kernel of ours on a device" | tee -a "$out/log"
fi
if [ -n "${peers:-}" ]; then
    # What does not build is left out of the bench, which says so; the report says it here.
    wait "$peers"
    echo "peers $? 0" >>"$out/stages"
    cat "$out/peers.log" >>"$out/log"
fi
stage bench 150 bash -c bench
left=$((530 - SECONDS))
if [ -z "$rehearse" ] && [ $left -gt 30 ]; then
    stage bench-compiled $left bash -c bench_compiled
else
    echo "bench-compiled skip 0" >>"$out/stages"
fi
"$python" tools/gpu_report.py assemble "$out" ${rehearse:+--rehearsal} || status=1
cat "$out/stages"
exit $status
