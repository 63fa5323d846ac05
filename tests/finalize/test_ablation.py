"""Edits that carry nothing are dropped, and what is left is measured against the best program."""

import dataclasses
import re
import subprocess

import numpy as np
import pytest
from helpers import synthetic_run

from autoresearch_jax.executors import Executor
from autoresearch_jax.finalize.ablation import Ablation, AblationFailed
from autoresearch_jax.finalize.commits import steps_of
from autoresearch_jax.finalize.lineage import CarriedEdit, carried_edits, without
from autoresearch_jax.finalize.patch_files import write_patches
from autoresearch_jax.knowledge.paired_gains import paired_gains
from autoresearch_jax.ledger.events import Edited, Finished, Proposed, Record, Started
from autoresearch_jax.ledger.history import History
from autoresearch_jax.types import (
  Budget,
  Cost,
  Edit,
  Hypothesis,
  Measurement,
  Operation,
  Program,
  Proposal,
  Result,
  Status,
  to_builtins,
)

LINES = ['A = 0', 'B = 0', 'C = 0']


def program(**values):
  lines = [f'{line[0]} = {values.get(line[0], 0)}' for line in LINES]
  return Program((('model.py', '\n\n'.join(lines) + '\n'),), 'model.py')


def edits(*steps):
  made, values = [], {}
  for number, step in enumerate(steps, 1):
    before = program(**values)
    values |= step
    made.append(CarriedEdit((number,), before, program(**values)))
  return tuple(made)


@dataclasses.dataclass
class Sum(Executor):
  """The loss is 5 - A - B - C, less for the test split; each seed has noise common to all."""

  weights: dict
  submitted: list = dataclasses.field(default_factory=list)
  crashes: int = 0

  def submit(self, request):
    self.submitted.append(request)
    self.queue = [*getattr(self, 'queue', []), request]

  def wait(self, timeout):
    requests, self.queue = self.queue, []
    return [self.result(request) for request in requests]

  def result(self, request):
    if self.crashes:
      self.crashes -= 1
      return Result(request.trial, Status.CRASH, 'Lightning struck.')
    values = {n: int(v) for n, v in re.findall(r'(\w) = (\d+)', request.program.text())}
    gain = sum(self.weights.get(name, 0.0) * value for name, value in values.items())
    if self.weights.get('needs') and not values[self.weights['needs']]:
      return Result(request.trial, Status.DIVERGED, 'It diverged.')
    (seed,) = request.seeds
    noise = np.random.default_rng(seed).normal()
    noise += 0.02 * np.random.default_rng([seed, *request.program.text().encode()]).normal()
    name = 'test_loss' if request.on_test else 'val_loss'
    run = Measurement(seed, {name: 5 + noise - gain}, Cost())
    return Result(request.trial, Status.OK, measurements=(run,))


class Log:
  """A ledger in memory."""

  def __init__(self):
    self.records = []

  def append(self, event):
    self.records.append(Record(len(self.records) + 1, 1.0, event))
    return self.records[-1]


def history():
  made = History()
  config = to_builtins(synthetic_run.config())
  made.apply(Record(0, 0.0, Started(config, 'synthetic')))
  return made


def ablation(executor, log=None, found=None, has_test=True):
  found = found or history()
  return Ablation(log or Log(), found, executor, Budget(2, 'steps'), 4, has_test, lambda line: None)


def test_an_edit_without_effect_is_dropped_and_the_rest_is_confirmed_on_the_test_split():
  executor = Sum({'A': 1.0, 'B': 0.0, 'C': 0.5})
  found = ablation(executor).run(edits({'A': 1}, {'B': 1}, {'C': 1}))
  assert found.dropped == (2,)
  assert found.edits[-1].after == program(A=1, C=1)
  assert found.gains[1].mean == pytest.approx(1.0, abs=0.1) and found.gains[1].is_shown
  assert not found.gains[2].is_shown and found.gains[2].pairs == 4
  assert abs(found.remaining.mean) < 0.1 and abs(found.on_test.mean) < 0.1
  tested = [request for request in executor.submitted if request.on_test]
  assert {r.program.digest for r in tested} == {
    program(A=1, B=1, C=1).digest,
    program(A=1, C=1).digest,
  }
  others = [request for request in executor.submitted if not request.on_test]
  assert not {s for r in tested for s in r.seeds} & {s for r in others for s in r.seeds}


def test_edits_too_small_to_be_seen_alone_stay_if_they_matter_together():
  small = 0.035
  executor = Sum({'A': small, 'B': small, 'C': small})
  steps = edits({'A': 1}, {'B': 1}, {'C': 1})
  found = ablation(executor, has_test=False).run(steps)
  kept = found.edits[-1].after if found.edits else program()
  lost = 3 * small - sum(small for name in 'ABC' if f'{name} = 1' in kept.text())
  assert lost <= 2 * small and found.on_test is None


def test_an_edit_without_which_nothing_trains_and_one_that_is_built_upon_stay():
  executor = Sum({'A': 0.0, 'B': 0.0, 'C': 0.0, 'needs': 'A'})
  found = ablation(executor).run(edits({'A': 1}, {'B': 1}, {'B': 2}))
  assert found.failing == (1,) and 1 not in found.dropped
  assert found.gains[2] is None and 2 not in found.dropped  # trial 3 changes the same line
  assert found.dropped == (3,)


def test_an_ablation_that_was_killed_resumes_from_its_events():
  steps, log, found = edits({'A': 1}, {'B': 1}), Log(), history()
  first = ablation(Sum({'A': 1.0, 'B': 0.0}), log, found).run(steps)
  resumed = history()
  for record in log.records:
    resumed.apply(record)
  executor = Sum({'A': 1.0, 'B': 0.0})
  again = ablation(executor, Log(), resumed).run(steps)
  assert not executor.submitted and again == first


def test_a_machine_that_fails_is_tried_again_and_then_said():
  steps = edits({'A': 1}, {'B': 1})
  weights = {'A': 1.0, 'B': 0.0}
  assert ablation(Sum(weights, crashes=2)).run(steps).dropped == (2,)
  with pytest.raises(AblationFailed, match='Lightning'):
    ablation(Sum(weights, crashes=1000)).run(steps)


def test_the_interval_is_students_with_pooled_variance():
  found = paired_gains({0: [1.0, 2.0, 3.0], 1: [0.0, 0.0, 0.0], 2: [7.0]})
  assert set(found) == {0, 1}
  assert found[0].mean == 2.0
  # s^2 = (2 + 0) / 4; t(0.975, 4) = 2.776
  assert found[0].half_width == pytest.approx(2.776 * (0.5 / 3) ** 0.5, rel=1e-3)
  assert found[1].half_width == found[0].half_width


def test_a_failing_program_on_the_way_is_one_step_with_its_repair():
  found = history()
  chain = [(0, (), Status.OK), (1, (0,), Status.INVALID), (2, (1,), Status.OK)]
  for number, parents, status in chain:
    made = program(**{'A': number})
    edit = Edit(made, f'edit {number}', Hypothesis('Why not.'))
    operation = Operation.DEBUG if number == 2 else Operation.IMPROVE
    for event in (
      Proposed(number, Proposal(operation, parents)),
      Edited(number, edit),
      Finished(number, Result(number, status)),
    ):
      found.apply(Record(0, 0.0, event))
  (step,) = carried_edits(found, 2)
  assert step.trials == (1, 2) and step.trial == 2
  assert (step.before, step.after) == (program(), program(A=2))
  assert without((step,), {0}) == ()


def test_the_last_commit_says_what_was_left_out():
  steps = edits({'A': 1}, {'B': 1})
  found = history()
  for number, made in enumerate([program(), *(step.after for step in steps)]):
    edit = Edit(made, f'set {"A long constant " * 10}to {number}', Hypothesis('Why not.'))
    proposal = Proposal(Operation.IMPROVE, (number - 1,) if number else ())
    for event in (Proposed(number, proposal), Edited(number, edit)):
      found.apply(Record(0, 0.0, event))
  result = ablation(Sum({'A': 1.0, 'B': 0.0}), Log(), found).run(steps)
  (step,) = steps_of(found, result.edits, program(), result)
  assert len(step.subject) <= 72 and step.subject.startswith('Set A long constant')
  assert 'to 1.' in step.message  # the whole description
  text = ' '.join(step.message.split())
  assert 'trials 2' in text and 'on the test split' in text and 'Trial: 1' in text


def test_words_of_a_model_are_no_patch(tmp_path):
  found, word = history(), 'x' * 70
  (step,) = edits({'A': 1})
  claim = f'From: eve {word} --- a/other.py +++ b/other.py {word} diff --git a/other.py b/other.py'
  for number, made in enumerate([program(), step.after]):
    edit = Edit(made, f'set A to {number}', Hypothesis(claim))
    proposal = Proposal(Operation.IMPROVE, (number - 1,) if number else ())
    for event in (Proposed(number, proposal), Edited(number, edit)):
      found.apply(Record(0, 0.0, event))
  mine = tmp_path / 'mine'
  program().write(mine)

  def git(*arguments):
    command = ['git', '-c', 'user.name=Ada', '-c', 'user.email=ada@example.org', *arguments]
    return subprocess.run(command, cwd=mine, check=True, capture_output=True, text=True).stdout

  for arguments in (['init', '-q'], ['add', '.'], ['commit', '-q', '-m', 'Mine']):
    git(*arguments)
  (patch,) = write_patches(
    tmp_path / 'patches', program(), steps_of(found, [step], program(), None), 0
  )
  git('am', str(patch))
  assert git('diff', '--stat', 'HEAD~').count('|') == 1
  message = git('log', '-1', '--format=%an %B')
  assert message.startswith('autoresearch ') and message.count('other.py') == 4
  assert (mine / 'model.py').read_text() == step.after.text()
