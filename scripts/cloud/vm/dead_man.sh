#!/bin/bash
# The dead man's switch of a VM: deletes it at its deadline, and half an hour after its run has
# ended or was never started. Installed as the VM's startup script, so that it works even if the
# laptop that asked for the VM is gone before the VM exists.
set -euo pipefail

readonly INSTALLED=/usr/local/sbin/autoresearch-dead-man
readonly GRACE_SECONDS=1800

attribute() {
  curl --silent --fail --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/autoresearch-$1"
}

# Seconds since the run was last seen; 0 while it runs.
idle_seconds() {
  if systemctl --quiet is-active autoresearch.service; then
    echo 0
    return
  fi
  local ended
  ended=$(systemctl show autoresearch.service --property=InactiveEnterTimestampMonotonic --value)
  awk -v ended="${ended:-0}" '{ printf "%d\n", $1 - ended / 1000000 }' /proc/uptime
}

delete_vm() {
  local name zone
  name=$(attribute name)
  zone=$(attribute zone)
  if [[ $(attribute backend) == instances ]]; then
    gcloud compute instances delete "$name" --zone="$zone" --quiet
  else
    gcloud compute tpus queued-resources delete "$name" --zone="$zone" --force --quiet
  fi
}

watch_run() {
  local deadline
  deadline=$(attribute deadline)
  while [[ $(date +%s) -lt $deadline && $(idle_seconds) -lt $GRACE_SECONDS ]]; do
    sleep 60
  done
  systemctl stop autoresearch.service || true # ends the run in good order
  delete_vm || shutdown -h now
}

if [[ ${1:-} == watch ]]; then
  watch_run
else
  install -m 755 "$0" "$INSTALLED"
  systemd-run --unit=autoresearch-dead-man --property=Restart=on-failure "$INSTALLED" watch
fi
