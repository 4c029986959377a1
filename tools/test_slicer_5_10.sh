#!/usr/bin/env bash
# Runs what the module does in Slicer with the packages that Slicer 5.10 ships, in an environment of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv-slicer-5.10
stamp=$venv/setup.stamp
wanted() { cksum pyproject.toml constraints-slicer-5.10.txt; }
# The rooms that run in Slicer without MRML and Qt: slicer-core is built for another numpy.
rooms=(imageio network support working_grid results registration same_volume task next_patient batch worker)

if [ ! -f "$stamp" ] || [ "$(wanted)" != "$(cat "$stamp")" ]; then
  # As in Slicer 5.10 where it is there.
  "$(command -v python3.12 || command -v python3.11 || command -v python3)" -m venv --clear "$venv"
  pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints-slicer-5.10.txt)
  packages=(-e . nibabel pytest hypothesis)
  "${pip[@]}" "${packages[@]}" || "${pip[@]}" --extra-index-url https://download.pytorch.org/whl/cpu "${packages[@]}"
  wanted >"$stamp"
fi
exec "$venv/bin/python" -m pytest "${rooms[@]/#/Testing/Python/}" "$@"
