#!/bin/bash
# Gets the data, then runs the search; the main process of a VM. Environment: DATA_URL, a folder of
# the bucket for prepared data; HOST_INDEX, 0 on the machine that prepares them. The arguments of
# `autoresearch run` stand in ~/autoresearch.args, one a line, --config first.
set -euo pipefail

mapfile -t arguments < "$HOME/autoresearch.args"
.venv/bin/python scripts/cloud/vm/prepare_data.py "${arguments[0]}" "$DATA_URL" "$HOST_INDEX"
exec .venv/bin/autoresearch run "${arguments[@]}"
