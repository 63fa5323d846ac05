"""`python -m autoresearch_jax.trial`: the same as `autoresearch trial`."""

import importlib
import sys

if __name__ == '__main__':
  sys.exit(importlib.import_module('autoresearch_jax.__main__').main(['trial', *sys.argv[1:]]))
