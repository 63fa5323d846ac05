"""Prepares the data of a config without training: python prepare_data.py --config=NAME."""

import sys

from autoresearch_jax import config as configs
from autoresearch_jax.research.build import build_task

if __name__ == '__main__':
  config = configs.from_config_dict(configs.load(sys.argv[1].removeprefix('--config=')))
  build_task(config).prepare_data(print)
