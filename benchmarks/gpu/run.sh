#!/usr/bin/env bash
# Measures Espalier's CUDA kernels and networks on a GPU machine, against torch, and writes the record gpu.json.
#
# 1. Where nvcc is (no GPU needed; a few minutes, most of it nvcc):
#        python benchmarks/prepare_gpu.py --arch sm_90a
#    writes build/gpu/bundle.tar.xz (--networks names which): kernels, compiled networks, TVM's runtime
#    without its compiler, and a wheel of apache-tvm-ffi for the other machine's Python (--python 3.12).
# 2. On the GPU machine, which needs Python with torch, NVIDIA's driver, this folder and the bundle, and no network:
#        bash benchmarks/gpu/run.sh [BUNDLE [OUTPUT_FOLDER [SECONDS]]]
#    It checks every kernel against torch (in float32; integers exactly) on fresh random data, times it in replayed CUDA
#    graphs, then the networks, each with the times of its single kernels beside their predictions, then torch on the
#    same networks. It ends by itself within SECONDS (default 400) and is ended 45 later, most wanted results first;
#    the record is written anew after every step, so that what was measured is kept if it is stopped.
# 3. Put gpu.json into benchmarks/records/.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
bundle="${1:-$here/../../build/gpu/bundle.tar.xz}"
output="${2:-${OUT:-$here/../out}}"
seconds="${3:-400}"
python="${PYTHON:-python3}"

[[ -f "$bundle" ]] || { echo "no bundle at $bundle: run benchmarks/prepare_gpu.py where nvcc is" >&2; exit 2; }
command -v nvidia-smi >/dev/null || { echo "NVIDIA's driver was not found (nvidia-smi)" >&2; exit 2; }
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' ||
  { echo "$python has no torch that sees a GPU" >&2; exit 2; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
tar -xf "$bundle" -C "$work"
"$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" "$work"/wheels/*.whl
mkdir -p "$output"
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv
export PYTHONPATH="$work/site:$work/runtime:$(dirname "$here")" PYTHONUNBUFFERED=1 TVM_DEVICE_BACKEND_AUTOLOAD=0
timeout --signal=INT --kill-after=10 "$((seconds + 45))" "$python" -m gpu.measure "$work" "$output/gpu.json" --seconds "$seconds"
