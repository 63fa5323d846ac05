"""`python -m autoresearch_jax.repair`: the same as `autoresearch repair`."""

import importlib
import sys

if __name__ == '__main__':
  sys.exit(importlib.import_module('autoresearch_jax.__main__').main(['repair', *sys.argv[1:]]))
