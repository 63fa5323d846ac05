"""Fraction of a run in which the device trains, with a slow language model as proposer.

  autoresearch measure utilization --config=configs/digits.py:seconds --config.budget.amount=20
  autoresearch measure utilization --config=configs/gpt_small.py:cpu --trials=6 --prefetch=1,0

Carries out real runs, tracer and runner included, with the proposer `gemini` and Google's SDK. The
model is a server on 127.0.0.1 that takes --share of the budget to answer and changes one constant.
By default there is one run with prefetched trials, and one without (config.search.prefetch = 0), in
which a trial is proposed after the previous result, as in the original.

Prints a Markdown table from the ledgers. Busy means training or evaluating. The fraction is of the
wall-clock time between the first result (the baseline's) and the last, and also since the second
trial began. The rest is divided into compiling, tracing, proposing and waiting. Compilation takes a
fixed time, so use a budget of 20 s or more.
"""

import dataclasses
import json
import os
import pathlib
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.run import ERRORS, research
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import Edited, Finished, Record, Released
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.testing import loopback_model

_CONFIG = command.define_config('Config of the runs.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder for the runs; by default a temporary one.')
_SHARE = flags.DEFINE_float('share', 0.2, 'Time of an answer, as a fraction of the budget.', 0.0)
_TRIALS = flags.DEFINE_integer('trials', 9, 'Trials per run, including the baseline.', 3)
_PREFETCH = flags.DEFINE_list(
  'prefetch', ['1', '0'], 'Values of config.search.prefetch, one run each.'
)

MODEL = 'loopback'
CONSTANT = re.compile(r'^([A-Z][A-Z0-9_]*) = (\d*\.\d+(?:e-?\d+)?)(.*)$', re.M)
FACTORS = (1.1, 1.6)  # range of the factor by which a constant is multiplied or divided


@dataclasses.dataclass
class ConstantEditor:
  """A model that changes one constant of the program in its prompt.

  Attributes:
    seconds: Time that it takes to answer.
    generator: Its randomness.
  """

  seconds: float
  generator: random.Random = dataclasses.field(default_factory=lambda: random.Random(0))

  def __call__(self, request: dict[str, Any]) -> loopback_model.Step:
    answer = loopback_model.answer(json.dumps(self.edit(loopback_model.turn_texts(request)[0])))
    return loopback_model.delayed(self.seconds, answer)

  def edit(self, prompt: str) -> dict[str, Any]:
    """Returns an answer in the form of `proposers.llm.answer.SCHEMA`."""
    shown: dict[str, re.Match[str]] = {}
    for match in CONSTANT.finditer(prompt):  # the first program in the prompt is the one to edit
      if float(match[2]):
        shown.setdefault(match[1], match)
    match = shown[self.generator.choice(sorted(shown))]
    factor = self.generator.uniform(*FACTORS) ** self.generator.choice((-1, 1))
    value = f'{float(match[2]) * factor:.6f}'
    return {
      'description': f'{match[1]}: {match[2]} -> {value}',
      'hypothesis': {
        'claim': f'{match[1]} can be improved.',
        'mechanisms': ['constants'],
        'predicted_change': -0.001,
        'uncertainty': 0.01,
      },
      'edits': [
        {
          'file': 'model.py',
          'search': match[0],
          'replace': f'{match[1]} = {value}{match[3]}',
        }
      ],
      'files': [],
    }


@dataclasses.dataclass(frozen=True)
class RunTimes:
  """Times of a run after the baseline's result, in seconds.

  Attributes:
    prefetch: Trials prepared ahead.
    trials: Trials after the baseline.
    by_model: How many of them the model proposed.
    wall: Wall-clock time since the baseline's result.
    since_second: Wall-clock time since the second trial began.
    training: Time of training.
    evaluation: Time of evaluation.
    compilation: Time of compilation.
  """

  prefetch: int
  trials: int
  by_model: int
  wall: float
  since_second: float
  training: float
  evaluation: float
  compilation: float

  @property
  def busy(self) -> float:
    return self.training + self.evaluation

  def row(self) -> str:
    rest = self.wall - self.busy - self.compilation
    return (
      f'| {self.prefetch} | {self.trials} | {self.by_model} | {self.wall:.1f} | '
      f'{self.training:.1f} | {self.evaluation:.1f} | {self.compilation:.1f} | {rest:.1f} | '
      f'{self.busy / self.wall:.1%} | {self.busy / self.since_second:.1%} |'
    )


def measured(prefetch: int, records: Sequence[Record]) -> RunTimes:
  history = History.of(records)
  ends = {r.event.trial: r.time for r in records if isinstance(r.event, Finished)}
  begins = {
    r.event.trial: r.time
    for r in records
    if isinstance(r.event, Released) or (isinstance(r.event, Edited) and not r.event.prefetched)
  }
  later = [trial for trial in ends if trial != BASELINE]
  if not later:
    raise ConfigError('The run has no trial after the baseline; its ledger says why.')
  costs = [m.cost for trial in later for m in history.results[trial].measurements]
  last = max(ends.values())
  return RunTimes(
    prefetch=prefetch,
    trials=len(later),
    by_model=sum(bool(history.edits[trial].author) for trial in later),
    wall=last - ends[BASELINE],
    since_second=last - min(begins[trial] for trial in later),
    training=sum(cost.training_seconds for cost in costs),
    evaluation=sum(cost.evaluate_seconds for cost in costs),
    compilation=sum(cost.compile_seconds for cost in costs),
  )


def run(config: Config, prefetch: int, directory: pathlib.Path) -> RunTimes:
  """Carries out one run with a model server of its own."""
  with loopback_model.serving(ConstantEditor(_SHARE.value * config.budget.amount)) as server:
    changed = dataclasses.replace(
      config,
      search=dataclasses.replace(config.search, max_trials=_TRIALS.value, prefetch=prefetch),
      final_seeds=0,  # only the search is measured
      proposer='gemini',
      proposer_options={
        'models': [MODEL],
        'prices': [[MODEL, 0.0, 0.0]],
        'base_url': server.url,
        'lessons_interval': 0,
      },
    )
    research(changed, directory)
  with Ledger.read(directory / 'ledger.db') as ledger:
    return measured(prefetch, list(ledger.records()))


def main(arguments: Sequence[str]) -> int:
  del arguments
  os.environ['GEMINI_API_KEY'] = loopback_model.KEY  # a dummy, so that no real key is used
  try:
    config = command.config_of(_CONFIG)
    if config.budget.unit != 'seconds':
      raise ConfigError(f'config.budget.unit is {config.budget.unit}; it must be seconds here.')
    with tempfile.TemporaryDirectory() as temporary:
      folder = pathlib.Path(_WORKDIR.value or temporary)
      rows = [run(config, int(a), folder / f'prefetch_{a}') for a in _PREFETCH.value]
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  print(
    f'\n{config.name}: {config.budget.amount:g} s of training a trial, an answer takes '
    f'{_SHARE.value:.0%} of that.\n'
  )
  print('| prefetch | trials | by the model | wall s | training | evaluation | compiling | rest | '
        'busy | busy since the second began |')  # fmt: skip
  print('|---' * 10 + '|')
  for row in rows:
    print(row.row())
  return 0


if __name__ == '__main__':
  command.run(main)
