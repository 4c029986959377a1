#!/usr/bin/env bash
# Sets up .venv and the Debian packages that drawing without a screen needs.
# Says nothing and changes nothing when both are there. PYTHON=python3.12 chooses the interpreter of a new .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=.venv/setup.log
stamp=.venv/setup.stamp

# One package and a file it brings, so that a machine that has the file by another road asks for nothing.
system_packages=(
  'libegl1 /usr/lib*/libEGL.so.1 /usr/lib/*/libEGL.so.1'
  'libgl1 /usr/lib*/libGL.so.1 /usr/lib/*/libGL.so.1'
  'libgl1-mesa-dri /usr/lib*/dri/swrast_dri.so /usr/lib/*/dri/swrast_dri.so /usr/lib/*/libgallium*.so'
  'libxkbcommon0 /usr/lib*/libxkbcommon.so.0 /usr/lib/*/libxkbcommon.so.0'
  'libfontconfig1 /usr/lib*/libfontconfig.so.1 /usr/lib/*/libfontconfig.so.1'
  'libdbus-1-3 /usr/lib*/libdbus-1.so.3 /usr/lib/*/libdbus-1.so.3 /lib/*/libdbus-1.so.3'
  'libglib2.0-0 /usr/lib*/libglib-2.0.so.0 /usr/lib/*/libglib-2.0.so.0 /lib/*/libglib-2.0.so.0'
  'fonts-dejavu-core /usr/share/fonts/*/*'
)

missing_packages() {
  local entry package pattern
  for entry in "${system_packages[@]}"; do
    package=${entry%% *}
    for pattern in ${entry#* }; do # a pattern that matched nothing stays a pattern, and is no file
      [ -e "$pattern" ] && continue 2
    done
    printf '%s ' "$package"
  done
}

install_packages() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  command -v apt-get >/dev/null || return 1
  [ ${#as_root[@]} = 0 ] || "${as_root[@]}" true 2>/dev/null || return 1
  "${as_root[@]}" apt-get -qq update >/dev/null 2>&1 || true # an old list of packages may still do
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" \
    >/dev/null 2>&1
}

set_up_system() {
  [ "$(uname -s)" = Linux ] || return 0
  local packages
  packages=$(missing_packages)
  [ -n "$packages" ] || return 0
  # shellcheck disable=SC2086  # a list of words
  if ! install_packages $packages; then
    echo "For pictures of Slicer's views, paste: sudo apt-get install -y $packages" >&2
  fi
}

find_python() {
  local candidate
  # 3.11 first: the version the constraints were made with.
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.10 python3}; do
    if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  echo 'Python 3.10 or later was not found: install it, or name it with PYTHON=/path/to/python3.' >&2
  return 1
}

wanted() {
  cksum pyproject.toml constraints.txt
  pwd
}

set_up_python() {
  local python
  [ -x .venv/bin/medmetaseg ] && [ -f "$stamp" ] && [ "$(wanted)" = "$(cat "$stamp")" ] && return 0
  # Scripts in an environment hold its path: a moved checkout gets a new one.
  if ! .venv/bin/python -c '' 2>/dev/null || ! grep -qsF "$PWD/.venv" .venv/bin/activate; then
    python=$(find_python)
    "$python" -m venv --clear .venv
  fi
  rm -f "$stamp"
  echo 'Setting up .venv (once; some minutes) ...' >&2
  local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
  local parts='.[scene,evaluation,training,cluster,dicom,test,lint]'
  if ! "${pip[@]}" -c constraints.txt -e "$parts" >"$log" 2>&1; then
    # PyTorch's own index has the CPU build that PyPI has not.
    if ! "${pip[@]}" -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu -e "$parts" \
      >>"$log" 2>&1; then
      tail -n 15 "$log" >&2
      echo "Setting up .venv failed; the whole story is in $log." >&2
      return 1
    fi
  fi
  wanted >"$stamp"
}

set_up_system
set_up_python
