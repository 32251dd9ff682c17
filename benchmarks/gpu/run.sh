#!/usr/bin/env bash
# Measures Espalier's CUDA kernels and networks on a GPU machine, and torch on the same work, and writes gpu.json.
#
# 1. Where nvcc is (no GPU needed; minutes, most of them nvcc's and the reference networks'):
#        python benchmarks/prepare_gpu.py --arch sm_90a
#    writes build/gpu/bundle.tar.xz (--networks names which): kernels, compiled networks, TVM's runtime without its
#    compiler, CUDA's runtime library, and numpy and apache-tvm-ffi for the other machine's Python (--python 3.12).
# 2. On the GPU machine, which needs that Python, NVIDIA's driver, this folder and the bundle, and no network:
#        bash benchmarks/gpu/run.sh [BUNDLE [OUTPUT_FOLDER [SECONDS]]]
#    It checks every kernel on fresh random data, in small networks against the reference bodies of their operators and
#    alone against numpy (integers exactly), and ResNet-18 and ResNet-50 against their references. It times kernels and
#    networks in replayed CUDA graphs on rotating buffers, and each launch of a network with its waves beside its
#    prediction. Where that Python has torch, the same layers and networks are timed in it too; where it has not, the
#    rest is measured all the same. It ends by itself within SECONDS (default 400) and is ended 45 later, most wanted
#    results first; the record is written anew after every step, so that what was measured is kept if it is stopped. A
#    step that faults or hangs is named in the record, and the next one goes on in another process.
#    Last it prints a table of what is claimed, met or missed, with figures; `python benchmarks/gpu/report.py gpu.json`
#    prints it again anywhere. The exit status is 1 if a check failed, 3 if steps were lost and no time is left.
# 3. Put gpu.json into benchmarks/records/.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
bundle="${1:-$here/../../build/gpu/bundle.tar.xz}"
output="${2:-${OUT:-$here/../out}}"
seconds="${3:-400}"
python="${PYTHON:-python3}"

fail() { echo "run.sh: $*" >&2; exit 2; }
[[ $# -le 3 ]] || fail "got $# arguments, accepted are BUNDLE, OUTPUT_FOLDER and SECONDS"
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || fail "SECONDS is $seconds, accepted is a whole number"
[[ -f "$bundle" ]] || fail "no bundle at $bundle: run benchmarks/prepare_gpu.py where nvcc is"
command -v "$python" >/dev/null || fail "no $python here: PYTHON=... names another"
"$python" -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null ||
  fail "NVIDIA's driver was not found (libcuda.so.1): this runs on a machine with a GPU"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$bundle" "$work" 2>/dev/null ||
  fail "$bundle cannot be unpacked"
wanted="$(cat "$work/python")"
"$python" -c 'import sys; sys.exit(sys.argv[1] != "%d.%d" % sys.version_info[:2])' "$wanted" ||
  fail "the bundle is for Python $wanted: PYTHON=python$wanted, or prepare_gpu.py --python"
mkdir -p "$output"
! command -v nvidia-smi >/dev/null ||
  timeout 20 nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv || true
export PYTHONPATH="$work/site:$(dirname "$here")" PYTHONUNBUFFERED=1 TVM_DEVICE_BACKEND_AUTOLOAD=0
status=0
timeout --signal=INT --kill-after=10 "$((seconds + 45))" "$python" -m gpu.supervise "$work" "$output/gpu.json" --seconds "$seconds" ||
  status=$?
[[ ! -f "$output/gpu.json" ]] || "$python" "$here/report.py" "$output/gpu.json"
exit "$status"
