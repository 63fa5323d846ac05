"""What each section of the prompt is worth: runs without it, beside runs with the whole prompt.

  python prompt_ablation.py --config=digits --config.proposer=gemini --dry_run
  python prompt_ablation.py --config=digits --config.proposer=gemini

Needs a key, or a local server with the proposer openai. For each section there is one run of
--proposals trials after the baseline, whose prompts leave the section out, and one run with the
whole prompt. The same command goes on after an interruption. Prints a Markdown table:

- accepted: proposals that the model wrote and the run kept;
- valid: proposals that the model wrote and that trained to the end. Of the others the fallback
  wrote some, since no answer of the model could be used;
- gain per dollar: how far the best kept program is better than the baseline, by the metric, divided
  by what all calls of the run cost.

Rates are of all proposals, with 95 % intervals (Wilson). With 20 proposals they are wide; a section
that changes little needs more. --dry_run prints the plan and the most it can cost, without a key.
"""

import dataclasses
import math
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.run import ERRORS, research
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.proposers.llm.model_proposer import ModelProposer
from autoresearch_jax.proposers.prompt import OPTIONAL_SECTIONS
from autoresearch_jax.types import RERUNS, Status

_CONFIG = command.define_config('Config of the runs, with the proposer and its options.')
_PROPOSALS = flags.DEFINE_integer('proposals', 20, 'Proposals of each run.', 1)
_SECTIONS = flags.DEFINE_list('sections', list(OPTIONAL_SECTIONS), 'Sections to leave out.')
_DOLLARS = flags.DEFINE_float('max_dollars', 1.0, 'The most that the calls of a run may cost.', 0.0)
_WORKDIR = flags.DEFINE_string('workdir', 'runs/prompt_ablation', 'Folder for the runs.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print the plan and the most it can cost.')

WHOLE = 'whole prompt'
Z = 1.96  # of a 95 % interval


@dataclasses.dataclass(frozen=True)
class Arm:
  """The outcome of one run.

  Attributes:
    name: The section that was left out, or WHOLE.
    proposals: Trials after the baseline, without reruns.
    accepted: Those that the model wrote and the run kept.
    valid: Those that the model wrote and that trained to the end.
    gain: Improvement of the best kept program over the baseline, in the metric's unit.
    dollars: Cost of all calls.
  """

  name: str
  proposals: int
  accepted: int
  valid: int
  gain: float
  dollars: float

  def row(self) -> str:
    per_dollar = f'{self.gain / self.dollars:.3g}' if self.dollars else 'n/a'
    return (
      f'| {self.name} | {self.proposals} | {_rate(self.accepted, self.proposals)} | '
      f'{_rate(self.valid, self.proposals)} | {self.gain:.4g} | {self.dollars:.4f} | {per_dollar} |'
    )


def measured(name: str, history: History) -> Arm:
  """Returns the outcome of a run."""
  score = history.objective.score
  trials = [
    trial for trial in history.trials.values()
    if trial.id != BASELINE and trial.proposal.operation not in RERUNS
  ]  # fmt: skip
  by_model = [trial for trial in trials if trial.edit.author]
  kept = [trial for trial in trials if trial.id in history.kept_programs]
  scores = [value for trial in kept if (value := score(trial)) is not None]
  baseline = score(history.trials[BASELINE])
  gain = max(0.0, max(scores) - baseline) if scores and baseline is not None else 0.0
  return Arm(
    name=name,
    proposals=len(trials),
    accepted=sum(trial in kept for trial in by_model),
    valid=sum(trial.result.status is Status.OK for trial in by_model),
    gain=gain,
    dollars=history.spend.dollars,
  )


def arm_config(config: Config, name: str) -> Config:
  """Returns the config of one run."""
  omitted = [] if name == WHOLE else [name]
  return dataclasses.replace(
    config,
    search=dataclasses.replace(config.search, max_trials=_PROPOSALS.value + 1),
    final_seeds=0,  # only the search is measured
    proposer_options={
      **config.proposer_options, 'omitted_sections': omitted, 'max_dollars': _DOLLARS.value
    },
  )  # fmt: skip


def plan(config: Config, names: Sequence[str]) -> str:
  """Returns what will be run, and the most it can cost."""
  kind = PROPOSERS.get(config.proposer)
  cap = f'${_DOLLARS.value:.2f} each, ${_DOLLARS.value * len(names):.2f} together'
  models = config.proposer_options.get('models') or kind.models
  return (
    f'{len(names)} runs of {_PROPOSALS.value} proposals of {config.name} by {config.proposer} '
    f'({", ".join(models)}): {", ".join(names)}.\nCalls cost at most {cap}; a run whose calls '
    f'reach that goes on with the fallback. Folder: {_WORKDIR.value}.'
  )


def checked(config: Config, sections: Sequence[str]) -> None:
  """Raises ConfigError for a proposer that has no prompt, or unknown sections."""
  if not issubclass(PROPOSERS.get(config.proposer), ModelProposer):
    raise ConfigError(
      f'The proposer {config.proposer!r} asks no model by itself; set --config.proposer=gemini or '
      '--config.proposer=openai.'
    )
  if unknown := sorted(set(sections) - set(OPTIONAL_SECTIONS)):
    raise ConfigError(
      f'There is no optional section {unknown[0]!r}; there are: {", ".join(OPTIONAL_SECTIONS)}.'
    )
  if not _DOLLARS.value:
    print('--max_dollars is 0, so calls have no limit in dollars.', file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
  del arguments
  try:
    config = command.config_of(_CONFIG)
    checked(config, _SECTIONS.value)
    names = [WHOLE, *_SECTIONS.value]
    print(plan(config, names))
    if _DRY_RUN.value:
      return 0
    arms = []
    for name in names:
      folder = pathlib.Path(_WORKDIR.value) / name.replace(' ', '_')
      research(arm_config(config, name), folder)
      arms.append(measured(name, read_history(folder)))
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  print('\n| left out | proposals | accepted | valid | gain | dollars | gain per dollar |')
  print('|---' * 7 + '|')
  for arm in arms:
    print(arm.row().replace(f'| {WHOLE} |', '| nothing |'))
  return 0


def _rate(count: int, number: int) -> str:
  """Returns a rate with its interval (Wilson 1927, https://doi.org/10.2307/2276774)."""
  if not number:
    return 'n/a'
  share, weight = count / number, 1 + Z**2 / number
  middle = (share + Z**2 / (2 * number)) / weight
  half = Z / weight * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
  return f'{share:.0%} ({max(0.0, middle - half):.0%} to {min(1.0, middle + half):.0%})'


if __name__ == '__main__':
  command.run(main)
