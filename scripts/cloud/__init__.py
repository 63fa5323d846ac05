"""Runs nights on Cloud TPU VMs; the command is `scripts/tpu.py`.

Standard library only and Python 3.10 or later, so that a laptop needs nothing but `gcloud`.

- `machine_types`: the kinds of VMs, by Google's documentation, with their list prices.
- `gcloud`: calls of the gcloud command, and the sentences for their failures.
- `backends`: Google's two interfaces for TPU VMs.
- `night`: the loop that creates, watches, replaces and deletes VMs, and its record.
- `vm/`: what runs on a VM: shell scripts and a systemd unit.
- `requirements_*.txt`: the pinned packages of a VM. To renew them:
  uv pip compile pyproject.toml --extra tpu --extra gcs --extra s3 --python-version 3.12
  --python-platform x86_64-manylinux_2_31 --no-annotate --no-header --no-emit-index-url --upgrade
  -o scripts/cloud/requirements_tpu.txt
"""
