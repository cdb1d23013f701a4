#!/usr/bin/env bash
# Fetches what a machine with torch, lightning, timm, OpenCV, matplotlib and onnxruntime lacks for atrous, as wheels for a
# Python version of Linux on x86-64, into folders wheels/part-1, part-2, ... of at most 60 MB. There, without a network:
#   pip install --no-index --no-deps part-*/*.whl && pip install --no-index --no-deps --no-build-isolation .
#   bash experiments/gpu/wheels.sh PYTHON_VERSION [FOLDER]       such as 3.12
set -euo pipefail
version=${1:?give the Python version of the other machine, such as 3.12}
folder=${2:-wheels}
top=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder"
if compgen -G "$folder/part-*" > /dev/null; then
  echo "$folder has parts already; give an empty folder" >&2
  exit 1
fi
other=(--python-version "$version" --only-binary :all:)
for glibc in 17 24 27 28; do other+=(--platform "manylinux_2_${glibc}_x86_64"); done
other+=(--platform manylinux2014_x86_64)
pinned() { grep -E "^($1)==" "$top/constraints.txt" | sed 's/ *[;#].*//'; }
# Their own dependencies beyond these are torch's, lightning's or OpenCV's.
mapfile -t names < <(pinned 'hydra-core|omegaconf|albumentations|albucore|stringzilla|simsimd|kornia-rs|segmentation-models-pytorch|wandb|scipy|pydantic|pydantic-core|annotated-types|typing-inspection|gitdb|gitpython|smmap|sentry-sdk|platformdirs|protobuf|click')
python -m pip download --quiet --no-deps --dest "$folder" "${other[@]}" "${names[@]}" hatchling pathspec pluggy trove-classifiers editables
# The parser that omegaconf's grammar was made with; it has no wheel, and is pure Python.
python -m pip wheel --quiet --no-deps --wheel-dir "$folder" 'antlr4-python3-runtime==4.9.*'
part=1 held=0
for wheel in "$folder"/*.whl; do
  size=$(wc -c < "$wheel")
  if ((size > 60000000)); then echo "$wheel is larger than a part of 60 MB" >&2; exit 1; fi
  if ((held + size > 60000000)); then part=$((part + 1)) held=0; fi
  mkdir -p "$folder/part-$part"
  mv "$wheel" "$folder/part-$part/"
  held=$((held + size))
done
echo "$(find "$folder" -name '*.whl' | wc -l) wheels in $part parts below $folder"
