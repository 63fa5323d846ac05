#!/bin/bash
# The main process of a VM's service: fetches or prepares the data, then runs the search.
# Environment: DATA_URL, a folder of the bucket for the prepared data; HOST_INDEX, 0 on the VM that
# prepares them. The arguments of `autoresearch run` stand in autoresearch.args, one a line.
set -euo pipefail

readonly CACHE="${AUTORESEARCH_JAX_CACHE:-$HOME/.cache/autoresearch_jax}"
readonly WAIT_SECONDS=30
readonly MAX_WAITS=240
mapfile -t arguments < "$HOME/autoresearch.args"

ready() {
  gcloud storage ls "$DATA_URL/READY" > /dev/null 2>&1
}

mkdir -p "$CACHE"
if [[ $HOST_INDEX == 0 ]] && ! ready; then
  .venv/bin/python scripts/cloud/vm/prepare_data.py "${arguments[0]}"
  gcloud storage rsync --recursive --exclude='^xla/.*|.*\.lock$' "$CACHE" "$DATA_URL/cache"
  date | gcloud storage cp - "$DATA_URL/READY"
else
  for ((i = 0; i < MAX_WAITS; i++)); do
    if ready; then
      break
    fi
    sleep "$WAIT_SECONDS" # the first VM prepares the data
  done
  gcloud storage rsync --recursive "$DATA_URL/cache" "$CACHE"
fi
exec .venv/bin/autoresearch run "${arguments[@]}"
