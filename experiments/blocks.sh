#!/usr/bin/env bash
# Every block against its return on three tasks, from data to the study page; extra words go to every command, e.g. --preset quick; TASKS names some of them.
set -euo pipefail
here=$(dirname "$0")
read -ra tasks <<< "${TASKS:-intercept grid obstacles}"
for task in "${tasks[@]}"; do
  config=("--config" "$here/blocks_$task.toml" "$@")
  layerscout collect "${config[@]}"
  store=$(layerscout extract tiny "${config[@]}" --json | python -c 'import json, sys; print(json.load(sys.stdin)["store"])')
  twin=$(layerscout extract tiny-untrained "${config[@]}" --json | python -c 'import json, sys; print(json.load(sys.stdin)["store"])')
  layerscout probe "$store" --twin "$twin" "${config[@]}"
  layerscout train "${config[@]}"
  layerscout report "outputs/blocks/$task"
done
layerscout report "${tasks[@]/#/outputs/blocks/}" --out outputs/blocks/study
