"""`python -m autoresearch_jax.problems.start`: the same as `autoresearch start`."""

import importlib
import sys

if __name__ == '__main__':
  sys.exit(importlib.import_module('autoresearch_jax.cli.start').main(sys.argv[1:]))
