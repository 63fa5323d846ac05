"""`python -m autoresearch_jax.main --config=NAME`: the same as `autoresearch run`."""

import sys
from collections.abc import Sequence

from autoresearch_jax.cli import process


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return process.run_module('autoresearch_jax.cli.run', arguments)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
