"""What may change when a run is resumed, and that every sentence's advice is allowed."""

import dataclasses
import pathlib
import re

import pytest
from helpers import synthetic_run
from helpers.synthetic_run import run

import autoresearch_jax
from autoresearch_jax.config import Config, ConfigError, Limits, Search
from autoresearch_jax.ledger.events import Resumed
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.research.resumable import MAY_CHANGE, Change, changes
from autoresearch_jax.types import Spend

GEMINI = {
  'max_calls': 1, 'max_total_tokens': 2, 'max_dollars': 3.0, 'models': ('other',), 'attempts': 9,
  'base_url': 'http://127.0.0.1:1', 'timeout_seconds': 1.0, 'prices': (('other', 1.0, 2.0),),
}  # fmt: skip


@pytest.mark.parametrize(
  'changed',
  [
    {'proposer_options': GEMINI},
    {'proposer': 'agent', 'proposer_options': {'command': 'claude -p', 'max_dollars': 7.0}},
    {'proposer_options': {'gemini': {'max_calls': 5}}},
    {'search': Search(max_trials=4, prefetch=3)},
    {'limits': Limits(trace_seconds=90.0, constant_bytes=2**24, run_seconds=5.0, isolation='none')},
    {'executor_options': {'compile_ahead': True}, 'final_seeds': 3},
  ],
)
def test_what_earlier_trials_do_not_depend_on_may_change(tmp_path, monkeypatch, changed):
  run(tmp_path, 2)
  original = synthetic_run.config
  monkeypatch.setattr(synthetic_run, 'config', lambda: original(**changed))
  assert run(tmp_path, 4).history.next_trial == 4


def test_a_change_is_recorded_once_and_holds_from_then_on(tmp_path):
  run(tmp_path, 2)
  for trials in (4, 4, 3):
    assert run(tmp_path, trials).history.config.search.max_trials == trials
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    found = [r.event for r in ledger.records() if isinstance(r.event, Resumed)]
  limits = [e.config and e.config['search']['max_trials'] for e in found]
  assert limits == [4, None, 3]


@pytest.mark.parametrize(
  'changed',
  [
    {'seed': 5}, {'metric': 'val_bpb'}, {'acceptance_options': {'level': 0.5}},
    {'executor_options': {'slots': 2}}, {'limits': Limits(max_loss=5.0)},
    {'limits': Limits(device_bytes=5)}, {'data': {'corpus': 'python'}}, {'constants': {'X': 1}},
    {'search': Search(strategy='tpe')}, {'search': Search(options={'elite': 2})},
  ],
)  # fmt: skip
def test_what_decides_the_meaning_of_trials_may_not(tmp_path, monkeypatch, changed):
  run(tmp_path, 2)
  original = synthetic_run.config
  monkeypatch.setattr(synthetic_run, 'config', lambda: original(**changed))
  with pytest.raises(ConfigError, match=r'another config.* may change.*max_trials'):
    run(tmp_path, 4)


def test_every_pattern_fits_a_field():
  fields = {f'config.{f.name}' for f in dataclasses.fields(Config)}
  for part, kind in (('search', Search), ('limits', Limits)):
    fields |= {f'config.{part}.{f.name}' for f in dataclasses.fields(kind)}
  options = ('data', 'proposer_options', 'executor_options')
  for pattern in MAY_CHANGE:
    found = [path for path in fields if Change(path, 0, 1).allowed]
    assert pattern.split('.')[1] in options or any(
      re.fullmatch(pattern.replace('*', '.*'), path) for path in found
    )


def test_what_sentences_advise_to_raise_may_be_raised():
  spent, cost = Spend(10, 10, 10, 10.0), Spend(1, 1, 1, 1.0)
  for limits in (SpendLimits(max_calls=1), SpendLimits(0, 1), SpendLimits(0, 0, 1.0)):
    (name,) = re.findall(r'Raise (\w+) to continue', limits.refusal(spent, cost))
    assert Change(f'config.proposer_options.{name}', 1, 2).allowed
    assert Change(f'config.proposer_options.gemini.{name}', 1, 2).allowed
    assert name in {f.name for f in dataclasses.fields(PROPOSERS.get('gemini'))}
  folder = pathlib.Path(autoresearch_jax.__file__).parent
  for part in ('tracer', 'artifact', 'runner', 'executors'):
    for file in (folder / part).glob('*.py'):
      for name in re.findall(r'limits\.(\w+)[ )]*(?:allows|=|,|\))', file.read_text()):
        known = {f.name for f in dataclasses.fields(Limits)} - {'device_bytes', 'max_loss'}
        assert name not in known or Change(f'config.limits.{name}', 1, 2).allowed


def test_nothing_differs_between_equal_configs():
  config = synthetic_run.config(proposer_options={'models': ('a', 'b')})
  same = synthetic_run.config(proposer_options={'models': ['a', 'b']})
  assert changes(config, same) == ()
