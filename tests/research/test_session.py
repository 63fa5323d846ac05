"""A run goes on with its own config, also where the ledger is from before a field existed."""

import dataclasses

import pytest
from helpers import synthetic_run
from helpers.command import finish, history
from helpers.synthetic_command import PROGRAM
from helpers.synthetic_run import replay_records, run

from autoresearch_jax.config import Config, converted
from autoresearch_jax.ledger.events import Proposed, Started
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.research.resumable import changes
from autoresearch_jax.types import from_builtins, to_builtins


def differences(recorded, now):
  return '; '.join(str(change) for change in changes(recorded, now) if not change.allowed)


OLD = {
  name: value
  for name, value in to_builtins(synthetic_run.config()).items()
  if name not in ('knowledge', 'limits')
}
OLD['search'] = {'strategy': 'greedy', 'max_trials': 10}
PARTS = {'knowledge': {}, 'limits': {'isolation': 'full'}}  # as the command adds them


def test_fields_that_a_ledger_lacks_have_their_defaults():
  recorded = from_builtins(OLD, Config)
  now = {**OLD, **PARTS, 'editable': ('model.py',)}
  assert differences(recorded, converted(now, Config)) == ''
  named = converted({**now, 'executor_options': {'slots': 2}}, Config)
  slots = "config.executor_options.slots is 2 and was 'absent'"
  assert differences(recorded, named) == slots
  now['knowledge'] = {'duplicate_tolerance': 0.5}
  changed = differences(recorded, converted(now, Config))
  assert changed == 'config.knowledge.duplicate_tolerance is 0.5 and was 0.02'


def test_the_ledger_has_every_field_of_the_config(tmp_path, monkeypatch):
  """So that a default that changes between versions is noticed."""
  made = converted({**OLD, **PARTS, 'editable': ('model.py',)}, Config)
  monkeypatch.setattr(synthetic_run, 'config', lambda: made)
  run(tmp_path, 2)
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    started = next(r.event for r in ledger.records() if isinstance(r.event, Started))
  assert started.config['limits']['step_seconds'] == 60.0
  assert started.config['knowledge'] == {
    'memory': True,
    'planner': False,
    'duplicate_tolerance': 0.02,
  }
  assert run(tmp_path, 3).history.next_trial == 3


def test_events_from_before_a_field_existed_are_replayed(tmp_path):
  live = run(tmp_path, 6)
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    records = [older(record) for record in ledger.records()]
  assert replay_records(records, live.strategy, live.acceptance)[1] == live.states


def older(record):
  if not isinstance(record.event, Proposed):
    return record
  payload = to_builtins(record.event)
  assert payload['proposal'].pop('question') == ''
  return dataclasses.replace(record, event=from_builtins(payload, Proposed))


TUPLES = [
  "--config.constants.SHAPES=((1, 2.5), ('a', None))",
  "--config.editable=('model.py',)",
  '--config.constants.STEPS={0: 1e-3, 100: (1e-4,)}',
]


def test_the_same_command_resumes_where_values_are_tuples(tmp_path):
  program = tmp_path / 'program'
  program.mkdir()
  text = (PROGRAM / 'model.py').read_text()
  (program / 'model.py').write_text(f'{text}SHAPES = ()\nSTEPS = {{}}\nZ = 2\n')
  flags = [*TUPLES, f'--config.program={program}', '--config.acceptance=sequential',
           '--config.acceptance_options.looks=(1, 2, 4)',
           '--config.search.options.context_size=7']  # fmt: skip
  for trials in (2, 3):
    most = f'--config.search.max_trials={trials}'
    code, _, err = finish(*flags, most, workdir=tmp_path / 'run')
    assert code == 0, err
  assert len(history(tmp_path / 'run').trials) == 3
  code, _, err = finish(
    *flags, '--config.acceptance_options.looks=(1, 2)', workdir=tmp_path / 'run'
  )
  assert code == 2 and 'looks is [1, 2] and was [1, 2, 4]' in err


@pytest.mark.parametrize(
  'flag',
  [
    'limits.max_loss=inf', 'budget.amount=nan', 'seed=-1', 'platform=xpu',
    'constants.LEARNING_RATE=nan',
  ],
)  # fmt: skip
def test_a_value_that_does_not_fit_leaves_no_folder(tmp_path, flag):
  code, _, err = finish(f'--config.{flag}', workdir=tmp_path / 'run')
  assert code == 2 and flag.partition('=')[0] in err and 'Traceback' not in err
  assert not (tmp_path / 'run').exists()
