"""Other devices: refused, or the baseline and the best program are measured anew."""

import dataclasses
import os
import secrets
import shutil

import pytest
from helpers import cloud
from helpers.command import finish
from helpers.synthetic_run import Arithmetic, Nudge, config, replay_records, run

from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.config import ConfigError
from autoresearch_jax.ledger.events import Resumed, Started, Steered
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.mailbox import post
from autoresearch_jax.ledger.requests import reviewed
from autoresearch_jax.ledger.store import Ledger, read_history, read_records
from autoresearch_jax.mirror import open_mirror
from autoresearch_jax.research import hardware
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.types import Budget, Ends, Hardware, Operation, SteeringRequest, Verb

V5E = Hardware('TPU v5 lite', 8, {'libtpu': '0.0.42'})
V6E = Hardware('TPU v6 lite', 8, {'libtpu': '0.0.42'})
TPU = config(platform='tpu')


def started():
  return Started(dataclasses.asdict(config()), 'synthetic', 'digest of data', {}, V6E)


def rebased(directory):
  with Workspace.open(directory) as workspace:
    return hardware.rebase(workspace, started())


def test_kind_and_number_decide_and_versions_are_only_said():
  assert hardware.difference(V5E, dataclasses.replace(V5E, versions={}), TPU) == ''
  assert '8 x TPU v5' in (found := hardware.difference(V5E, V6E, TPU)) and 'TPU v6' in found
  assert hardware.difference(V5E, dataclasses.replace(V5E, devices=4), TPU)
  for unknown in ((None, V5E), (V5E, None)):
    assert hardware.difference(*unknown, TPU) == ''
  (change,) = hardware.changed_versions(V5E, dataclasses.replace(V5E, versions={'libtpu': '0.1'}))
  assert '0.1' in change and '0.0.42' in change


def test_on_a_cpu_its_model_matters_to_seconds_only():
  one, other = Hardware('Xeon', 2), Hardware('EPYC', 2)
  assert hardware.difference(one, other, config()) == ''
  assert hardware.difference(one, other, config(budget=Budget(1.0, 'seconds')))


def test_other_hardware_is_refused_unless_the_config_says_otherwise(tmp_path):
  with pytest.raises(ConfigError, match='on_new_hardware'):
    hardware.require_comparable(tmp_path, hardware.difference(V5E, V6E, TPU), TPU)
  rebasing = dataclasses.replace(TPU, on_new_hardware='rebase')
  hardware.require_comparable(tmp_path, hardware.difference(V5E, V6E, rebasing), rebasing)


def test_a_rebased_run_measures_baseline_and_best_anew_and_keeps_the_old_ledger(tmp_path):
  before = run(tmp_path, 12).history
  assert len(before.kept) > 1
  best = before.edits[before.original(before.kept[-1])]
  aside = rebased(tmp_path)
  with Ledger.read(aside / 'ledger.db') as ledger:
    assert len(History.of(ledger.records()).trials) == 12
  assert not read_history(tmp_path).trials and read_history(tmp_path).hardware == V6E
  executor = Arithmetic()
  after = run(tmp_path, 6, executor=executor).history
  assert after.edits[0].program == before.edits[0].program
  assert after.edits[1] == best and after.proposals[1].operation is Operation.IMPROVE
  assert [request.trial for request in executor.submitted][:2] == [0, 1]
  assert len(run(tmp_path, 9).history.trials) == 9  # and is resumed as any run


class Noting(Nudge):
  """A proposer that reads words, and notes what it was shown."""

  reads_text = True

  def __init__(self):
    self.seen = []

  def propose(self, proposal, context, rng):
    self.seen.append((context.hints, context.idea, context.protected))
    return super().propose(proposal, context, rng)


def test_what_users_have_asked_for_still_applies_after_it(tmp_path):
  before = run(tmp_path, 12, proposer=Noting()).history
  line = before.incumbent.edit.program.text().splitlines()[0]
  patch = f'--- a/model.py\n+++ b/model.py\n@@ -1 +1 @@\n-{line}\n+X = 0.125\n'
  asked = [
    ('hint', {'text': 'Gone.'}),
    ('hint', {'text': 'Go wide.'}),
    ('protect', {'text': 'Y'}),
    ('end', {'ends': Ends(max_trials=40, max_hours=8.0)}),
    ('end', {'ends': Ends(max_trials=7)}),
    ('try', {'patch': patch}),
    ('try', {'text': 'Halve X.'}),
    ('remeasure', {'trial': 0}),
    ('pause', {}),
  ]
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    for verb, fields in asked:
      if 'max_trials=7' not in str(fields):
        event = reviewed(before, request_of(verb, **fields))
      else:  # which is in the past here
        event = Steered(request_of(verb, **fields))
      before.apply(ledger.append(event))
    before.apply(ledger.append(Steered(request_of('withdraw', request=1))))
  rebased(tmp_path)
  history = read_history(tmp_path)
  assert [(t.request.verb, t.event.refused) for t in history.steering.taken.values()] == [
    (verb, '') for verb in ('hint', 'protect', 'end', 'end', 'try', 'try', 'pause')
  ]
  assert history.steering.ends == Ends(max_trials=7, max_hours=8.0)
  assert {t.request.author for t in history.steering.taken.values()} == {'ada@box'}
  post(tmp_path, 'resume')
  proposer = Noting()
  after = run(tmp_path, 40, proposer=proposer).history
  assert after.next_trial == 7 and 1 in after.trials
  tried = [t.trial for t in after.steering.taken.values() if t.request.verb == 'try']
  best = before.incumbent.edit.program.text()
  assert tried == [2, 3]
  assert after.edits[2].program.text() == best.replace(line, 'X = 0.125')
  assert after.proposals[2].parents == (1,) and after.edits[2].author == 'ada@box'
  assert (('Go wide.',), 'Halve X.', ('Y',)) in proposer.seen
  assert len({e.program.text().splitlines()[1] for n, e in after.edits.items() if n}) == 1
  replayed, _ = replay_records(read_records(tmp_path), Greedy(), Noise())
  assert replayed.steering == after.steering


def test_a_requested_program_is_tried_after_it(tmp_path):
  before = run(tmp_path, 12).history
  program = before.incumbent.edit.program.with_text('X = 0.125\nY = -2.0\n')
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    event = reviewed(before, request_of('try', text='An eighth.', program=program))
    assert event.edit is not None and event.request.program is None
    ledger.append(event)
  rebased(tmp_path)
  after = run(tmp_path, 4).history
  assert after.edits[2].program == program and after.edits[2].description == 'An eighth.'
  assert [taken.trial for taken in after.steering.taken.values()] == [2]


def request_of(verb, **fields):
  return SteeringRequest(secrets.token_hex(8), Verb(verb), 'ada@box', 1.7e9, **fields)


def test_a_run_whose_baseline_is_the_best_carries_nothing(tmp_path):
  run(tmp_path, 1)
  rebased(tmp_path)
  assert read_history(tmp_path).started.carried is None
  assert len(run(tmp_path, 3).history.trials) == 3


OWN = [
  n for n in STRATEGIES.names() if STRATEGIES.get(n).__module__.startswith('autoresearch_jax.')
]


@pytest.mark.parametrize('name', sorted(OWN))
def test_every_strategy_takes_the_best_program_of_the_earlier_hardware(tmp_path, name):
  run(tmp_path, 12)
  rebased(tmp_path)
  try:
    strategy = STRATEGIES.make(name, {})
  except ValueError:
    pytest.skip('It needs options.')
  made = run(tmp_path, 5, strategy=strategy, proposer=Nudge())
  if made.broken and 'constant' in str(made.history.trials):
    pytest.skip('It needs a program with constants.')
  assert not made.broken and 1 in made.history.trials


def test_what_models_have_cost_still_counts(tmp_path):
  history = run(tmp_path, 3).history
  rebased(tmp_path)
  assert read_history(tmp_path).spend == history.spend


def test_the_command_refuses_other_hardware_or_rebases_the_run(tmp_path):
  flags = ['--config.search.max_trials=4', '--config.budget.unit=seconds']

  def start(kind, *more):
    environment = {**os.environ, 'SYNTHETIC_HARDWARE': kind}
    return finish(*flags, *more, workdir=tmp_path / 'run', env=environment)

  for _ in range(2):
    code, _, err = start('Xeon')
    assert code == 0, err
  code, _, err = start('EPYC')
  assert code == 2 and 'Xeon' in err and 'EPYC' in err and 'on_new_hardware' in err
  with Ledger.read(tmp_path / 'run' / 'ledger.db') as ledger:
    sessions = [r.event for r in ledger.records() if isinstance(r.event, Started | Resumed)]
  assert [session.hardware.kind for session in sessions] == ['Xeon', 'Xeon']
  for _ in range(2):
    code, _, err = start('EPYC', '--config.on_new_hardware=rebase')
    assert code == 0, err
  history = read_history(tmp_path / 'run')
  assert history.hardware.kind == 'EPYC' and len(history.trials) == 4
  assert len(list((tmp_path / 'run').glob('rebased.*'))) == 1


def test_a_mirror_knows_a_rebased_ledger_as_the_same_run(tmp_path):
  cloud.register()
  url, one, two = cloud.url(tmp_path / 'bucket'), tmp_path / 'one', tmp_path / 'two'
  with open_mirror(url, one, lambda line: None):
    run(one, 4)
  shutil.copytree(one, two)
  rebased(one)
  run(one, 2)
  for _ in range(2):  # not in the bucket yet, and then there
    with open_mirror(url, one, lambda line: None):
      assert len(read_history(one).trials) == 2
  said = []
  with open_mirror(url, two, said.append):
    assert len(read_history(two).trials) == 2
  assert (two / 'diverged.1' / 'ledger.db').exists()
