"""Leave-one-out ablation of the edits in the best program.

The best program and, for each edit, the best program without it are trained on the same unused
seeds. An edit is kept if the 95 % confidence interval of its gain is above 0; the others are
dropped together, since each may be too small to be seen alone. What is left is trained on the same
seeds. While its loss against the best program is significant, the dropped edit with the largest
gain is restored. In the end best and remaining program are compared on the test split, on other
seeds, and all edits are kept if the remaining program is significantly worse there.

The variance of the paired differences is pooled over the edits, so that four seeds suffice:
half width = t(0.975, m (n - 1)) s / sqrt(n), for m edits and n seeds.

Every training run is an event of the ledger (`Ablated`), so an ablation that is killed resumes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from autoresearch_jax.executors import Executor, outside_trials
from autoresearch_jax.finalize.lineage import CarriedEdit, last_program, without
from autoresearch_jax.knowledge.paired_gains import (
  PairedGain,
  Scores,
  paired_differences,
  paired_gains,
)
from autoresearch_jax.ledger.events import Ablated
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.types import (
  INCONCLUSIVE,
  Budget,
  Program,
  Status,
  TrialRequest,
  test_metric,
)

FIRST_SEED, FIRST_TEST_SEED = 2**41, 2**41 + 2**20  # unused elsewhere; see FIRST_SEED of the final
MAX_FAILURES = 3  # of the machine in a row


@dataclasses.dataclass(frozen=True)
class AblationResult:
  """What the ablation found.

  Attributes:
    edits: The steps that are left.
    gains: Gain of each edit of the lineage, by its trial; None: it cannot be removed by itself.
    failing: Trials of edits without which the program has no score.
    dropped: Trials of the edits that were dropped.
    remaining: Gain of what is left over the best program, on the seeds of the ablation; None if
      nothing was dropped.
    on_test: The same on the test split and other seeds; None if there is no such split.
    note: What else one should know, a sentence or ''.
  """

  edits: tuple[CarriedEdit, ...]
  gains: Mapping[int, PairedGain | None]
  failing: tuple[int, ...]
  dropped: tuple[int, ...]
  remaining: PairedGain | None
  on_test: PairedGain | None
  note: str = ''


class AblationFailed(RuntimeError):
  """A training run failed again and again; the message has its reason."""


@dataclasses.dataclass
class Ablation:
  """Ablates the edits of a run.

  Attributes:
    ledger: Records the training runs.
    history: The run.
    executor: Trains the programs.
    budget: Budget of one training run.
    num_seeds: Training runs of each program.
    has_test: Whether there is a test split.
    say: Receives lines of text.
  """

  ledger: Ledger
  history: History
  executor: Executor
  budget: Budget
  num_seeds: int
  has_test: bool
  say: Callable[[str], None]

  def run(self, edits: Sequence[CarriedEdit]) -> AblationResult:
    """Finds the edits that carry nothing, and measures the program without them.

    Raises:
      AblationFailed: The best program has no score on these seeds.
      Unavailable: The machine failed.
    """
    best, start = edits[-1].after, edits[0].before
    ablated = {
      i: last_program(steps, start)
      for i in range(len(edits))
      if (steps := without(edits, {i})) is not None
    }
    scores = self._train([best, *ablated.values()], FIRST_SEED, False)
    if not scores[best.digest]:
      raise AblationFailed('The best program has no score on the seeds of the ablation.')
    differences = {
      i: paired_differences(scores[best.digest], scores[program.digest])
      for i, program in ablated.items()
    }
    found = paired_gains({i: values for i, values in differences.items() if values})
    for index, edit in enumerate(edits):
      self.say(f'Without trial {edit.trial}: {_outcome(found, ablated, index)}')
    dropped = {i for i, gain in found.items() if not gain.is_shown}
    dropped, remaining = self._restored(edits, dropped, found, scores[best.digest])
    failing = tuple(edits[i].trial for i in ablated if not differences[i])
    gains = {edit.trial: found.get(i) for i, edit in enumerate(edits)}
    on_test, note = None, ''
    if dropped and self.has_test:
      on_test = self._on_test(best, last_program(_steps(edits, dropped), start))
      if on_test is not None and on_test.is_loss:
        note = (
          f'Without them the program is worse on the test split ({on_test}), so none is dropped.'
        )
        dropped, remaining, on_test = set(), None, None
    steps = _steps(edits, dropped)
    trials = tuple(edits[i].trial for i in sorted(dropped))
    return AblationResult(steps, gains, failing, trials, remaining, on_test, note)

  def _restored(
    self,
    edits: Sequence[CarriedEdit],
    dropped: set[int],
    gains: Mapping[int, PairedGain],
    best: Scores,
  ) -> tuple[set[int], PairedGain | None]:
    """Restores dropped edits until what is left is not significantly worse than the best."""
    order = sorted(dropped, key=lambda i: gains[i].mean)
    while order:
      steps = without(edits, {*order})
      if steps is not None:
        program = last_program(steps, edits[0].before)
        scores = self._train([program], FIRST_SEED, False)[program.digest]
        gain = paired_gains({0: paired_differences(scores, best)}).get(0)
        if gain is not None and not gain.is_loss:
          self.say(f'Without {len(order)} of {len(edits)} edits: {gain} against the best program.')
          return {*order}, gain
      order.pop()
    return set(), None

  def _on_test(self, best: Program, remaining: Program) -> PairedGain | None:
    scores = self._train([best, remaining], FIRST_TEST_SEED, True)
    differences = paired_differences(scores[remaining.digest], scores[best.digest])
    return paired_gains({0: differences}).get(0)

  def _train(
    self, programs: Sequence[Program], first_seed: int, on_test: bool
  ) -> dict[str, dict[int, float]]:
    """Trains what is missing; returns scores by digest and seed, without those that failed."""
    known = self.history.ablations
    missing = [
      (program, first_seed + n)
      for n in range(self.num_seeds)
      for program in (programs if n % 2 == 0 else programs[::-1])  # A B B A against drift
      if first_seed + n not in known.get((program.digest, on_test), {})
    ]
    if missing:
      split = 'the test split' if on_test else 'the validation split'
      self.say(f'Ablation: {len(missing)} training runs, scored on {split}.')
    self._drive(missing[::-1], on_test)
    objective = self.history.objective
    name = test_metric(objective.metric) if on_test else objective.metric
    return {
      program.digest: {
        seed: objective.score_of(result.measurements[0].metrics[name])
        for seed, result in sorted(known.get((program.digest, on_test), {}).items())
        if first_seed <= seed < first_seed + self.num_seeds and result.measurements
      }
      for program in programs
    }

  def _drive(self, missing: list[tuple[Program, int]], on_test: bool) -> None:
    failures, reference = 0, self.history.reference
    left = [
      TrialRequest(0, program, (seed,), self.budget, on_test=on_test, reference=reference)
      for program, seed in missing
    ]
    for request, result in outside_trials(self.executor, left):
      if result.status in INCONCLUSIVE:
        failures += 1
        if failures > MAX_FAILURES:
          raise AblationFailed(f'A training run failed again: {result.reason}')
        left.append(request)
        continue
      failures = 0
      result = dataclasses.replace(result, trial=0)
      if result.status is not Status.OK:
        result = dataclasses.replace(result, measurements=())
      event = Ablated(request.program.digest, request.seeds[0], on_test, result)
      self.history.apply(self.ledger.append(event))


def _steps(edits: Sequence[CarriedEdit], dropped: set[int]) -> tuple[CarriedEdit, ...]:
  steps = without(edits, dropped)
  assert steps is not None
  return steps


def _outcome(found: Mapping[int, PairedGain], ablated: Mapping[int, Program], index: int) -> str:
  if index not in ablated:
    return 'it cannot be removed by itself, since a later edit changes the same lines.'
  if index not in found:
    return 'the program has no score, so the edit is needed.'
  gain = found[index]
  shown = 'it carries something' if gain.is_shown else 'not shown to carry anything'
  return f'the edit gains {gain}; {shown}.'
