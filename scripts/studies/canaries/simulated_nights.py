"""Whether canaries measure the rates that a run truly has, in simulated A/A and A/B nights.

  python scripts/studies/canaries/simulated_nights.py --nights=40 --runs=300 --share=0.03

Each night is a run of the controller with `greedy` on a made-up problem whose noise is 1. In A/A
nights no edit has an effect; in A/B nights one in five lowers the loss by `--effect`. The defences
refuse an exploit with the probability `--defence`. So the rates of the run's own trials are known,
and those that its canaries measure are compared with them.
"""

import dataclasses
import hashlib
import re

import numpy as np
from absl import app, flags

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.benchmark.simulations import Instance
from autoresearch_jax.config import CanaryConfig, Config
from autoresearch_jax.ledger.canaries import IMPROVEMENT, PLACEBO
from autoresearch_jax.ledger.events import Planted, Record, Started
from autoresearch_jax.ledger.history import History
from autoresearch_jax.programs.exploits import EXPLOITS
from autoresearch_jax.report.canaries import MeasuredRate, canary_rates
from autoresearch_jax.research.actions import End, Log, Propose, Settings, Submit
from autoresearch_jax.research.controller import Controller
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.types import (
  Budget,
  Cost,
  Decision,
  Edit,
  Hypothesis,
  Measurement,
  Objective,
  Program,
  Result,
  Spec,
  Status,
  to_builtins,
)

FLAGS = flags.FLAGS
flags.DEFINE_integer('nights', 40, 'Nights of each kind with each rule.', lower_bound=1)
flags.DEFINE_float('runs', 300.0, 'Training runs of a night.')
flags.DEFINE_float('share', 0.03, 'Share of the training runs for canaries.')
flags.DEFINE_float('effect', 3.0, 'Effect of an improvement, in seed standard deviations.')
flags.DEFINE_float('defence', 0.9, 'Probability with which an exploit is refused.')
flags.DEFINE_list('rules', ['strict', 'noise', 'sequential', 'paired'], 'Acceptance rules.')

START = Program(
  (('model.py', 'LOSS = 100.0\n\n\ndef init(): ...\ndef train_step(): ...\ndef predict(): ...\n'),),
  'model.py',
)


@dataclasses.dataclass
class Night(Instance):
  """A problem with known effects.

  Attributes:
    seed: Of the noise.
    good: Share of the edits that have an effect.
    effect: Their effect.
    defence: Probability with which an exploit is refused.
  """

  seed: int
  good: float
  effect: float
  defence: float

  @property
  def objective(self):
    return Objective('val_loss', 'minimize')

  @property
  def start(self):
    return START

  @property
  def optimum(self):
    return 0.0

  @property
  def spec(self):
    return Spec('supervised', 'cpu', 1, Budget(1.0, 'steps'), input_shape=(1,), num_classes=2)

  def propose(self, proposal, context, rng):
    del proposal
    text = re.sub(r'# .*\n', '', context.parents[0].text())
    if rng.random() < self.good:
      text = re.sub(r'LOSS = (\S+)', lambda m: f'LOSS = {float(m[1]) - self.effect!r}', text)
    text = f'# {rng.integers(2**62)}\n{text}'
    return Edit(context.parents[0].with_text(text), 'an edit', Hypothesis('It may help.'))

  def measure(self, request):
    text = request.program.text()
    exploit = any(exploit.code.strip() in text for exploit in EXPLOITS)
    if exploit and self._rng(request.trial, 'defence').random() < self.defence:
      return Result(request.trial, Status.INVALID, 'It is refused.')
    loss = self.value(request.program)
    runs = tuple(
      Measurement(
        seed,
        {
          'val_loss': loss + self._rng(request.program.digest, request.budget.amount, seed).normal()
        },
        Cost(total_seconds=1.0),
      )
      for seed in request.seeds
    )
    return Result(request.trial, Status.OK, '', request.program.digest, measurements=runs)

  def value(self, program):
    return float(re.findall(r'LOSS = (\S+)', program.text())[0])

  def _rng(self, *about):
    made = hashlib.blake2b(repr((self.seed, *about)).encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(made))


def night(rule, instance, runs, share):
  """Runs a night; returns its history, and the trial before which each kind was first planted."""
  settings = Settings(
    objective=instance.objective,
    program=instance.start,
    spec=instance.spec,
    editable=('model.py',),
    seed=instance.seed,
    max_training_runs=runs,
    max_duplicates=float('inf'),
    canaries=CanaryConfig(share=share, gain=instance.effect),
    isolated=True,
  )
  controller = Controller(STRATEGIES.make('greedy'), ACCEPTANCE.make(rule), settings)
  config = Config(
    'night', 'none', 'none', settings.editable, 'model.py', 'val_loss', settings.spec.budget, 'cpu',
    direction='minimize',
  )  # fmt: skip
  controller.apply(Record(0, 0.0, Started(to_builtins(dataclasses.asdict(config)), 'night')))
  events, waiting, first = 1, [], {}
  while not isinstance(action := controller.next_action(), End):
    match action:
      case Log(event=event):
        controller.apply(Record(events, 0.0, event))
        events += 1
        if isinstance(event, Planted):
          first.setdefault(event.kind, controller.history.next_trial)
      case Propose():
        controller.answer(instance.propose(action.proposal, action.context, action.rng))
      case Submit(request=request):
        waiting.append(instance.measure(request))
      case _:
        controller.deliver([waiting.pop(0)])
  return controller.history, first


def true_rates(nights: list[tuple[History, dict]], instance: Night) -> tuple[MeasuredRate, ...]:
  """Returns which of the trials' own programs were kept: without an effect, and improvements.

  Programs count from the first canary of their kind on, since an incumbent that was picked for its
  score becomes harder to beat.
  """
  kept = {False: [], True: []}
  for history, first in nights:
    for program in history.program_trials:
      if not program:
        continue
      before = history.parent(program)
      assert before is not None
      parent = history.edits[history.original(before)].program
      improved = instance.value(history.edits[program].program) < instance.value(parent)
      if program < first.get(IMPROVEMENT if improved else PLACEBO, float('inf')):
        continue
      verdicts = [history.trials[n].verdict for n in history.program_trials[program]]
      decisions = [verdict.decision for verdict in verdicts if verdict is not None]
      kept[improved].append(Decision.KEEP in decisions)
  return tuple(MeasuredRate(sum(kept[i]), len(kept[i])) for i in (False, True))


def main(_):
  print('rule        night  rate        known                   canaries, with 95 % interval')
  for rule in FLAGS.rules:
    for name, good in (('A/A', 0.0), ('A/B', 0.2)):
      instances = [Night(n, good, FLAGS.effect, FLAGS.defence) for n in range(FLAGS.nights)]
      nights = [night(rule, instance, FLAGS.runs, FLAGS.share) for instance in instances]
      histories = [history for history, _ in nights]
      false_keeps, power = true_rates(nights, instances[0])
      found = canary_rates(histories)
      assert found is not None
      rows = [('false keeps', false_keeps, found.false_keeps)]
      if power.total:
        rows.append(('power', power, found.power))
      rows.append(('catches', FLAGS.defence, found.catches))
      for what, known, measured in rows:
        rate = known.hits / known.total if isinstance(known, MeasuredRate) else known
        of = f' of {known.total}' if isinstance(known, MeasuredRate) else ''
        low, high = measured.interval
        inside = 'inside' if low <= rate <= high else 'OUTSIDE'
        truth = f'{rate:.1%}{of}'
        counted = f'{measured.hits} of {measured.total}, {low:.1%} to {high:.1%}, {inside}'
        print(f'{rule:<11} {name:<6} {what:<11} {truth:<18} {counted}')
      shares = [h.canaries.training_runs / h.training_runs for h in histories]
      trials = [h.canaries.trials / len(h.trials) for h in histories]
      print(
        f'{rule:<11} {name:<6} cost        {np.mean(shares):.1%} of the training runs (at most '
        f'{max(shares):.1%} in a night), {np.mean(trials):.1%} of the trials'
      )


if __name__ == '__main__':
  app.run(main)
