"""`python -m autoresearch_jax.main --config=NAME`: the same as `autoresearch run`."""

import sys

from autoresearch_jax.cli.run import main

if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
