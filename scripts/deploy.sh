#!/usr/bin/env bash
# The specification's way to deploy from a laptop: scripts/deploy.sh [all|mgmt|ui|agent] [options].
# All of it is `ocmt deploy`; the servers are in ocmt.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-all}" in
  -*)
    what=all
    set -- all "$@"
    ;;
  mgmt | management) what=mgmt ;;
  ui | user-ui) what=ui ;;
  agent | all) what=${1:-all} ;;
  *)
    echo "Usage: $0 [all|mgmt|ui|agent] [options of ocmt deploy]" >&2
    exit 2
    ;;
esac
exec ./ocmt deploy "$what" "${@:2}"
