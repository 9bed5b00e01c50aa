#!/usr/bin/env bash
# Re-compiles requirements/*.lock from *.in. Add `--upgrade` to raise versions, or
# `--upgrade-package NAME` for one. dev first; the others take the same versions from it.
set -euo pipefail
cd "$(dirname "$0")/../requirements"

uv="../.venv/bin/uv"
compile() {
  local name=$1
  shift
  # Hashed, for every platform, without addresses or comments that change from machine to machine.
  "$uv" pip compile "$name.in" --output-file "$name.lock" --quiet --universal \
    --python-version 3.11 --generate-hashes --no-header --no-annotate "$@"
}

compile dev "$@"
for name in run agent management cli; do
  compile "$name" --constraint dev.lock
done
