#!/usr/bin/env bash
# Runs what the module does in Slicer with the packages that Slicer 5.10 ships, in an environment of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv-slicer-5.10
stamp=$venv/setup.stamp
wanted() { cksum pyproject.toml constraints-slicer-5.10.txt tools/test_slicer_5_10.sh; }
# The rooms that run in Slicer, but what needs Qt: PySide6 is not Slicer's.
rooms=(imageio network support working_grid results registration same_volume task next_patient batch worker scene)

find_python() {
  local candidate
  # 3.12 first, which Slicer 5.10 has; what is on the PATH may be no more than a name.
  for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
    if "$candidate" -c 'import venv' 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  echo 'Python 3.11 or 3.12 was not found: install it, or name it with PYTHON=/path/to/python3.' >&2
  return 1
}

if [ ! -f "$stamp" ] || [ "$(wanted)" != "$(cat "$stamp")" ]; then
  python=$(find_python)
  echo "Setting up $venv (once; some minutes) ..." >&2
  "$python" -m venv --clear "$venv"
  pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints-slicer-5.10.txt)
  packages=(-e . slicer-core==5.12.4.0 nibabel pytest hypothesis)
  # PyTorch's own index has the CPU build that PyPI has not.
  "${pip[@]}" "${packages[@]}" 2>"$venv/setup.log" ||
    "${pip[@]}" --extra-index-url https://download.pytorch.org/whl/cpu "${packages[@]}"
  wanted >"$stamp"
fi
exec "$venv/bin/python" -m pytest "${rooms[@]/#/Testing/Python/}" \
  --ignore Testing/Python/scene/panel --ignore Testing/Python/scene/test_sample_data.py "$@"
