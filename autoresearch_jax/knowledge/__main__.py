"""`python -m autoresearch_jax.knowledge`: the same as `autoresearch knowledge`."""

import importlib
import sys

if __name__ == '__main__':
  sys.exit(importlib.import_module('autoresearch_jax.__main__').main(['knowledge', *sys.argv[1:]]))
