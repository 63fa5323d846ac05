"""Runs pytest as Bazel's test protocol asks: one process, --test_filter, and a JUnit report."""

import os
import sys

import pytest


def main() -> int:
  # Commands that tests start find the package and its dependencies where this process does.
  os.environ['PYTHONPATH'] = os.pathsep.join(entry for entry in sys.path if entry)
  options = ['-n', '0', '-p', 'no:cacheprovider']
  if report := os.environ.get('XML_OUTPUT_FILE'):
    options.append(f'--junitxml={report}')
  if expression := os.environ.get('TESTBRIDGE_TEST_ONLY'):
    options += ['-k', expression]
  return pytest.main([*options, *sys.argv[1:]])


if __name__ == '__main__':
  sys.exit(main())
