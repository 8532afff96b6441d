#!/usr/bin/env bash
# Runs experiments/grid_heads.toml from data to report; extra words go to every command, e.g. --preset quick.
set -euo pipefail
config=("--config" "$(dirname "$0")/grid_heads.toml" "$@")
layerscout collect "${config[@]}"
store=$(layerscout extract "${config[@]}" --json | python -c 'import json, sys; print(json.load(sys.stdin)["store"])')
layerscout probe "$store" "${config[@]}"
layerscout train "${config[@]}"
layerscout report outputs/grid_heads
