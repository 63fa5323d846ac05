"""`python -m autoresearch_jax.problems.simulated.recorded`: the same as `autoresearch table`."""

import importlib
import sys

if __name__ == '__main__':
  sys.exit(importlib.import_module('autoresearch_jax.cli.table').main(sys.argv[1:]))
