"""`autoresearch share`: adds the findings of a run, or of a store, to a store."""

import collections
import pathlib
import sys
from collections.abc import Iterator, Sequence

from autoresearch_jax.cli.command import FAILED, Command, CommandLine, Option, UsageError
from autoresearch_jax.findings import stores
from autoresearch_jax.findings.encoding import shown
from autoresearch_jax.findings.finding import FindingError
from autoresearch_jax.findings.run_store import RunStore
from autoresearch_jax.findings.signing import KEY_VARIABLE, Key
from autoresearch_jax.findings.store import FindingStore, Package
from autoresearch_jax.messages import one_line, say

MAX_SHOWN = 10  # refusals
COMMAND = Command(
  'share',
  'Share what the edits of a run did, as signed findings, in a store.',
  """
  A finding has both programs, the gain with its standard error and all runs, the setting, and the
  hypothesis; failures are findings, too. Others see the texts of your programs. Paths of this
  machine are left out, and so are data, parameters and the config.

  A store is a folder, a git repository, a bucket or a hub; docs/findings.md describes addresses and
  the format. Sharing again adds what is new. SOURCE may also be a store: its findings are then
  added to the other one.
  """,
  (
    Option('to', 'The store.', value='STORE'),
    Option('key', f'Private Ed25519 key that signs, for instance of SSH; also {KEY_VARIABLE}.',
           value='FILE', shown='a key of your own, made at first use'),
    Option('artifacts', 'Add the traced programs that are still in the folder of the run; they can '
           'be trained without their Python.', False),
    Option('dry_run', 'Say what would be shared, and share nothing.', False),
  ),
  operand='SOURCE',
  examples={
    'autoresearch share runs/digits_steps --to=findings': 'Into a folder, such as a shared disk.',
    'autoresearch share findings --to=other': 'Merges a store into another one.',
  },
  exit_codes={
    '0': 'Done.',
    '1': 'Some were refused; standard error says why.',
    '2': 'The source or the store cannot be used.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_share, arguments, (FindingError, OSError))


def _share(line: CommandLine) -> int:
  if not (line['to'] or line['dry_run']):
    raise UsageError('Name the store: --to=STORE.')
  with stores.existing(line.operand) as source:
    if line['dry_run']:
      return _list(source)
    with stores.opened(line['to']) as store:
      return _add(source, store, line)


def _list(source: FindingStore) -> int:
  """Prints what would be shared."""
  counts = collections.Counter[str]()
  for package in source.packages():
    finding = package.finding
    counts[finding.status] += 1
    say(f'{finding.status:<10}{shown(one_line(finding.description, 80))}')
  say(f'{sum(counts.values())} findings ({_listed(counts)}).')
  return 0


def _add(source: FindingStore, store: FindingStore, line: CommandLine) -> int:
  """Adds the findings of a source to a store; returns the exit code."""
  counts = collections.Counter[str]()

  def packages() -> Iterator[Package]:
    if not isinstance(source, RunStore):
      found = source.packages()
    else:
      key = Key.load(pathlib.Path(line['key']) if line['key'] else None)
      own = source.with_artifacts() if line['artifacts'] else source.packages()
      found = (Package(key.sign(package.finding), package.blobs) for package in own)
    for package in found:
      counts[package.finding.status] += 1
      yield package

  added = store.add(packages())
  say(
    f'{added.new} new findings in {line["to"]}, {added.known} were there already '
    f'({_listed(counts)}).'
  )
  for reason in added.refused[:MAX_SHOWN]:
    say(f'Refused: {one_line(reason, 300)}', file=sys.stderr)
  if len(added.refused) > MAX_SHOWN:
    say(f'{len(added.refused) - MAX_SHOWN} more were refused.', file=sys.stderr)
  return FAILED if added.refused else 0


def _listed(counts: collections.Counter[str]) -> str:
  return ', '.join(f'{n} {name.replace("_", " ")}' for name, n in sorted(counts.items())) or 'none'


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
