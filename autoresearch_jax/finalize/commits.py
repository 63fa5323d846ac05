"""The commits of a branch: each with its message, and with a program that traces by itself."""

import dataclasses
import pathlib
import re
import tempfile
import textwrap
from collections.abc import Iterable, Sequence

from scipy import stats

from autoresearch_jax.config import Config
from autoresearch_jax.finalize.ablation import AblationResult
from autoresearch_jax.finalize.lineage import CarriedEdit
from autoresearch_jax.knowledge.hypotheses import effect_of
from autoresearch_jax.knowledge.paired_gains import LEVEL
from autoresearch_jax.knowledge.program_results import ProgramResults
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs.check_task import EVALUATION_BATCH
from autoresearch_jax.report.final_comparison import conclusion
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import Program, Spec, Status

WIDTH, SUBJECT = 72, 72  # columns of a commit message
# Beginnings of lines that `git am` takes for a patch or a header. Models write parts of messages.
GIT_MARKS = re.compile(r'^(?=---|diff -|Index: |From[ :]|Date: |Subject: )', re.MULTILINE)


class FinalizeError(ValueError):
  """The changes cannot be written; the message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Step:
  """One commit.

  Attributes:
    program: The program after it.
    message: Its message: a subject, an empty line, and the body.
  """

  program: Program
  message: str

  @property
  def subject(self) -> str:
    return self.message.partition('\n')[0]


def steps_of(
  history: History,
  edits: Sequence[CarriedEdit],
  original: Program,
  ablation: AblationResult | None,
) -> tuple[Step, ...]:
  """Returns the commits from the user's program to the best one.

  Args:
    history: The run.
    edits: The edits to commit.
    original: The user's program, without the constants of the run's config.
    ablation: What the ablation found, if there was one.
  """
  results = ProgramResults(history.objective)
  for trial in history.trials.values():
    results.add(trial)
  steps = [Step(edit.after, _message(history, edit, results, ablation)) for edit in edits]
  baseline = history.edits[BASELINE].program
  if original != baseline:
    constants = ', '.join(f'{name} = {value!r}' for name, value in history.config.constants.items())
    body = f'The run {history.config.name} began with these constants: {constants}.'
    steps.insert(0, Step(baseline, _text('Set the constants of the experiment', [body], [])))
  if edits and (closing := _closing(history, ablation)):
    head, _, trailers = steps[-1].message.rpartition('\n\n')
    text = f'{head}\n\n{textwrap.fill(closing, WIDTH)}\n\n{trailers}'
    steps[-1] = Step(steps[-1].program, text)
  return tuple(steps)


def _closing(history: History, ablation: AblationResult | None) -> str:
  """Returns what all edits together gain, or what is left of them after an ablation."""
  if ablation is None or not ablation.dropped:
    found = conclusion(history)
    return f'All edits together: {found}' if found else ''
  names = ', '.join(str(trial) for trial in ablation.dropped)
  on_test = f', and {ablation.on_test} on the test split' if ablation.on_test is not None else ''
  return (
    f'Left out, since an ablation did not show that they carry anything: the edits of trials '
    f'{names}. Without them the program differs from the best one by {ablation.remaining}{on_test} '
    f'in {history.objective.metric}; above 0 is better.'
  )


def require_traceable(steps: Iterable[Step], config: Config, spec: Spec) -> None:
  """Traces the program of each commit in the sandbox. Raises FinalizeError, SandboxError."""
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
    tracer = TracerClient(config.limits, (), pathlib.Path(scratch))
    try:
      for step in steps:
        out = pathlib.Path(scratch) / 'artifact'
        traced = tracer.trace(step.program, spec, EVALUATION_BATCH, out)
        if traced.status is not Status.OK:
          raise FinalizeError(
            f'The program after the commit {step.subject!r} does not trace: {traced.reason}'
          )
    finally:
      tracer.close()


def _message(
  history: History,
  edit: CarriedEdit,
  results: ProgramResults,
  ablation: AblationResult | None,
) -> str:
  made = history.edits[edit.trial]
  paragraphs = [made.hypothesis.claim]
  paragraphs += [f'Repairs: {history.edits[t].description}.' for t in edit.trials[:-1]]
  kept = '' if edit.trial in history.kept_programs else ' It was not kept by itself.'
  paragraphs.append(measured(history, edit.trial, results) + kept)
  gain = ablation.gains.get(edit.trial) if ablation is not None else None
  if gain is not None:
    paragraphs.append(
      f'Ablation: the best program is better with this edit than without it by '
      f'{gain.mean:+.6f} ± {gain.half_width:.6f} {history.objective.metric} ({LEVEL:.0%} '
      f'interval, {gain.pairs} paired seeds).'
    )
  trailers = [f'Trial: {trial}' for trial in edit.trials]
  trailers.append(f'Run: {history.config.name}')
  if made.hypothesis.mechanisms:
    trailers.insert(0, f'Mechanisms: {one_line(", ".join(made.hypothesis.mechanisms))}')
  return _text(made.description, paragraphs, trailers)


def measured(history: History, trial: int, results: ProgramResults) -> str:
  """Returns what an edit changed, for instance 'Measured: val_loss 0.3 -> 0.2, ...'."""
  program = results.by_trial.get(trial)
  parent = results.parent(program) if program is not None else None
  if program is None or parent is None or not program.runs or not parent.runs:
    return ''
  metric = history.objective.metric
  effect, deviation = effect_of(program, parent, results.noise)
  before, after = map(history.objective.score_of, (parent.mean, program.mean))
  text = f'Measured: {metric} {before:.6f} -> {after:.6f}, a gain of {effect:+.6f}'
  if deviation is not None:
    half = float(stats.t.ppf((1 + LEVEL) / 2, results.degrees_of_freedom)) * deviation
    text += f' ± {half:.6f} ({LEVEL:.0%} interval'
  else:
    text += ' (no interval is known'
  return f'{text}; {program.runs} and {parent.runs} runs).'


def _text(subject: str, paragraphs: Iterable[str], trailers: Iterable[str]) -> str:
  whole = one_line(subject, 1000) or 'Edit the program'
  whole = whole[0].upper() + whole[1:]
  subject = one_line(whole, SUBJECT)
  paragraphs = paragraphs if subject == whole else [f'{whole}.', *paragraphs]
  filled = (textwrap.fill(one_line(text, 1000), WIDTH) for text in paragraphs if text)
  body = [GIT_MARKS.sub(' ', text) for text in filled]
  parts = [subject, *body, '\n'.join(trailers)]
  return '\n\n'.join(part for part in parts if part) + '\n'
