#!/usr/bin/env bash
# Everything a GPU is needed for, in one command of at most nine minutes, without a network:
#
#     bench/gpu.sh [--out DIR] [--carried DIR] [--seconds N] [--only STAGE]... [--rehearse]
#
# Every GPU test with none skipped, compute-sanitizer on a selection that launches every kernel, and
# the bench against copies, the torch operations and the peers at hand. Leaves DIR/report.json
# (commit it as bench/results/gpu-<device>.json), DIR/log, DIR/tests.xml and DIR/plots. The report is
# written anew after each stage, and when the script is terminated. A stage that fails marks the
# report and the exit status, and the others still run.
#
#   --out DIR      where to, default gpu-report
#   --carried DIR  what tools/gpu/carry.py built elsewhere; DIR/wheels may hold any other wheels that the
#                  machine's python lacks. What is missing, or for other sources, is built here
#   --seconds N    for all stages together, default 500
#   --only STAGE   one of tests large sanitizer bench repeat bench-compiled, after packages, build and
#                  peers, which every run begins with
#   --rehearse     the same without a GPU, at toy size, on what is built already
set -u
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=gpu-report carried= seconds=500 only= rehearse=
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=${2:?--out: expected a folder} && shift 2 ;;
    --carried) carried=${2:?--carried: expected a folder} && shift 2 ;;
    --seconds) seconds=${2:?--seconds: expected a number} && shift 2 ;;
    --only) only+=" ${2:?--only: expected a stage} " && shift 2 ;;
    --rehearse) rehearse=1 && shift ;;
    --help) sed -n '2,/^set/s/^# \{0,1\}//p' "bench/gpu.sh" && exit ;;
    *)
        echo "gpu.sh: expected --out, --carried, --seconds, --only or --rehearse, got $1" >&2
        exit 2
        ;;
    esac
done
if [ -n "$carried" ] && [ ! -d "$carried" ]; then
    echo "gpu.sh: --carried: expected a folder, got $carried" >&2
    exit 2
fi
case $seconds in
*[!0-9]* | '') echo "gpu.sh: --seconds: expected a number, got $seconds" >&2 && exit 2 ;;
esac
stages=(packages build peers tests large sanitizer bench repeat bench-compiled)
for name in $only; do
    case " ${stages[*]:3} " in
    *" $name "*) ;;
    *) echo "gpu.sh: --only: expected one of ${stages[*]:3}, got $name" >&2 && exit 2 ;;
    esac
done
mkdir -p "$out" && out=$(cd "$out" && pwd)
[ -z "$carried" ] || carried=$(cd "$carried" && pwd)
# Tests that have to pass, and none may be skipped: all of tests/gpu but the largest tensors; those;
# and those of each implementation with the mark "sanitizer" (tests/test_gpu_coverage.py counts).
gpu_tests=1028
large_tests=2
sanitized_tests=172
# Installed packages, libraries and intermediate results: no part of what the script leaves.
work=$(mktemp -d)
mkdir "$work/site" "$work/peers"
# Floors are for the whole suite, and a stage runs a part.
unset ROPESCALE_TEST_FLOORS
export PYTHONPATH=$PWD:$work/site PYTHONUNBUFFERED=1 ROPESCALE_PEERS=$work/peers
: >"$out/log" && : >"$work/stages" && echo "${stages[*]}" >"$work/all-stages"
status=0 running= running_name= began=0

assemble() {
    cp "$work"/tests.xml "$out" 2>/dev/null
    if ls "$work"/plots/*.png >/dev/null 2>&1; then
        mkdir -p "$out/plots" && cp "$work"/plots/*.png "$out/plots"
    fi
    "$python" -m tools.gpu.report assemble "$work" --to "$out/report.json" \
        ${rehearse:+--rehearsal} >>"$out/log" 2>&1
}

# Whatever ends the script, there is a report. A stage that is terminated gets a moment to write down
# how far it came.
terminated() {
    trap - TERM INT HUP
    if [ -n "$running_name" ]; then
        # The signal may come between the start of a stage and the assignment of its process.
        running=${running:-${!:-}}
        kill -TERM "$running" 2>/dev/null
        wait "$running" 2>/dev/null
        end_group "$running"
        echo "$running_name terminated $((SECONDS - began))" >>"$work/stages"
    fi
    status=143
    exit
}
finished() {
    assemble
    rm -rf "$work"
    exit "$status"
}
trap terminated TERM INT HUP
trap finished EXIT

# `timeout` leads the group of all that a stage starts, and may end before some of it.
end_group() {
    kill -KILL -- "-$1" 2>/dev/null
}

# stage NAME SECONDS FUNCTION: run within a limit and the time that is left, keep "NAME exit-code
# seconds".
stage() {
    local name=$1 limit=$2 code
    case " ${stages[*]::3} $only " in *" $name "*) ;; *) [ -z "$only" ] || return ;; esac
    [ $((seconds - SECONDS)) -ge "$limit" ] || limit=$((seconds - SECONDS))
    if [ "$limit" -lt 3 ]; then
        echo "$name late 0" >>"$work/stages"
        echo "== $name: no time is left" | tee -a "$out/log"
        status=1
        return
    fi
    began=$SECONDS running_name=$name
    echo "== $name" | tee -a "$out/log"
    # On TERM, bash waits for what it runs, which writes down what it has.
    timeout --kill-after=8 "$limit" bash -c "trap : TERM; $3" >>"$out/log" 2>&1 &
    running=$!
    wait "$running"
    code=$?
    end_group "$running"
    running= running_name=
    cat "$work/$name"-*.log >>"$out/log" 2>/dev/null
    echo "$name $code $((SECONDS - began))" >>"$work/stages"
    [ $code = 0 ] || { status=1 && tail -n 40 "$out/log" && echo "== $name: exit status $code"; }
    assemble
}

# Wheels that the machine's python lacks, beside it and not into it. Of the large peers, only the
# sources are wanted.
packages() {
    "$python" --version && "$python" -m pip list 2>/dev/null
    nvidia-smi
    "$(sanitizer_path)" --version
    local wheel name failed=0
    [ -n "$carried" ] || return 0
    for wheel in "$carried"/wheels/*.whl; do
        [ -f "$wheel" ] || continue
        name=$(basename "$wheel" | cut -d- -f1)
        case $name in flashinfer_python | sglang) continue ;; esac
        "$python" -m pip show -q "$name" 2>/dev/null && continue
        "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" "$wheel" ||
            failed=1
    done
    return $failed
}

# Where compute-sanitizer is: on PATH, or where CUDA's toolkit has it.
sanitizer_path() {
    local cuda=${CUDA_HOME:-/usr/local/cuda} path
    for path in "$(command -v compute-sanitizer)" "$cuda"/{bin,compute-sanitizer}/compute-sanitizer; do
        [ -x "$path" ] && echo "$path" && return
    done
    echo compute-sanitizer
}

# The carried extension, if it is of these sources; else one for this device alone: the others'
# machine code takes minutes and runs nowhere.
build() {
    local capability
    if [ -n "$carried" ] && "$python" -m tools.gpu.report carried "$carried/extension"; then
        cp "$carried"/extension/_C*.so ropescale_kernels/
    fi
    if [ -z "$rehearse" ] && ! "$python" -m tools.gpu.report importable; then
        capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
        ROPESCALE_CUDA=ON ROPESCALE_CUDA_ARCHITECTURES=$capability \
            "$python" setup.py build_ext --inplace || return 1
    fi
    "$python" -c "import ropescale_kernels as rk; print(rk.build_info(), rk.available_impls())"
}

# The carried libraries; what does not load is built from the wheels, if they are there.
peers() {
    if [ -z "$carried" ]; then
        echo "no library of a peer was carried along"
        return
    fi
    cp "$carried"/peers/*.so "$work/peers" 2>/dev/null
    if "$python" -m tools.gpu.build_peers --check "$work/peers"; then return; fi
    "$python" -c "import tvm_ffi" || return 1
    "$python" -m tools.gpu.build_peers --missing --wheels "$carried/wheels" --out "$work/peers"
    "$python" -m tools.gpu.build_peers --check "$work/peers"
}

# A notice of another package's is no failure of ours.
run_pytest() {
    ROPESCALE_EMULATED_CUDA= "$python" -m pytest -v -W default -p no:cacheprovider "$@"
}

tests() {
    if [ -n "$rehearse" ]; then
        ROPESCALE_GPU_REHEARSAL=cpu run_pytest --junitxml="$work/tests.xml" -n 2 \
            tests/gpu/test_contract.py
    else
        # What needs no device runs in every other place.
        ROPESCALE_REQUIRE_GPU=$gpu_tests run_pytest --junitxml="$work/tests.xml" -n 8 \
            --ignore tests/gpu/test_large.py tests/gpu tests/ops/test_extension.py \
            tests/ops/test_process.py tests/cuda/test_machine_code.py
    fi
}

# Alone: the tensors take much of the device's memory.
large() {
    if [ -n "$rehearse" ]; then
        run_pytest --collect-only tests/gpu/test_large.py
        return
    fi
    ROPESCALE_REQUIRE_GPU=$large_tests run_pytest --junitxml="$work/large.xml" \
        tests/gpu/test_large.py
}

# sanitized TOOL PORT COMMAND...: without a device, the command alone. PyTorch's memory pool is off,
# and memcheck puts a gap behind each block, because an overrun into a neighbour is no error to it.
# initcheck instruments every kernel: what it does not see written counts as unwritten. The others
# instrument this package's kernels alone. Failed calls of CUDA's interface are no concern of these
# tools: libraries probe for what a driver lacks.
sanitized() {
    local tool=$1 port=$2 options=()
    shift 2
    if [ -n "$rehearse" ]; then
        "$@"
        return
    fi
    case $tool in
    initcheck) options=(--check-api-memory-access no) ;;
    memcheck) options=(--padding 512 --report-api-errors no) ;;
    esac
    [ "$tool" = initcheck ] || options+=(--kernel-name kns=rotary_ --kernel-name kns=scaling_grad)
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$(sanitizer_path)" --tool "$tool" --error-exitcode 9 \
        "${options[@]}" --launch-timeout 120 --target-processes application-only --port "$port" "$@"
}

# sanitize IMPL TOOL PORT: the tests with the mark; a launch without a bug, of which the tool has to
# keep silent; and one with a bug that it has to name.
sanitize() {
    local impl=$1 tool=$2 port=$3 found failed=0
    declare -A words=([memcheck]='Invalid __global__ write' [initcheck]='Uninitialized __global__')
    echo "-- $impl $tool"
    ROPESCALE_REQUIRE_GPU=$sanitized_tests sanitized "$tool" "$port" "$python" -m pytest -q \
        -W default -p no:cacheprovider -m sanitizer -k "$impl" \
        --junitxml="$work/sanitizer-$impl-$tool.xml" \
        tests/gpu/test_contract.py tests/gpu/test_operators.py || failed=1
    [ "$tool" != racecheck ] && [ -z "$rehearse" ] || return $failed
    echo "-- $impl $tool: no bug"
    sanitized "$tool" "$port" "$python" tests/gpu/planted.py "$impl" none || failed=1
    echo "-- $impl $tool: a planted bug"
    found=$(sanitized "$tool" "$port" "$python" tests/gpu/planted.py "$impl" "$tool" 2>&1)
    echo "$found" | grep -m 3 -e "${words[$tool]}" || {
        echo "$found" | tail -n 20
        echo "-- $impl $tool: the planted bug was not found"
        failed=1
    }
    return $failed
}

# All at once: each has one thread of Python, and the device is idle most of the time. Only Triton's
# kernels have shared memory, and so races to look for.
sanitizer() {
    local run port=49152 failed=0 pids=() runs=(cuda:memcheck cuda:initcheck triton:memcheck
        triton:initcheck triton:racecheck)
    export ROPESCALE_EMULATED_CUDA=
    [ -z "$rehearse" ] || { runs=(cpu:memcheck) && export ROPESCALE_GPU_REHEARSAL=cpu; }
    for run in "${runs[@]}"; do
        sanitize "${run%:*}" "${run#*:}" $((port += 32)) >"$work/sanitizer-$run.log" 2>&1 &
        pids+=($!)
    done
    for run in "${pids[@]}"; do wait "$run" || failed=1; done
    return $failed
}

run_bench() {
    "$python" -m ropescale_kernels.cli bench "$@"
}

bench() {
    if [ -n "$rehearse" ]; then
        run_bench --quick --peer none --model llama-3.1-70b-tp8 --json "$work/bench.json"
    else
        run_bench --device cuda --seconds 1.2 --suite shapes --suite overview --suite tokens \
            --suite context --peer unfused --peer transformers --peer liger --peer flashinfer \
            --peer sglang --plot "$work/plots" --json "$work/bench.json"
    fi
}

# One case again, in another process: how far two measurements of the same lie apart.
repeat() {
    if [ -n "$rehearse" ]; then
        run_bench --quick --peer none --model llama-3.1-70b-tp8 --json "$work/repeat.json"
    else
        run_bench --device cuda --seconds 2 --peer none --model llama-3.1-8b --tokens 32768 \
            --json "$work/repeat.json"
    fi
}

# Compiling takes longer than timing, so this comes last and on one model's prefill and decode.
bench_compiled() {
    if [ -n "$rehearse" ]; then
        run_bench --quick --peer none --model llama-3.1-70b-tp8 \
            --json "$work/bench-compiled.json"
        return
    fi
    run_bench --device cuda --seconds 1.2 --model llama-3.1-8b --peer transformers --peer compile \
        --json "$work/bench-compiled.json"
}

export -f packages sanitizer_path build peers run_pytest tests large sanitized sanitize sanitizer
export -f run_bench bench repeat bench_compiled
export python out work carried rehearse gpu_tests large_tests sanitized_tests

stage packages 60 packages
stage build 120 build
stage peers 150 peers
stage tests 170 tests
stage large 60 large
stage sanitizer 130 sanitizer
stage bench 170 bench
stage repeat 40 repeat
stage bench-compiled 120 bench_compiled
assemble
"$python" -m tools.gpu.report show "$out/report.json" || status=1
