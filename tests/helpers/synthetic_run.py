"""A whole run without devices: programs are numbers in a text, training is arithmetic.

Tests of the controller build on it: `run` in this process, `synthetic_command.py` as the real
command in another. What a trial gives depends on its program and seed alone.
"""

import dataclasses
import hashlib
import pathlib
import re
import time

import numpy as np

from autoresearch_jax import types
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.config import CanaryConfig, Config, Search
from autoresearch_jax.executors import Executor
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.proposers import NothingToPropose, Proposer
from autoresearch_jax.report import View
from autoresearch_jax.research.build import Run
from autoresearch_jax.research.loop import ResearchLoop
from autoresearch_jax.research.replay import replay
from autoresearch_jax.research.session import begin
from autoresearch_jax.search.greedy import Greedy

START = types.Program((('model.py', 'X = 3.0\nY = -2.0\n'), ('notes.py', '')), 'model.py')
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(2.0, 'steps'))
ENDINGS = [types.Status.INVALID, types.Status.OOM, types.Status.DIVERGED, types.Status.TIMEOUT]


def config(**changed):
  made = Config(
    name='synthetic',
    problem='none',
    program='none',
    editable=('model.py',),
    entry='model.py',
    metric='val_loss',
    direction='minimize',
    budget=SPEC.budget,
    platform='cpu',
    search=Search(max_trials=10),
  )
  return dataclasses.replace(made, **changed)


@dataclasses.dataclass
class Nudge(Proposer):
  """Changes one constant; now and then it has no idea, breaks, or changes nothing."""

  def propose(self, proposal, context, rng):
    text = context.parents[0].text()
    draw = rng.random()
    if draw < 0.05:
      raise NothingToPropose('I have no idea.')
    if draw < 0.1:
      raise OSError('the line is down')
    name = 'XY'[rng.integers(2)]
    if draw < 0.2:
      edited, what = text + '# a comment\n', 'say more'
    else:
      value = float(re.search(rf'{name} = (\S+)', text)[1]) + rng.normal()
      edited, what = re.sub(rf'{name} = \S+', f'{name} = {value:.3f}', text), f'nudge {name}'
    claim = types.Hypothesis(f'{name} is not at its best.', ('constants',), 0.1, 0.2)
    return types.Edit(context.parents[0].with_text(edited), what, claim)


@dataclasses.dataclass
class Arithmetic(Executor):
  """Finishes trials in a drawn order, `delay` seconds each."""

  slots: int = 1
  delay: float = 0.0
  fail_baseline: bool = False

  def __post_init__(self):
    self.queue, self.submitted, self.checked, self.closed = [], [], [], False
    self.rng = np.random.default_rng(0)

  def submit(self, request):
    self.queue.append(request)
    self.submitted.append(request)

  def check(self, program, budget):
    del budget
    self.checked.append(program)
    return ''

  def wait(self, timeout):
    if not self.queue:
      time.sleep(min(timeout, 0.01))
      return []
    request = self.queue.pop(int(self.rng.integers(len(self.queue))))
    time.sleep(self.delay)
    news = types.Progress(request.trial, 'train', request.seeds[0], 0.5, 1, 2.5)
    return [news, self.result(request)]

  def result(self, request):
    code = re.sub(r'#.*\n', '', request.program.text())
    fingerprint = hashlib.sha256(code.encode()).hexdigest()
    luck = int(fingerprint, 16)
    if fingerprint in request.known:
      first = request.known[fingerprint]
      return types.Result(
        request.trial, types.Status.DUPLICATE, f'Same as trial {first}.', fingerprint, first
      )
    if (luck % 5 == 0 and code != START.text()) or self.fail_baseline:
      status = ENDINGS[luck % len(ENDINGS)]
      return types.Result(request.trial, status, f'It went {status}.', fingerprint)
    x, y = (float(re.search(rf'{n} = (\S+)', code)[1]) for n in 'XY')
    looks, ended = [], None
    for at in request.rungs:  # far from the end all losses are higher
      look = x * x + y * y + 1 - at.progress
      looks.append((at.progress, look, look))
      if at.should_prune(look, look):
        ended = {'progress': at.progress, 'seconds': at.progress, 'saved_seconds': 1 - at.progress}
        break
    facts = {'device': 'an abacus', 'sizes': (1, 2)}
    facts['looks'] = {str(seed): looks for seed in request.seeds}
    if ended:
      return types.Result(
        request.trial, types.Status.PRUNED, f'Too far behind at {at.progress}.', fingerprint,
        facts={**facts, 'pruned': ended},
      )  # fmt: skip
    return types.Result(
      request.trial,
      types.Status.OK,
      '',
      fingerprint,
      measurements=tuple(self.measured(x, y, luck, seed, request) for seed in request.seeds),
      facts=facts,
    )

  def measured(self, x, y, luck, seed, request):
    noise = np.random.default_rng([luck % 2**32, seed]).normal() * 0.05
    cost = types.Cost(training_seconds=request.budget.amount, peak_bytes=3 * 2**29)
    name = 'test_loss' if request.on_test else 'val_loss'
    return types.Measurement(seed, {name: x * x + y * y + noise}, cost)

  def cancel(self, trial):
    self.queue = [request for request in self.queue if request.trial != trial]

  def close(self):
    self.closed = True


@dataclasses.dataclass
class SeedBySeed(Arithmetic):
  """Reports each training run, and trains only the seeds that are not done.

  Attributes:
    trained: (trial, seed) of each training run, in order.
  """

  trained: list = dataclasses.field(default_factory=list)

  def wait(self, timeout):
    if not self.queue:
      return super().wait(timeout)
    request = self.queue.pop(0)
    result = self.result(request)
    done = {run.measurement.seed: run for run in request.done}
    missing = [m for m in result.measurements if m.seed not in done]
    if missing:
      self.trained.append((request.trial, missing[0].seed))
      facts = {'reference_step_seconds': request.reference.step_seconds or 0.125}
      run = types.SeedResult(request.trial, result.fingerprint, missing[0], facts)
      self.queue.insert(0, dataclasses.replace(request, done=(*request.done, run)))
      return [run]
    measurements = tuple(done[m.seed].measurement for m in result.measurements)
    return [dataclasses.replace(result, measurements=measurements)]


class Blind(View):
  """A view that shows nothing."""

  def record(self, record, history):
    del record, history


def ticking(start=1.7e9):
  """A clock that moves a second each time it is read, so that two runs agree on every time."""
  now = [start]

  def clock():
    now[0] += 1.0
    return now[0]

  return clock


class Session:
  """A session that has ended."""

  def __init__(self, loop):
    self.loop, self.controller, self.workspace = loop, loop.controller, loop.workspace
    self.history, self.states = self.controller.history, self.controller.states
    self.strategy, self.acceptance = self.controller.strategy, self.controller.acceptance
    self.failed, self.unavailable, self.broken = loop.failed, loop.unavailable, loop.broken
    self.view, self.executor = loop.view, loop.executor


def run(
  directory,
  max_trials=10,
  clock=time.time,
  workspace_kind=Workspace,
  prefetch=1,
  pruning=False,
  strategy=None,
  proposer=None,
  acceptance=None,
  executor=None,
  view=None,
  stop=lambda: '',
  dataset='digest of data',
  search=None,
  requested_only=False,
  canaries=None,
):
  """Starts or resumes the run in `directory`; returns the session once it has stopped."""
  settings = _with_search(config(), prefetch=prefetch, max_trials=max_trials, **(search or {}))
  settings = dataclasses.replace(settings, pruning=pruning, canaries=canaries or CanaryConfig())
  parts = Run(
    settings, None, SPEC, START, strategy or Greedy(), proposer or Nudge(), acceptance or Noise(),
    requested_only=requested_only,
  )  # fmt: skip
  with (
    workspace_kind.open(pathlib.Path(directory)) as workspace,
    Ledger.open(workspace.ledger_path, clock) as ledger,
  ):
    loop = ResearchLoop(
      controller=begin(ledger, parts, dataset),
      ledger=ledger,
      workspace=workspace,
      proposer=parts.proposer,
      executor=executor or Arithmetic(),
      view=view or Blind(),
      stop=stop,
    )
    loop.run()
  return Session(loop)


def replay_records(records, strategy, acceptance):
  """History and states after the records, decided again from the first one on."""
  records = list(records)
  parts = Run(History.of(records).config, None, SPEC, START, strategy, None, acceptance)
  controller = replay(records, strategy, acceptance, parts.settings())
  return controller.history, controller.states


def _with_search(made, **changed):
  return dataclasses.replace(made, search=dataclasses.replace(made.search, **changed))
