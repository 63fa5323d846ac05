"""The state of the rule `paired`: the incumbent's runs, programs under test, and their pairs.

Immutable: each method returns a changed copy. Programs are identified by their first trial (see
`program_runs.py`). Decisions are made in `paired.py`.
"""

import dataclasses

from autoresearch_jax.acceptance.drift import DriftMonitor
from autoresearch_jax.acceptance.group_sequential import Look
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.acceptance.program_runs import original_of
from autoresearch_jax.types import Objective, Status, Trial

MAX_CHALLENGERS = 16  # under test at once; the oldest makes way for another one
MAX_RECENT = 4  # latest runs of the incumbent that a single run is compared with
FIRST_SEED = 1000  # of pairs and controls, beyond the seeds that strategies use


@dataclasses.dataclass(frozen=True)
class Replication:
  """One replication of a block of pairs.

  Attributes:
    of_incumbent: Whether the incumbent is replicated, or else the challenger.
    seeds: Its seeds.
  """

  of_incumbent: bool
  seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class PairedTest:
  """The test of one program against the incumbent.

  Attributes:
    trial: Id of the program's first trial.
    screening: Its metric on the runs that it was picked for. They are no evidence, since they were
      picked for being high.
    alpha: Probability of keeping it without effect.
    planned: Replications of the present block that were not requested yet.
    num_pending: Replications that were requested and have not finished.
    seeds: All seeds that were given to it.
    own: (seed, metric) pairs of its replications.
    control: (seed, metric) pairs of the incumbent's.
    looks: Looks so far.
    alpha_spent: Alpha that they spent.
  """

  trial: int
  screening: tuple[float, ...]
  alpha: float
  planned: tuple[Replication, ...] = ()
  num_pending: int = 0
  seeds: tuple[int, ...] = ()
  own: tuple[tuple[int, float], ...] = ()
  control: tuple[tuple[int, float], ...] = ()
  looks: tuple[Look, ...] = ()
  alpha_spent: float = 0.0

  def differences(self, objective: Objective) -> tuple[float, ...]:
    """Returns the gains on the seeds that both programs have; positive is better."""
    control, sign = dict(self.control), -1.0 if objective.direction == 'minimize' else 1.0
    return tuple(sign * (value - control[seed]) for seed, value in self.own if seed in control)

  def without_pairs_across(self, excursion: int) -> 'PairedTest':
    """Returns the test without the pairs, since its last look, that the machine may have split.

    Args:
      excursion: How many runs of the incumbent ago the machine changed. The last one before and
        the first one after the change may have a partner on the other side of it.
    """
    looked = round(2 * self.looks[-1].information) if self.looks else 0
    control = dict(self.control)
    counted = [seed for seed, _ in self.own if seed in control][:looked]
    last = len(self.control) - excursion
    split = {seed for seed, _ in self.control[max(0, last - 1) : max(0, last + 1)]} - set(counted)
    return dataclasses.replace(
      self, control=tuple(run for run in self.control if run[0] not in split)
    )

  def restarted(self) -> 'PairedTest':
    """Returns the test without its pairs; the alpha that they spent stays spent.

    Replications that are still running belong to no test any more.
    """
    return dataclasses.replace(
      self, planned=(), num_pending=0, seeds=(), own=(), control=(), looks=()
    )


@dataclasses.dataclass(frozen=True)
class PairedState:
  """What the rule remembers.

  Attributes:
    noise: The pooled seed noise.
    incumbent: Id of the first trial of the incumbent's program; None before the baseline.
    kept: Id of the trial that was kept as the incumbent, possibly a replicate.
    recent: The incumbent's latest runs since the machine last changed, oldest first.
    monitor: Watches them.
    remeasure: Runs of the incumbent that are wanted before anything else.
    controls_pending: Runs of the incumbent, beside those of pairs, that have not finished.
    tests: Open tests, oldest first.
    num_tests: Tests begun in the present horizon.
    decided: Trials decided.
    control_at: `decided` when the incumbent was last run.
    next_seed: Next seed that no replication had.
  """

  noise: NoiseState
  incumbent: int | None = None
  kept: int | None = None
  recent: tuple[float, ...] = ()
  monitor: DriftMonitor = dataclasses.field(default_factory=DriftMonitor)
  remeasure: int = 0
  controls_pending: int = 0
  tests: tuple[PairedTest, ...] = ()
  num_tests: int = 0
  decided: int = 0
  control_at: int = 0
  next_seed: int = FIRST_SEED

  def test(self, program: int) -> PairedTest | None:
    """Returns the open test of a program."""
    return next((test for test in self.tests if test.trial == program), None)

  def test_with(self, seeds: tuple[int, ...]) -> PairedTest | None:
    """Returns the open test that these seeds were given to."""
    return next((test for test in self.tests if set(seeds) & set(test.seeds)), None)

  def is_incumbent(self, program: int) -> bool:
    return self.incumbent is not None and program in (self.incumbent, self.kept)

  def with_test(self, new: PairedTest) -> 'PairedState':
    """Replaces the test of the same program, or adds a new one."""
    if self.test(new.trial):
      tests = tuple(new if test.trial == new.trial else test for test in self.tests)
    else:
      tests = (*self.tests, new)[-MAX_CHALLENGERS:]
    return dataclasses.replace(self, tests=tests)

  def without_test(self, program: int) -> 'PairedState':
    return dataclasses.replace(self, tests=tuple(t for t in self.tests if t.trial != program))

  def take_seeds(self, count: int) -> tuple['PairedState', tuple[int, ...]]:
    """Returns fresh seeds, and the state that will not give them again."""
    seeds = tuple(range(self.next_seed, self.next_seed + count))
    return dataclasses.replace(self, next_seed=self.next_seed + count), seeds

  def with_incumbent(self, incumbent: Trial, values: tuple[float, ...]) -> 'PairedState':
    """Makes a trial's program the one that all others are compared with. Open tests start anew.

    Args:
      incumbent: The trial that is kept.
      values: The metric on those of its runs that it was not picked for, oldest first.
    """
    program = original_of(incumbent)
    monitor = DriftMonitor()
    for value in values:
      monitor = monitor.add(value, self.noise)
    return dataclasses.replace(
      self.without_test(program),
      incumbent=program,
      kept=incumbent.id,
      recent=values[-MAX_RECENT:],
      monitor=monitor,
      remeasure=0,
      control_at=self.decided,
      tests=tuple(test.restarted() for test in self.tests if test.trial != program),
    )

  def gain(self, values: tuple[float, ...]) -> float | None:
    """Returns the mean of runs minus that of the incumbent's recent ones; positive is better."""
    if not self.recent or not values:
      return None
    difference = sum(values) / len(values) - sum(self.recent) / len(self.recent)
    return -difference if self.noise.objective.direction == 'minimize' else difference


def measured(objective: Objective, trial: Trial) -> tuple[tuple[int, float], ...]:
  """Returns the (seed, metric) pairs of a trial; none if it failed."""
  if trial.result.status is not Status.OK:
    return ()
  return tuple(
    (m.seed, m.metrics[objective.metric])
    for m in trial.result.measurements
    if objective.metric in m.metrics
  )
