"""`autoresearch doctor`: checks whether this machine is ready for a run, and says what to do."""

import sys
from collections.abc import Sequence

from autoresearch_jax.cli import machine_checks
from autoresearch_jax.cli.command import Command, CommandLine, Option

COMMAND = Command(
  'doctor',
  'Check whether this machine is ready for a run, and say what to do.',
  """
  Checks Python, packages, kernel, sandbox, user, TPU chips and GPUs, huge pages, libtpu's lock,
  hosts of the TPU slice, disk, bucket, network and clock, one per line. A line begins with "ok",
  with "note" (works, but read this), or with "FIX", and then says what to do. Nothing is changed,
  and JAX is not started, which would take the chips from a run.

  Where the package cannot be installed yet, run the checks as a plain file, with any Python from
  3.8 on: python3 autoresearch_jax/cli/machine_checks.py
  """,
  options=(
    Option('bucket', 'URL of the mirror of a run, such as gs://my-bucket, to check it too.'),
    Option('workdir', 'Folder of the run, for the space on its disk.', '.'),
  ),
  examples={
    'autoresearch doctor': 'Checks this machine.',
    'autoresearch doctor --bucket=gs://my-bucket': 'Also whether the bucket can be written to.',
  },
  exit_codes={'0': 'Ready.', '1': 'Something must be fixed.', '2': 'Invalid input.'},
)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_check, arguments)


def _check(line: CommandLine) -> int:
  found = machine_checks.checks(
    machine_checks.Machine(), line['bucket'] or '', line['workdir'] or '.'
  )
  return machine_checks.report(found)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
