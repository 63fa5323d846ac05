"""Ledgers of earlier versions open, report and resume as their own version would have done."""

import dataclasses
import gzip
import hashlib
import json
import pathlib
import re
import shutil
import sqlite3

import pytest
from helpers import synthetic_run
from helpers.synthetic_run import Blind

from autoresearch_jax import config as configs
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.cli.report import report
from autoresearch_jax.config import ConfigError, from_config_dict
from autoresearch_jax.executors import Executor
from autoresearch_jax.ledger import schema_1
from autoresearch_jax.ledger.events import Edited, FinalScored, LedgerError, Proposed, Started
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.repair import repair
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.ledger.upgrade import SCHEMA_VERSION, upgrade, upgrade_config
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.research.build import build
from autoresearch_jax.research.loop import ResearchLoop
from autoresearch_jax.research.session import begin, with_former_defaults
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.types import Cost, Measurement, Result, Status, from_builtins

DATA = pathlib.Path(__file__).parent / 'data'
LEDGERS = ('digits', 'speculative_shinka')
REGISTRIES = {
  'strategy': STRATEGIES, 'acceptance': ACCEPTANCE, 'proposer': PROPOSERS, 'problem': PROBLEMS,
}  # fmt: skip
# The commands of the two runs, with the present names.
OVERRIDES = {
  'digits': {'budget.amount': 30.0},
  'speculative_shinka': {
    'name': 'speculative_shinka',
    'seed': 7,
    'budget.amount': 60.0,
    'search.strategy': 'speculative',
    'search.options': {
      'inner': 'shinka',
      'inner_options': {
        'num_islands': 2, 'archive_size': 12, 'full_patch_prob': 0.2, 'cross_patch_prob': 0.2,
        'code_embed_sim_threshold': 0.98, 'migration_interval': 5, 'migration_rate': 0.2,
        'num_top_k_inspirations': 3, 'num_archive_inspirations': 2, 'meta_max_recommendations': 2,
      },
    },
    'proposer_options': {
      'structural_share': 0.3, 'coupled_share': 0.2, 'min_factor': 1.2, 'max_factor': 4.0,
      'learn': True, 'question_weight': 2.0, 'max_tries': 100,
    },
    'acceptance': 'sequential',
    'acceptance_options': {
      'alpha': 0.2, 'horizon': 60, 'baseline_seeds': 4, 'looks': [1, 2, 4],
      'spending_function': 'pocock',
      'min_gain': 0.5,
    },
    'knowledge.duplicate_tolerance': 0.05,
    'knowledge.planner': True,
    'limits.compile_seconds': 250.0,
  },
}  # fmt: skip


@pytest.fixture(params=LEDGERS)
def name(request):
  return request.param


@pytest.fixture
def workdir(name, tmp_path):
  """The folder of a run of schema 1."""
  workdir = tmp_path / 'run'
  workdir.mkdir()
  (workdir / 'ledger.db').write_bytes(gzip.decompress((DATA / name / 'ledger.db.gz').read_bytes()))
  shutil.copy(DATA / name / 'ledger.head', workdir)
  return workdir


def recorded_configs():
  return json.loads(gzip.decompress((DATA / 'configs.json.gz').read_bytes()))


def config(name, max_trials):
  overrides = {**OVERRIDES[name], 'search.max_trials': max_trials}
  return from_config_dict(configs.load('digits'), overrides)


def records(workdir):
  with Ledger.read(workdir / 'ledger.db') as ledger:
    return list(ledger.records())


def rows(workdir):
  connection = sqlite3.connect(workdir / 'ledger.db')
  try:
    return connection.execute('SELECT * FROM events ORDER BY "index"').fetchall()
  finally:
    connection.close()


def schema(workdir):
  connection = sqlite3.connect(workdir / 'ledger.db')
  try:
    return connection.execute('PRAGMA user_version').fetchone()[0]
  finally:
    connection.close()


def numbers(text):
  return re.findall(r'\d+(?:\.\d+)?', text)


def test_every_event_has_its_present_names(workdir):
  found = records(workdir)
  assert schema(workdir) == 1  # reading changes nothing
  history = History.of(found)
  assert history.config.pruning is True
  assert history.config.data['test_examples'] == 225
  scored = [record.event for record in found if isinstance(record.event, FinalScored)]
  assert scored and all('test_loss' in event.result.measurements[0].metrics for event in scored)
  assert any(isinstance(r.event, Edited) and r.event.prefetched for r in found)


def test_results_and_report_are_those_of_then(workdir, name):
  with Workspace.open(workdir) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    workspace.reconcile(History.of(ledger.records()))
  assert (workdir / 'results.tsv').read_text() == (DATA / name / 'results.tsv').read_text()
  said = report(workdir).replace(str(workdir), 'WORKDIR')
  # Reports had none of these then.
  said = re.sub(r'Near misses.*?(?=Plot:)', '', said, flags=re.DOTALL)
  said = re.sub(r'Also measured: .*\n', '', said)
  assert numbers(said) == numbers((DATA / name / 'report.txt').read_text())
  assert 'test_loss' in said


class Canned(Executor):
  """Returns the same measurement for every trial."""

  def __init__(self):
    self.queue = []

  def submit(self, request):
    self.queue.append(request)

  def wait(self, timeout):
    del timeout
    done, self.queue = self.queue[:1], self.queue[1:]
    return [
      Result(r.trial, Status.OK, '', str(r.trial), measurements=tuple(
        Measurement(seed, {'val_loss': 2.0}, Cost()) for seed in r.seeds))
      for r in done
    ]  # fmt: skip


def resume(workdir, made):
  """Goes on with the run until the config ends it."""
  with Workspace.open(workdir) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    run = build(with_former_defaults(workspace.ledger_path, made))
    started = History.of(ledger.records()).started
    ResearchLoop(
      controller=begin(ledger, run, started.dataset),
      ledger=ledger,
      workspace=workspace,
      proposer=run.proposer,
      executor=Canned(),
      view=Blind(),
      stop=lambda: '',
    ).run()


def test_the_same_command_with_the_present_names_resumes_with_the_same_decisions(workdir, name):
  before, old_rows = records(workdir), rows(workdir)
  trials = len(History.of(before).trials)
  resume(workdir, config(name, trials + 2))
  after = records(workdir)
  assert after[: len(before)] == before and rows(workdir)[: len(before)] == old_rows
  made = [record.event for record in after[len(before) :]]
  expected = json.loads((DATA / name / 'resumed.json').read_text())
  appended = [event for event in made if isinstance(event, Proposed | Edited)][: len(expected)]
  for event, (kind, trial, values) in zip(appended, expected, strict=True):
    assert (type(event).__name__.lower(), event.trial) == (kind, trial)
    if isinstance(event, Proposed):
      proposal = event.proposal
      found = (proposal.operation, [*proposal.parents], [*proposal.seeds], proposal.fidelity)
      assert found == tuple(values[k] for k in ('operation', 'parents', 'seeds', 'fidelity'))
    else:
      files = [
        [name, hashlib.sha256(text.encode()).hexdigest()[:16]]
        for name, text in event.edit.program.files
      ]
      assert (files, event.prefetched) == (values['program'], values['ahead'])


def test_a_resumed_ledger_holds_both_schemas_and_resumes_again(workdir, name):
  trials = len(History.of(records(workdir)).trials)
  for more in (1, 2):
    resume(workdir, config(name, trials + more))
    assert len(History.of(records(workdir)).trials) == trials + more
    assert schema(workdir) == SCHEMA_VERSION
  kinds = {row[1] for row in rows(workdir)}
  assert 'confirmed' in kinds  # nothing was rewritten
  assert '"ahead"' in ''.join(row[4] for row in rows(workdir) if row[1] == 'edited')
  assert '"prefetched"' in rows(workdir)[-8][4] + ''.join(row[4] for row in rows(workdir)[-12:])


def test_another_config_is_still_refused(workdir, name):
  made = dataclasses.replace(config(name, 99), seed=99)
  with pytest.raises(ConfigError, match=r'config\.seed is 99 and was'):
    resume(workdir, made)
  assert schema(workdir) == 1


def test_a_repair_writes_the_present_schema(workdir):
  before = records(workdir)
  connection = sqlite3.connect(workdir / 'ledger.db')
  connection.execute('DROP TRIGGER events_no_update')
  connection.execute('UPDATE events SET payload = payload || \' \' WHERE "index" = 40')
  connection.commit()
  connection.close()
  assert 'event 40' in repair(workdir)
  assert schema(workdir) == SCHEMA_VERSION
  assert records(workdir) == before[:40]


def test_a_later_schema_is_refused():
  with pytest.raises(LedgerError, match=f'schema {SCHEMA_VERSION + 1}'):
    upgrade('stopped', {'reason': 'x'}, SCHEMA_VERSION + 1)


def test_an_upgrade_leaves_its_argument_alone():
  payload = {'config': recorded_configs()['digits'], 'tag': 'x'}
  before = json.dumps(payload)
  kind, made = upgrade('started', payload, 1)
  assert (kind, json.dumps(payload)) == ('started', before) and made != payload


def known(kind, name, options, path):
  """Checks that a part has all of these options, with these types, those of inner parts too."""
  fields = {f.name for f in dataclasses.fields(REGISTRIES[kind].get(name))}
  assert set(options) <= fields, f'{path}: {set(options) - fields}'
  default = schema_1.WRAPPERS.get((kind, name))
  if default:
    known(kind, options.get('inner', default), options.get('inner_options', {}), path)
  for nested in schema_1.NESTED.get((kind, name), ()):
    known(kind, nested, options.get(nested, {}), path)


@pytest.mark.parametrize('label', recorded_configs())
def test_every_recorded_option_has_a_present_name(label):
  made = upgrade_config(recorded_configs()[label])
  config = from_builtins(made, configs.Config)
  assert configs.converted(made, configs.Config) == config  # no unknown field
  known('strategy', config.search.strategy, config.search.options, label)
  known('acceptance', config.acceptance, config.acceptance_options, label)
  known('proposer', config.proposer, config.proposer_options, label)
  known('problem', config.problem, config.data, label)
  STRATEGIES.make(config.search.strategy, config.search.options)
  ACCEPTANCE.make(config.acceptance, config.acceptance_options)


def test_former_names_in_a_config_are_refused_with_the_present_ones():
  for path, name in schema_1.FIELDS.items():
    present = '.'.join(['config', *path.split('.')[:-1], name])
    with pytest.raises(ConfigError, match=rf'{present}\b'):
      from_config_dict(configs.load('digits'), {path: 1})
  for kind, parts in schema_1.OPTIONS.items():
    for part, options in parts.items():
      fields = {field.name for field in dataclasses.fields(REGISTRIES[kind].get(part))}
      assert set(options.values()) <= fields and not set(options) & fields
      for former, present in options.items():
        with pytest.raises(ValueError, match=f"'{former}'.* is now called '{present}'"):
          REGISTRIES[kind].make(part, {former: 1})


def test_sessions_record_their_schema(tmp_path):
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    record = ledger.append(Started({}, 'tag'))
    assert list(ledger.records()) == [record]
  assert json.loads(rows(tmp_path)[0][4])['schema'] == SCHEMA_VERSION


def test_options_that_shipped_configs_got_later_do_not_stop_an_older_run(tmp_path):
  synthetic_run.run(tmp_path, 2)
  for options, resumed in [({'min_gain': 1.0}, {}), ({'min_gain': 1.5}, {'min_gain': 1.5})]:
    made = synthetic_run.config(acceptance_options=options)
    assert with_former_defaults(tmp_path / 'ledger.db', made).acceptance_options == resumed
