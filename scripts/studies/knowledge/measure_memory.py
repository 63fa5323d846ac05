"""Whether memory and planning pay: one proposer that picks among its drafts, with and without them.

  python measure_memory.py [--seeds=20] [--first_seed=3000] [--trials=200] [--out=FILE]

The simulation's own proposer, which looks at the parent alone, drafts k edits for each trial. Which
one is tried is all that differs between the arms:

  none       one of them at random
  best       memory: the one with the largest expected gain by what is known of the factors it is
             made of (`knowledge/effect_regression.py`); at random while fewer than 5 effects are
             known
  odds       memory: one drawn in proportion to that gain
  tags       as best, with the areas of the edits as factors too
  questions  planner: at random, but one that is about a question `--heed` times as often
  both       as odds, but one that is about a question `--heed` times as often

A factor of a lineage is its area, and which edit was applied or taken out; of a recorded table
which constant moved which way. All of it is in the programs' texts; no arm sees the simulation's
effects. "x 3" in a problem's name is times the recorded noise. Instances and random numbers are
paired: seed s of each arm is the same instance, and the drafts of the first trial are the same.
Printed are mean regrets (1 is the start, 0 the optimum, by the metric without noise of what was
kept) and the mean paired differences to `none` with 95 % intervals (bootstrap over seeds), and
Wilcoxon's p after Holm's correction over the rows. Options were chosen on seeds below 1000 alone.
"""

import concurrent.futures
import dataclasses
import functools
import pathlib
import sys
from typing import Any

import numpy as np
from absl import app, flags

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.benchmark.analysis.statistics import holm, wilcoxon
from autoresearch_jax.benchmark.regret import areas
from autoresearch_jax.benchmark.runners.simulate import simulate
from autoresearch_jax.benchmark.simulations import SIMULATIONS, Instance
from autoresearch_jax.benchmark.simulations.effects import AREAS, SITES, VARIANTS
from autoresearch_jax.benchmark.simulations.lineage import LineageInstance, edits_of
from autoresearch_jax.knowledge import Memory, planner
from autoresearch_jax.knowledge.constant_changes import (
  change_key,
  constant_changes,
  constant_values,
)
from autoresearch_jax.knowledge.effect_regression import EffectRegression
from autoresearch_jax.proposers import NothingToPropose, ProposalContext
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.types import Edit, Program, Proposal

ARMS = ('none', 'best', 'odds', 'tags', 'questions', 'both')
GAINS = ('best', 'odds', 'tags', 'both')  # arms that choose by the expected gain
BEST = ('best', 'tags')  # those that take the largest, where others draw
PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
  **{f'lineage x {n:g}': ('lineage', {'noise': n}) for n in (0.0, 1.0, 3.0)},
  **{f'recorded x {n:g}': ('recorded', {'noise': n}) for n in (0.0, 1.0, 3.0)},
}
DRAWS = 10_000  # of the bootstrap

ONLY = flags.DEFINE_list('only', [], 'Problems, by the start of their names; all by default.')
SEEDS = flags.DEFINE_integer('seeds', 20, 'Instances of each problem.', 2)
FIRST = flags.DEFINE_integer('first_seed', 3000, 'Of the instances; below 1000 are for tuning.')
TRIALS = flags.DEFINE_integer('trials', 200, 'Training runs of a run.', 1)
DRAFTS = flags.DEFINE_integer('drafts', 6, 'Edits of which one is tried.', 1)
HEED = flags.DEFINE_float('heed', 3.0, 'Times what an edit counts that is about a question.', 1.0)
STRATEGY = flags.DEFINE_string('strategy', 'greedy', 'A registered strategy.')
WORKERS = flags.DEFINE_integer('workers', 2, 'Processes.', 1)
OUT = flags.DEFINE_string('out', '', 'Also write the tables to this file.')


@dataclasses.dataclass
class Picking:
  """An instance whose proposer tries one of several drafts. It is made for one run."""

  instance: Any
  arm: str
  drafts: int
  heed: float
  memory: Memory | None = None

  def __getattr__(self, name: str) -> Any:
    return getattr(self.instance, name)

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Raises NothingToPropose."""
    edits = self._drafted(proposal, context, rng)
    chance = rng.random()
    if self.memory is None:
      self.memory = Memory(context.history, context.objective, context.kept)
    weights = self._weights(edits, proposal)
    if self.arm in BEST and weights.max() > weights.min():
      return edits[int(np.argmax(weights))]
    return edits[int(np.searchsorted(np.cumsum(weights) / weights.sum(), chance, 'right'))]

  def _drafted(
    self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator
  ) -> list[Edit]:
    edits = []
    for _ in range(self.drafts):
      try:
        edit = self.instance.propose(proposal, context, rng)
      except NothingToPropose:
        if not edits:
          raise
        break
      said = dataclasses.replace(
        edit.hypothesis, mechanisms=factors(self.instance, context.parents[0], edit.program)
      )
      edits.append(dataclasses.replace(edit, hypothesis=said))
    return edits

  def _weights(self, edits: list[Edit], proposal: Proposal) -> np.ndarray:
    """By the arm, of each draft: its expected gain, or 1; times what questions make of it."""
    weights, memory = np.ones(len(edits)), self.memory
    assert memory is not None
    if self.arm == 'none':
      return weights
    if self.arm in GAINS:
      model = EffectRegression.fit(tuple(memory.hypotheses.values()), undirected=self.arm == 'tags')
      if model.num_effects >= planner.MIN_EFFECTS:
        weights = np.array([model.expected_gain(edit.hypothesis.mechanisms) for edit in edits])
    if self.arm in ('questions', 'both'):
      parent = proposal.parents[0] if proposal.parents else 0
      asked = {tag for q in planner.rank_questions(memory, parent, areas=()) for tag in q.tags}
      about = [not asked.isdisjoint(edit.hypothesis.mechanisms) for edit in edits]
      weights = weights * np.where(about, self.heed, 1.0)
    return weights if weights.sum() > 0 else np.ones(len(edits))


def factors(instance: Instance, parent: Program, program: Program) -> tuple[str, ...]:
  """What an edit is about, as its author can see in the two texts."""
  if not isinstance(instance, LineageInstance):
    moved = constant_changes(constant_values(parent), constant_values(program))
    return tuple(change_key(change) for change in moved if change_key(change))
  before, after = edits_of(parent) or [], edits_of(program) or []
  applied, out = sorted({*after} - {*before}), sorted({*before} - {*after})
  found = [AREAS[edit // (SITES * VARIANTS)] for edit in applied]
  found += [f'edit {edit} on' for edit in applied]
  return tuple(dict.fromkeys([*found, *(f'edit {edit} off' for edit in out)]))


@dataclasses.dataclass(frozen=True)
class Job:
  """One run."""

  problem: str
  arm: str
  seed: int
  trials: int
  drafts: int
  heed: float
  strategy: str

  def regrets(self) -> tuple[float, float]:
    """Anytime (by training runs) and final."""
    simulation, options = PROBLEMS[self.problem]
    instance = _instance(simulation, tuple(options.items()), self.seed)
    picking: Any = Picking(instance, self.arm, self.drafts, self.heed)
    strategy, rule = STRATEGIES.make(self.strategy), ACCEPTANCE.make('strict')
    played = simulate(strategy, rule, picking, self.seed, self.trials)
    anytime = areas(played.curve, self.trials, played.run_seconds).runs
    return anytime, played.curve.regret[-1]


@functools.lru_cache(maxsize=8)
def _instance(simulation: str, options: tuple[tuple[str, Any], ...], seed: int) -> Any:
  return SIMULATIONS.make(simulation, dict(options)).instance(seed)


def interval(difference: np.ndarray) -> tuple[float, float, float]:
  """The mean and its 95 % interval, by drawing seeds anew. difference: [seeds]."""
  drawn = np.random.default_rng(0).choice(difference, (DRAWS, len(difference))).mean(axis=1)
  low, high = np.quantile(drawn, (0.025, 0.975))
  return float(difference.mean()), float(low), float(high)


def tables(regrets: dict[tuple[str, str], np.ndarray]) -> list[str]:
  """Markdown. regrets: by problem and arm, [seeds, 2]."""
  lines = []
  for place, said in enumerate(('anytime', 'final')):
    rows, ps = [], []
    for (problem, arm), found in regrets.items():
      ours, theirs = found[:, place], regrets[problem, 'none'][:, place]
      if arm == 'none':
        continue
      mean, low, high = interval(ours - theirs)
      ps.append(wilcoxon(ours[None], theirs[None]).p)
      rows.append(
        f'| {problem} | {arm} | {theirs.mean():.3f} | {ours.mean():.3f} '
        f'| {mean:+.3f} [{low:+.3f}, {high:+.3f}] | {int((ours < theirs).sum())} of {len(ours)} |'
      )
    lines += [f'### {said.capitalize()} regret', '']
    lines += ['| problem | arm | none | arm | difference | better on seeds | p (Holm) |']
    lines += ['|---|---|---:|---:|---:|---:|---:|']
    lines += [f'{row} {p:.3f} |' for row, p in zip(rows, holm(ps), strict=True)] + ['']
  return lines


def main(arguments: list[str]) -> None:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  problems = [p for p in PROBLEMS if not ONLY.value or p.startswith(tuple(ONLY.value))]
  keys = [(problem, arm) for problem in problems for arm in ARMS]
  seeds = range(FIRST.value, FIRST.value + SEEDS.value)
  given = (TRIALS.value, DRAFTS.value, HEED.value, STRATEGY.value)
  jobs = [Job(p, arm, s, *given) for p in problems for s in seeds for arm in ARMS]
  found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in keys}
  with concurrent.futures.ProcessPoolExecutor(WORKERS.value) as pool:
    for job, regrets in zip(jobs, pool.map(Job.regrets, jobs, chunksize=len(ARMS)), strict=True):
      found[job.problem, job.arm].append(regrets)
      if len(found[job.problem, ARMS[-1]]) == SEEDS.value and job.arm == ARMS[-1]:
        print(f'{job.problem}: done', file=sys.stderr, flush=True)
  lines = tables({key: np.array(runs) for key, runs in found.items()})
  print('\n'.join(lines))
  if OUT.value:
    pathlib.Path(OUT.value).write_text('\n'.join(lines) + '\n', encoding='utf-8')


if __name__ == '__main__':
  app.run(main)
