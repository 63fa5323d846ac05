"""Does sharing findings pay? Simulated forks of one program that search alone or together.

  python forks.py [--seeds=20] [--forks=7] [--liars=0 --liars=3] [--runs=100] [--rows=FILE]

Each fork is a whole run on the lineage simulator: the real controller, strategies, acceptance
rules, and the real code for trust and imports (`proposers/imports.py`). All forks of a seed search
the same program. Every second one has another device, on which the same edits have other effects.
Of four, two have the acceptance rule `strict`, so their claims are the luckiest of single runs, as
on most message boards; the others have `paired`. Of eight, four have the strategy tree, the others
greedy. A fork publishes every verdict on an edit at once, also that it was not kept.

Each liar publishes a finding for each trial of any fork: edits that in truth do nothing or harm,
claimed as large gains with a small standard error. Liars take no part in the averages.

  alone      nobody shares
  shared     at most a quarter of the new programs are imports, chosen by `findings/trust.py`
  by claim   an import whenever there is one, the largest claim first, and judged as any edit
  believed   the same, and what is claimed is kept without a comparison unless it fails

Printed are the mean regret over the run (the area under the curve, 1 is the start and 0 the best
known program) and the regret in the end, as means over the forks; then differences from `alone`
with 95 % confidence intervals by Student's t over seeds, which are paired. 20 seeds take about ten
minutes on one core. --rows keeps each seed's regrets in a file, from which the same command goes on
after it was stopped. Seeds below 1000 were used to choose the constants of `findings/trust.py`.
"""

import collections
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.benchmark.regret import area
from autoresearch_jax.benchmark.runners.simulate import SimulatedLoop, simulated_loop
from autoresearch_jax.benchmark.simulations import Instance
from autoresearch_jax.benchmark.simulations.effects import (
  EDITS,
  VARIANTS,
  EditEffects,
  draw_effects,
)
from autoresearch_jax.benchmark.simulations.lineage import (
  LOSS,
  LineageInstance,
  edits_of,
  program_of,
)
from autoresearch_jax.benchmark.simulations.profiles import PROFILES
from autoresearch_jax.findings.finding import FindingSetting
from autoresearch_jax.findings.trust import similarity, standard_error
from autoresearch_jax.knowledge.outcomes import ProgramOutcomes
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.proposers.imports import ImportCandidate, Importer
from autoresearch_jax.report.final_comparison import critical_value
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.types import (
  Budget,
  Decision,
  Edit,
  Hypothesis,
  ImportedClaim,
  Objective,
  Program,
  Proposal,
  Result,
  Status,
  Trial,
  TrialRequest,
  Verdict,
)

Row = tuple[float, float]  # mean regret over the run, and regret in the end

SHARE = 0.25
DEVICES = 2
DEVICE_SPREAD = 0.5  # of the logarithm of a gain between devices
DEVICE_LOST = 0.15  # share of the helpful edits that do nothing on a device
ARMS = ('alone', 'shared', 'by claim', 'believed')

_SEEDS = flags.DEFINE_integer('seeds', 20, 'Paired seeds.', lower_bound=2)
_FIRST_SEED = flags.DEFINE_integer('first_seed', 1000, 'The first one; 1000 on are for reports.')
_FORKS = flags.DEFINE_integer('forks', 7, 'Honest forks.', lower_bound=1)
_LIARS = flags.DEFINE_multi_integer('liars', [0, 3], 'Liars, of each comparison.', lower_bound=0)
_RUNS = flags.DEFINE_integer('runs', 100, 'Budget of a fork in training runs.', lower_bound=10)
_ARMS = flags.DEFINE_multi_enum('arm', list(ARMS), ARMS, 'What is compared; alone is always.')
_ROWS = flags.DEFINE_string('rows', '', 'A file of results that is read and extended.')
_PROFILE = flags.DEFINE_enum('profile', 'h100', list(PROFILES), 'Of the lineage simulator.')


@dataclasses.dataclass(frozen=True)
class SharedChange:
  """An edit as a fork or a liar publishes it.

  Attributes:
    removed: Edits of the parent that the child lacks.
    added: Edits that the child has instead.
  """

  removed: tuple[int, ...]
  added: tuple[int, ...]

  def apply(self, program: Program, start: Program) -> Program | None:
    """Returns the program with this change; None if it has it already."""
    del start
    before = edits_of(program) or []
    sites = {edit // VARIANTS for edit in self.added}
    after = [e for e in before if e not in self.removed and e // VARIANTS not in sites]
    after += self.added
    return None if set(after) == set(before) else program_of(after)


@dataclasses.dataclass(frozen=True)
class Published:
  """A finding on the board.

  Attributes:
    source: Who published it.
    setting: Where it was measured.
    change: The edit.
    gain: Claimed gain.
    error: Its claimed standard error.
  """

  source: str
  setting: FindingSetting
  change: SharedChange
  gain: float
  error: float | None


class Board:
  """What everybody sees of each other."""

  def __init__(self) -> None:
    self.published: list[Published] = []
    self._candidates: dict[str, dict[str, ImportCandidate]] = collections.defaultdict(dict)
    self._read: dict[str, int] = collections.defaultdict(int)

  def candidates(self, reader: str, setting: FindingSetting) -> Mapping[str, ImportCandidate]:
    """Returns the findings of all others as candidates for a reader."""
    found = self._candidates[reader]
    for number in range(self._read[reader], len(self.published)):
      each = self.published[number]
      if each.source == reader:
        continue
      claim = ImportedClaim(
        str(number),
        each.source,
        repr(each.change),
        each.gain,
        each.error,
        similarity(setting, each.setting),
      )
      found[claim.finding] = ImportCandidate(claim, 'import', Hypothesis(''), each.change.apply)
    self._read[reader] = len(self.published)
    return found


class ClaimedFirst(Importer):
  """Trusts claims: an import whenever there is one, the largest claim first."""

  def ranked(
    self, claims: Sequence[ImportedClaim], context: ProposalContext
  ) -> list[ImportedClaim]:
    edits = [*(t.edit for t in context.history.values()), *context.pending.values()]
    done = {edit.imported.change for edit in edits if edit.imported}
    left = [claim for claim in claims if claim.gain > 0 and claim.change not in done]
    return sorted(left, key=lambda claim: (-claim.gain, claim.finding))


@dataclasses.dataclass(frozen=True)
class Believing(AcceptanceRule):
  """Keeps every import that has a score; another rule judges the run's own edits.

  Attributes:
    rule: The other rule.
  """

  rule: AcceptanceRule

  @property
  def baseline_seeds(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
    return self.rule.baseline_seeds

  def init(self, objective: Objective) -> Any:
    return self.rule.init(objective)

  def ask(self, state: Any) -> tuple[Proposal | None, Any]:
    return self.rule.ask(state)

  def undecided(self, state: Any, trial: Trial) -> bool:
    return self.rule.undecided(state, trial)

  def decide(self, state: Any, trial: Trial, incumbent: Trial | None) -> tuple[Verdict, Any]:
    verdict, after = self.rule.decide(state, trial, incumbent)
    if trial.edit.imported and trial.result.status is Status.OK:
      return Verdict(Decision.KEEP, 'It was claimed to be better.'), after
    return verdict, after


class ForkInstance(Instance):
  """The program on the device of one fork, with the imports that its proposer makes.

  Args:
    inner: The program on that device.
    importer: Chooses imports; None for a fork that is alone.
  """

  def __init__(self, inner: LineageInstance, importer: Importer | None):
    self._inner, self._importer = inner, importer

  @property
  def objective(self) -> Objective:
    return LOSS

  @property
  def start(self) -> Program:
    return self._inner.start

  @property
  def optimum(self) -> float:
    return self._inner.optimum

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    edit = self._importer.edit(proposal, context) if self._importer else None
    return edit or self._inner.propose(proposal, context, rng)

  def measure(self, request: TrialRequest) -> Result:
    return self._inner.measure(request)

  def value(self, program: Program) -> float | None:
    return self._inner.value(program)


@dataclasses.dataclass
class Fork:
  """A fork in progress.

  Attributes:
    name: As a source.
    setting: Where it measures.
    loop: Its run.
    told: Trials whose verdicts were published or looked at.
  """

  name: str
  setting: FindingSetting
  loop: SimulatedLoop
  told: int = 0

  def news(self) -> Iterator[Published]:
    """Yields findings about the programs that got a final verdict since the last call."""
    history = self.loop.history
    decided = list(history.trials)
    for trial in decided[self.told :]:
      self.told += 1
      number = history.original(trial)
      parent = history.parent(number)
      if parent is None or number in history.under_test():
        continue
      outcomes = ProgramOutcomes(history.trials, LOSS, history.kept_programs)
      before, after = (set(edits_of(history.edits[n].program) or []) for n in (parent, number))
      change = SharedChange(tuple(sorted(before - after)), tuple(sorted(after - before)))
      gain = outcomes.gain(number) if number in outcomes.by_trial else None
      if number not in history.kept_programs:
        gain = min(gain or 0.0, 0.0)
      if gain is not None:
        yield Published(self.name, self.setting, change, gain, standard_error(outcomes, number))


def device_effects(effects: EditEffects, seed: int, device: int) -> EditEffects:
  """Returns the effects of the edits on one device: some gains differ, and some are gone."""
  rng = np.random.default_rng((seed, device, 17))
  gain = effects.gain * np.exp(DEVICE_SPREAD * rng.standard_normal(EDITS))
  return dataclasses.replace(effects, gain=np.where(rng.random(EDITS) < DEVICE_LOST, 0.0, gain))


def setting_on(device: int) -> FindingSetting:
  """Returns the setting of forks with a device."""
  return FindingSetting('lineage', 'loss', 'minimize', Budget(1.0, 'steps'), 'gpu', f'{device}')


def lies(liar: int, effects: EditEffects, seed: int) -> Iterator[Published]:
  """Yields what a liar publishes: useless edits that are claimed to be large gains."""
  profile = PROFILES[_PROFILE.value]
  rng = np.random.default_rng((seed, liar, 23))
  useless = rng.permutation(np.flatnonzero(effects.gain == 0)).tolist()
  size = profile.helpful_median * (profile.baseline - profile.floor)
  for edit in useless:
    gain = size * float(rng.uniform(1, 3))
    change = SharedChange((), (edit,))
    yield Published(f'liar {liar}', setting_on(liar % DEVICES), change, gain, profile.noise / 4)


def play(arm: str, seed: int, liars: int) -> Row:
  """Plays all forks of a seed at once; returns the means over the forks."""
  profile, board = PROFILES[_PROFILE.value], Board()
  effects = draw_effects(profile, seed)
  instances = [
    LineageInstance(f'forks/{seed}', profile, 1.0, device_effects(effects, seed, device))
    for device in range(DEVICES)
  ]
  forks = [_fork(arm, seed, number, instances, board) for number in range(_FORKS.value)]
  sources = [lies(liar, effects, seed) for liar in range(liars)]
  running = list(forks)
  while running:
    fork = min(running, key=lambda each: each.loop.clock)
    if not fork.loop.step():
      running.remove(fork)
    news = list(fork.news()) if arm != 'alone' else []
    board.published += news
    for source in sources if news else ():
      board.published += itertools.islice(source, 1)
  mean, final = zip(*(_regrets(fork.loop) for fork in forks), strict=True)
  return statistics.fmean(mean), statistics.fmean(final)


def _fork(
  arm: str, seed: int, number: int, instances: Sequence[LineageInstance], board: Board
) -> Fork:
  name, device = f'fork {number}', number % DEVICES
  setting = setting_on(device)
  rule = ACCEPTANCE.make(('paired', 'strict')[number // 2 % 2], {})

  def candidates() -> Mapping[str, ImportCandidate]:
    return board.candidates(name, setting)

  importer = None
  if arm == 'shared':
    importer = Importer(candidates, SHARE)
  elif arm != 'alone':
    importer = ClaimedFirst(candidates, 1.0)
  loop = simulated_loop(
    STRATEGIES.make(('greedy', 'tree')[number // 4 % 2], {}),
    Believing(rule) if arm == 'believed' else rule,
    _with_noise_of(instances[device], importer, f'forks/{seed}/{number}'),
    seed * 1000 + number,
    _RUNS.value,
  )
  return Fork(name, setting, loop)


def _with_noise_of(inner: LineageInstance, importer: Importer | None, key: str) -> ForkInstance:
  """Returns the program with the seed noise of one fork."""
  own = LineageInstance(key, inner.profile, inner.noise, inner.effects)
  vars(own)['_optimum'] = inner.optimum  # found once for all forks with the device
  return ForkInstance(own, importer)


def _regrets(loop: SimulatedLoop) -> Row:
  curve = loop.outcome().curve
  return area(curve.runs, curve.regret, _RUNS.value), curve.regret[-1]


def interval(differences: Sequence[float]) -> tuple[float, float]:
  """Returns the mean and the half width of its 95 % interval."""
  error = statistics.stdev(differences) / math.sqrt(len(differences))
  return statistics.fmean(differences), critical_value(len(differences) - 1) * error


@functools.cache
def _row(arm: str, seed: int, liars: int) -> Row:
  """Returns the regrets of a seed, from the file if they are there."""
  key = [_PROFILE.value, _FORKS.value, _RUNS.value, liars, seed, arm]
  file = pathlib.Path(_ROWS.value) if _ROWS.value else None
  if file is not None and file.exists():
    for line in file.read_text().splitlines():
      row = json.loads(line)
      if row['key'] == key:
        return tuple(row['regrets'])
  regrets = play(arm, seed, liars)
  if file is not None:
    with file.open('a') as rows:
      rows.write(json.dumps({'key': key, 'regrets': regrets}) + '\n')
  return regrets


def _compare(liars: int, say: Callable[[str], None]) -> None:
  seeds = range(_FIRST_SEED.value, _FIRST_SEED.value + _SEEDS.value)
  arms = [arm for arm in ARMS if arm == 'alone' or arm in _ARMS.value]
  found: dict[str, list[Row]] = {arm: [] for arm in arms}
  for seed, arm in itertools.product(seeds, arms):
    found[arm].append(_row(arm, seed, 0 if arm == 'alone' else liars))
  say(f'\n{_FORKS.value} forks, {liars} liars, {_RUNS.value} runs each, {_SEEDS.value} seeds')
  say(f'{"":10}{"mean regret":>12}{"in the end":>12}   lower than alone by, 95 % interval')
  for arm, rows in found.items():
    means = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    line = f'{arm:10}{means[0]:12.4f}{means[1]:12.4f}'
    if arm != 'alone':
      for place in range(2):
        gains = [a[place] - b[place] for a, b in zip(found['alone'], rows, strict=True)]
        line += '   {:+.4f} ± {:.4f}'.format(*interval(gains))
    say(line)


def main(_: Sequence[str]) -> None:
  for liars in _LIARS.value:
    _compare(liars, lambda line: print(line, flush=True))


if __name__ == '__main__':
  app.run(main)
