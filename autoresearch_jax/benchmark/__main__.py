"""`python -m autoresearch_jax.benchmark`: the same as `autoresearch benchmark`."""

import importlib
import sys

if __name__ == '__main__':
  sys.exit(importlib.import_module('autoresearch_jax.__main__').main(['benchmark', *sys.argv[1:]]))
