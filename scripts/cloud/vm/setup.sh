#!/bin/bash
# Installs a run on a VM and starts it. Expects autoresearch.tar.gz (the sources), autoresearch.env
# and autoresearch.args in the home folder. May run again.
#
#   bash setup.sh REQUIREMENTS    the name of a file beside the folder vm/
set -euo pipefail

readonly SOURCE="$HOME/autoresearch"
readonly UV_VERSION=0.13.9

# Kernel and drivers stay as they are: upgrades have broken the driver of TPU images.
echo always | sudo tee /sys/kernel/mm/transparent_hugepage/enabled > /dev/null
mkdir -p "$SOURCE"
tar --extract --gzip --file "$HOME/autoresearch.tar.gz" --directory "$SOURCE"
cd "$SOURCE"
export PATH="$HOME/.local/bin:$PATH"
if ! command -v uv > /dev/null; then
  curl --location --silent --show-error --fail "https://astral.sh/uv/$UV_VERSION/install.sh" | sh
fi
uv venv --quiet --clear --python 3.12
uv pip sync --quiet "scripts/cloud/$1"
uv pip install --quiet --no-deps --editable .
.venv/bin/autoresearch doctor || true # its lines stand in the log of the installation
chmod 600 "$HOME/autoresearch.env"
sed "s|@USER@|$USER|g; s|@HOME@|$HOME|g" scripts/cloud/vm/autoresearch.service |
  sudo tee /etc/systemd/system/autoresearch.service > /dev/null
sudo systemctl daemon-reload
sudo systemctl enable --now --quiet autoresearch.service # also after a reboot
