"""`python -m autoresearch_jax.report`: the same as `autoresearch report`."""

import importlib
import sys

if __name__ == '__main__':
  sys.exit(importlib.import_module('autoresearch_jax.__main__').main(['report', *sys.argv[1:]]))
