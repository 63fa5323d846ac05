"""`autoresearch learn`: lists what others have found."""

import pathlib
import sys
import time
from collections.abc import Sequence

import msgspec

from autoresearch_jax.cli.command import Command, CommandLine, Option, UsageError
from autoresearch_jax.findings import stores
from autoresearch_jax.findings.encoding import as_json, shown
from autoresearch_jax.findings.finding import Finding, FindingError, FindingSetting
from autoresearch_jax.findings.selection import SORTS, Selection, by_setting
from autoresearch_jax.messages import one_line, say

SCHEMA = 1  # of the JSON
MAX_REFUSALS = 5  # shown
COMMAND = Command(
  'learn',
  'List what edits did elsewhere: the findings of a store, or of runs.',
  """
  Prints the findings by setting, since gains compare in one setting only. A finding is what its
  source claims: the signature says who claims it, not that it is true. Programs and texts of others
  are shown and never executed by this command.

  STORE is a folder, a git repository, a bucket, a hub, or the folder of a run; docs/findings.md
  lists all. Findings that nobody has signed are marked.
  """,
  (
    Option('problem', 'Only of this problem.', ''),
    Option('metric', 'Only of this metric.', ''),
    Option('status', 'Only with this status.', '', choices=('', 'gain', 'no_gain', 'undecided',
           'failed')),
    Option('source', 'Only of the source whose name begins so.', '', value='KEY'),
    Option('device', "Only of devices with this in their name.", '', value='NAME'),
    Option('text', 'Only with this in the description, the claim or the tags.', '', value='WORDS'),
    Option('sort', 'What comes first.', 'gain', choices=SORTS),
    Option('limit', 'How many to print of each setting; 0 for all.', 20, minimum=0, value='N'),
    Option('show', 'Print the finding whose id begins so, with its patch.', '', value='ID'),
    Option('into', 'With --show: write the edited program into this new folder, for `autoresearch '
           'trial`, which runs it in the sandbox.', '', value='FOLDER'),
    Option('json', 'Print JSON instead.', False),
  ),
  operand='STORE',
  examples={
    'autoresearch learn findings --problem=digits --status=gain': 'What helped elsewhere.',
    'autoresearch learn findings --show=3f2a': 'One finding, with the edit.',
    'autoresearch learn findings --show=3f2a --into=other': 'Its program, to train it here.',
    'autoresearch learn runs/digits_steps': 'What sharing that run would tell others.',
  },
  exit_codes={'0': 'Done.', '2': 'The store cannot be read, or has no such finding.'},
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_learn, arguments, (FindingError, OSError))


def _learn(line: CommandLine) -> int:
  if line['into'] and not line['show']:
    raise UsageError('Name the finding whose program is written: --show=ID.')
  refused: list[str] = []
  names = ('problem', 'metric', 'status', 'source', 'device', 'text')
  wanted = Selection(**{name: line[name] for name in names})
  found = wanted.of(stores.read(line.operand, refused.append))
  for reason in refused[:MAX_REFUSALS]:
    say(f'Left out: {one_line(reason, 300)}', file=sys.stderr)
  if len(refused) > MAX_REFUSALS:
    say(f'{len(refused) - MAX_REFUSALS} more files were left out.', file=sys.stderr)
  if line['show']:
    _show([finding for finding in found if finding.id.startswith(line['show'])], line)
    return 0
  limit = line['limit'] or sys.maxsize
  groups = by_setting(found, line['sort'])
  if line['json']:
    kept = [as_json(finding) for _, group in groups for finding in group[:limit]]
    data = {'schema': SCHEMA, 'total': len(found), 'findings': kept}
    print(shown(msgspec.json.encode(data).decode()))
    return 0
  for setting, group in groups:
    say(f'{describe(setting)}: {len(group)} {"finding" if len(group) == 1 else "findings"}')
    for finding in group[:limit]:
      say(f'  {row(finding)}')
    if len(group) > limit:
      say(f'  ... and {len(group) - limit} more; --limit=0 shows all.')
  if not groups:
    say('No finding of this kind.')
  return 0


def _show(found: list[Finding], line: CommandLine) -> None:
  if len(found) != 1:
    raise UsageError(
      f'{len(found)} findings have an id that begins with {line["show"]!r}; give more of it.'
    )
  (finding,) = found
  if line['into']:
    _write(finding, line.operand, pathlib.Path(line['into']))
  if line['json']:
    print(shown(msgspec.json.encode(as_json(finding)).decode()))
    return
  when = time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(finding.created))
  say(f'{finding.id}\n{describe(finding.setting)}\n{row(finding)}')
  say(f'source    {shown(finding.source)}, {when}')
  for side, program in (('parent', finding.parent), ('child', finding.child)):
    values = ' '.join(f'{value:.6g}' for _, value in program.values[:12])
    say(f'{side:<10}{program.digest[:12]}, {program.runs} runs: {values or "none"}')
  say(f'claim     {shown(finding.hypothesis.claim)}')
  say(f'tags      {shown(", ".join(finding.hypothesis.mechanisms))}')
  say(f'verdict   {shown(finding.reason)}')
  for text in finding.patch.split('\n'):
    say(f'  {shown(text)}')


def _write(finding: Finding, address: str, folder: pathlib.Path) -> None:
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise UsageError(f'{folder} exists and is not empty; give --into another folder.')
  _, child = stores.read_programs(address, finding)
  child.write(folder)


def describe(setting: FindingSetting) -> str:
  """Returns a setting in one line."""
  budget = f'{setting.budget.amount:g} {setting.budget.unit}'
  where = f'{setting.num_devices} x {setting.device}' if setting.device else setting.platform
  return shown(f'{setting.problem}, {setting.metric} ({setting.direction}), {budget}, {where}')


def row(finding: Finding) -> str:
  """Returns a finding in one line."""
  gain = finding.failure or 'unknown'
  if finding.gain is not None:
    error = finding.standard_error
    gain = f'{finding.gain:+.4g}' + ('' if error is None else f' ± {error:.2g}')
  runs = f'{finding.runs} run{"" if finding.runs == 1 else "s"}'
  source = finding.source.partition(':')[2][:8] if finding.is_signed else finding.source
  return (
    f'{finding.id[:8]}  {finding.status:<9}  {shown(gain):<20}  {runs:<8}'
    f'{shown(source):<8}  {shown(one_line(finding.description, 70))}'
  )


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
