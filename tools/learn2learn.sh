#!/usr/bin/env bash
# Builds learn2learn 0.2.0 from its source and installs it into .venv, without its own dependencies.
# The C files it ships do not compile on Python 3.11 and later, so they are made anew from its .pyx files, in an
# environment of their own: .venv gets one pure package more, and keeps its torch.
# Says nothing and changes nothing when it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.2.0
sha256=69f1d7cb0d0a6be7a2c6ad8e83e2ebbe70fb05e51d61e45e63078b40c75ea419
python=.venv/bin/python

installed() {
  "$python" -c "import importlib.metadata as m, sys; sys.exit(m.version('learn2learn') != '$version')" 2>/dev/null
}

build_and_install() {
  local folder=$1
  "$python" -m venv "$folder/build" &&
    "$folder/build/bin/pip" install --quiet 'setuptools>=70,<81' wheel 'cython>=3,<4' &&
    echo "learn2learn==$version --hash=sha256:$sha256" >"$folder/wanted.txt" &&
    "$folder/build/bin/pip" download --quiet --no-deps --no-binary :all: --no-build-isolation --require-hashes \
      -r "$folder/wanted.txt" -d "$folder" &&
    tar -xzf "$folder/learn2learn-$version.tar.gz" -C "$folder" &&
    rm -f "$folder/learn2learn-$version"/learn2learn/data/*.c &&
    # build_ext switches its setup.py from .c to .pyx.
    (cd "$folder/learn2learn-$version" && ../build/bin/python setup.py -q build_ext bdist_wheel -d "$folder") &&
    "$python" -m pip install --quiet --no-deps "$folder"/learn2learn-*.whl
}

main() {
  installed && return 0
  if ! command -v cc >/dev/null && ! command -v gcc >/dev/null; then
    echo 'learn2learn is compiled: install a C compiler first (Debian: sudo apt-get install build-essential).' >&2
    return 1
  fi
  local folder log=.venv/learn2learn.log
  folder=$(mktemp -d)
  # shellcheck disable=SC2064  # the folder as it is now
  trap "rm -rf '$folder'" EXIT
  echo "Building learn2learn $version into .venv (once; some minutes) ..." >&2
  export PIP_DISABLE_PIP_VERSION_CHECK=1
  if ! build_and_install "$folder" >"$log" 2>&1 || ! installed; then
    tail -n 15 "$log" >&2
    echo "Building learn2learn failed; the whole story is in $log." >&2
    return 1
  fi
}

main
