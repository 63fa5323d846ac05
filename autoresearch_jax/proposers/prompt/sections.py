"""The sections of a prompt for the next edit, one method each, filled from the run's history."""

import dataclasses
import functools
import string
from collections.abc import Collection, Iterable

from autoresearch_jax.knowledge.outcomes import BASELINE, ProgramOutcomes
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs.constants import assignments
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.proposers.prompt import formatting
from autoresearch_jax.proposers.prompt.fitting import PromptItem, PromptSection
from autoresearch_jax.proposers.prompt.quoting import clean
from autoresearch_jax.proposers.prompt.template import fill_template, template_sections
from autoresearch_jax.types import (
  TARGET_METRIC,
  KernelSpec,
  Lesson,
  Operation,
  Program,
  Proposal,
  Spec,
  Status,
)

# Optional sections by importance: in a short prompt the last ones are dropped first.
RANKS = (
  *('questions', 'pending', 'change', 'second', 'siblings', 'lineage', 'shown', 'lessons'),
  *('related', 'incumbent', 'best', 'device', 'failed', 'others', 'recent', 'trials'),
)
# Sections that a prompt can do without, in its order.
OPTIONAL_SECTIONS = (
  *('second', 'change', 'questions', 'pending', 'lineage', 'siblings', 'shown', 'incumbent'),
  *('best', 'lessons', 'related', 'device', 'failed', 'recent', 'others'),
)
MAX_ITEMS = 40  # of a section; the others are only counted
MAX_QUESTION, MAX_LESSON = 600, 400  # characters
MAX_REASON = 3000  # characters of the failure to debug
MAX_DIFF = 1500  # characters of the diff of a shown trial
FAILURES = (
  Status.INVALID,
  Status.OOM,
  Status.DIVERGED,
  Status.CRASH,
  Status.TIMEOUT,
  Status.INFEASIBLE,
)


def contract(context: ProposalContext) -> str:
  """Returns what a program must define, for this kind of problem."""
  spec, entry = context.spec, formatting.file_name(context.parents[0].entry)
  if spec.kernel is not None:
    return fill_template('kernel_contract', entry=entry, **_kernel_values(spec.kernel))
  if spec.kind == 'strategy':
    return fill_template('strategy_contract', entry=entry)
  values = {
    'vocab_size': spec.vocab_size,
    'sequence_length': spec.sequence_length,
    'input_shape': ', '.join(map(str, spec.input_shape or ())),
    'num_classes': spec.num_classes,
    'output_shape': ', '.join(map(str, spec.output_shape or ())),
  }
  name = 'regression' if spec.is_regression else spec.kind
  kind = string.Template(template_sections('kinds')[name][1]).substitute(values)
  return fill_template('contract', entry=entry, kind=kind)


def _kernel_values(kernel: KernelSpec) -> dict[str, str]:
  """Returns what the contract of a kernel says about its inputs and what is compared."""
  inputs = []
  for each in kernel.inputs:
    bounds = '' if each.low is None else f' between {each.low:g} and {each.high:g}'
    inputs.append(f'{each.dtype}[{", ".join(map(str, each.shape))}]{bounds}')
  compared = 'outputs and gradients' if kernel.gradients else 'outputs'
  return {'inputs': '; '.join(inputs), 'compared': compared}


@dataclasses.dataclass(frozen=True)
class PromptSections:
  """The sections of one proposal's prompt.

  Attributes:
    proposal: What the strategy asks for.
    context: What is known of the run.
  """

  proposal: Proposal
  context: ProposalContext

  def all(self, *more: PromptSection, omitted: Collection[str] = ()) -> list[PromptSection]:
    """Returns all sections in their order; `more` come right after the program.

    Args:
      *more: Further sections.
      omitted: Names of OPTIONAL_SECTIONS to leave out.
    """
    optional = {
      'second': self.second,
      'change': self.change,
      'questions': self.questions,
      'pending': self.pending,
      'lineage': self.lineage,
      'siblings': self.siblings,
      'shown': self.shown,
      'incumbent': self.incumbent,
      'best': self.best,
      'lessons': self.lessons,
      'related': self.related,
      'device': self.device,
      'failed': self.failed,
      'recent': self.recent,
      'others': self.others,
    }
    return [
      self.task(),
      *self.wishes(),
      self.objective(),
      self.failure(),
      self.program(),
      *more,
      *(optional[name]() for name in OPTIONAL_SECTIONS if name not in omitted),
    ]

  @functools.cached_property
  def outcomes(self) -> ProgramOutcomes:
    return self.context.outcomes()

  @property
  def edited(self) -> int:
    """The first trial of the program that is edited."""
    return (
      self.outcomes.first_trial(self.proposal.parents[0]) if self.proposal.parents else BASELINE
    )

  def task(self) -> PromptSection:
    words = [template_sections('operations')[self.proposal.operation.value][1]]
    if guidance := self.proposal.guidance:
      known = template_sections('guidance').get(guidance)
      words.append(known[1] if known else f'Kind of edit wanted: {one_line(guidance, 80)}.')
    return make_section('task', operation='\n\n'.join(words))

  def wishes(self) -> list[PromptSection]:
    """What the user asks for, which is no data: it is to be followed. Empty without a wish."""
    context, found = self.context, []
    if context.idea:
      found.append(make_section('idea', idea=one_line(context.idea)))
    if context.hints:
      hints = '\n'.join(f'- {one_line(hint)}' for hint in context.hints)
      found.append(make_section('hints', hints=hints))
    if context.protected:
      found.append(make_section('protected', names=', '.join(f'`{n}`' for n in context.protected)))
    return found

  def objective(self) -> PromptSection:
    context, outcomes = self.context, self.outcomes
    metric, spec = context.objective.metric, context.spec
    where = '' if spec.kind == 'construction' else ' on held-out data'
    measured = f'{where} after training for exactly {spec.budget.describe()}'
    if spec.budget.target_loss is not None:
      measured = (
        f' when `{TARGET_METRIC}`{where} has come down to {spec.budget.target_loss:g}, which ends '
        f'training; a run that needs more than {spec.budget.amount:g} {spec.budget.unit} has '
        'failed, and `progress` is the used part of these,'
      )
    if spec.kind == 'kernel':
      measured = f' for {spec.budget.describe()}, if the kernel agrees with the reference,'
    if spec.kind == 'strategy':
      measured = f' over {spec.budget.amount:g} training runs of each of several hidden problems'
    words = [
      f'The metric is `{metric}`: {formatting.direction(context.objective)}. It is measured'
      f'{measured} on {_devices(spec)}.'
    ]
    if context.constraints:
      words.append(f'A trial is kept only if {" and ".join(map(str, context.constraints))}.')
    if self.proposal.fidelity < 1:
      words.append(f'This edit first trains for {self.proposal.fidelity:.3g} of that.')
    start, best = outcomes.by_trial.get(BASELINE), outcomes.incumbent
    if start and start.value is not None:
      words.append(f'The unmodified program has {formatting.value(start, context.objective)}.')
    if best is not None and best != BASELINE:
      shown = formatting.value(outcomes.by_trial[best], context.objective)
      words.append(f'The best program that was kept, that of trial {best}, has {shown}.')
    if noise := outcomes.noise:
      words.append(
        f'The standard deviation between seeds of one program is {noise:.2g}, so a difference '
        f'below about {2 * 2**0.5 * noise:.2g} between two runs shows nothing.'
      )
    return make_section('objective', objective=' '.join(words))

  def failure(self) -> PromptSection:
    """The failure to debug, as a whole. Mandatory: without it there is nothing to fix."""
    outcome = self.outcomes.by_trial.get(self.edited)
    if self.proposal.operation is not Operation.DEBUG or outcome is None:
      return _nothing('failure')
    trial = outcome.trial
    claim, reason = trial.edit.hypothesis.claim, clean(trial.result.reason)[:MAX_REASON]
    lines = [
      f'trial {trial.id}: {formatting.description(trial, trial.id)}.',
      f'Claim: {one_line(claim, formatting.MAX_CLAIM)}' if claim else '',
      f'Failed ({trial.result.status.value}): {reason or "no reason is known."}',
    ]
    return make_section(
      'failure', PromptItem('\n'.join(filter(None, lines)), trial.id), label='the failure'
    )

  def program(self) -> PromptSection:
    program, context = self.context.parents[0], self.context
    outcome, number = self.outcomes.by_trial.get(self.edited), self.edited
    words = 'It is the unmodified program.'
    if number != BASELINE:
      words = f'It is the program of trial {number}.'
    if outcome and outcome.value is not None:
      words += f' It has {formatting.value(outcome, context.objective)}.'
    files = [name for name, _ in program.files if name in context.editable]
    names = ', '.join(f'`{formatting.file_name(name)}`' for name in files) or 'none'
    words += f' Editable: {names}.'
    items = [_file(name, program.text(name), 'editable') for name in files]
    return make_section('program', *items, program=words)

  def others(self) -> PromptSection:
    program = self.context.parents[0]
    names = [name for name, _ in program.files if name not in self.context.editable]
    return make_section('others', *(_file(n, program.text(n), 'read only') for n in names))

  def second(self) -> PromptSection:
    """The other parent of a merge: as a diff, or as a whole if that is shorter."""
    if self.proposal.operation is not Operation.MERGE or len(self.context.parents) < 2:
      return _nothing('second')
    first, second = self.context.parents[:2]
    number = self.outcomes.first_trial(self.proposal.parents[1])
    change, whole = formatting.unified_diff(first, second), _whole(second)
    words = f'The program of trial {number}.'
    if number in self.outcomes.by_trial:
      words = f'The program of trial {number}, described below.'
    if len(change) < len(whole):
      words += " Lines with - are in the program to edit, lines with + are the second parent's."
      item = PromptItem(change, label='how the second parent differs')
    else:
      item = PromptItem(whole, label='the second parent, whole')
    line = [PromptItem(self._line(number), number)] if number in self.outcomes.by_trial else []
    return make_section('second', item, *line, label="the second parent's trial", second=words)

  def change(self) -> PromptSection:
    """What the failed edit changed, where the cause of the failure is likely to be."""
    if self.proposal.operation is not Operation.DEBUG:
      return _nothing('change')
    change = self._change(self.edited)
    return make_section('change', *([PromptItem(change, label='the change')] if change else []))

  def questions(self) -> PromptSection:
    asked = [self.proposal.question] if self.proposal.question else []
    asked += [question.text for question in self.context.questions]
    items = (PromptItem(f'- {one_line(text, MAX_QUESTION)}') for text in dict.fromkeys(asked))
    return make_section('questions', *items, label='questions')

  def lineage(self) -> PromptSection:
    return self._trials('lineage', self.outcomes.lineage(self.edited))

  def pending(self) -> PromptSection:
    """Edits without a result yet, so that they are not proposed again."""
    edits = self.context.pending.items()
    items = (PromptItem(f'- {formatting.edit_line(n, edit)}', n) for n, edit in edits)
    return make_section('pending', *items, label='edits')

  def siblings(self) -> PromptSection:
    children = [n for n in self.outcomes.by_trial if self.outcomes.parent(n) == self.edited]
    return self._trials('siblings', reversed(children))

  def shown(self) -> PromptSection:
    """The trials of `proposal.context`, with the diffs of their edits."""
    items = []
    for number in dict.fromkeys(map(self.outcomes.first_trial, self.proposal.context)):
      if number in self.outcomes.by_trial:
        change = self._change(number)
        line = self._line(number)
        text = f'{line}\n{change}\n' if 0 < len(change) <= MAX_DIFF else line
        items.append(PromptItem(text, number))
    return make_section('shown', *items, label='trials')

  def incumbent(self) -> PromptSection:
    best = self.outcomes.incumbent
    if best is None or best in self.outcomes.lineage(self.edited):
      return _nothing('incumbent')
    return self._trials('incumbent', self.outcomes.lineage(best))

  def best(self) -> PromptSection:
    return self._trials('best', self.outcomes.best()[:10])

  def recent(self) -> PromptSection:
    return self._trials('recent', reversed(self.outcomes.by_trial))

  def failed(self) -> PromptSection:
    every = self.outcomes.by_trial.items()
    broken = [n for n, o in every if o.value is None and o.trial.result.status in FAILURES]
    return self._trials('failed', reversed(broken))

  def lessons(self) -> PromptSection:
    memory = self.context.memory
    found = memory.lessons() if memory else ()
    return make_section(
      'lessons', *(PromptItem(lesson_line(lesson)) for lesson in found), label='lessons'
    )

  def related(self) -> PromptSection:
    """What the memory finds about the question, or else about the last edit of the program."""
    memory, query = self.context.memory, self.query()
    if memory is None or not query:
      return _nothing('related')
    found = [hypothesis.trial for hypothesis in memory.search(query, limit=8)]
    return self._trials('related', found)

  def query(self) -> str:
    """Returns what to search the memory for."""
    asked = [text for text in (self.context.idea, self.proposal.question) if text]
    asked += [f'{q.text} {" ".join(q.tags)}' for q in self.context.questions[:1]]
    outcome = self.outcomes.by_trial.get(self.edited)
    if not asked and outcome and self.edited != BASELINE:
      edit = outcome.trial.edit
      asked += [edit.description, edit.hypothesis.claim, ' '.join(edit.hypothesis.mechanisms)]
    return one_line(' '.join(asked), 1000) or ' '.join(_constants(self.context.parents[0]))

  def device(self) -> PromptSection:
    """The device, how much of it the program to edit uses, and what ran out of memory."""
    outcomes = self.outcomes
    ran = [o.trial for o in outcomes.by_trial.values() if o.trial.result.measurements]
    lines: list[str] = []
    if ran:
      lines.append(formatting.device_line(ran[-1].result.facts))
      chain = (outcomes.by_trial[number].trial for number in outcomes.lineage(self.edited))
      shown = next((trial for trial in chain if trial.result.measurements), ran[-1])
      cost = formatting.cost_line(shown.result.measurements[0].cost, self.context.spec.kind)
      kinds = formatting.dtypes_line(shown.result.facts)
      lines.append(f'trial {shown.id}: {"; ".join(filter(None, (cost, kinds)))}.')
      lines.append(one_line(str(shown.result.facts.get('devices_note', '')), 400))
      largest = max(ran, key=lambda t: t.result.measurements[0].cost.peak_bytes)
      peak = largest.result.measurements[0].cost.peak_bytes
      if peak > shown.result.measurements[0].cost.peak_bytes:
        size = formatting.size_line(largest.result.facts)
        lines.append(
          f'the largest that ran, trial {largest.id}: peak {formatting.memory_size(peak)}'
          + (f' ({size}).' if size else '.')
        )
    items = [PromptItem(f'- {line}') for line in lines if line]
    for number, outcome in reversed(outcomes.by_trial.items()):
      result = outcome.trial.result
      if result.status is Status.OOM:
        size = formatting.size_line(result.facts)
        items.append(PromptItem(f'{self._line(number)}{f" Size: {size}." if size else ""}', number))
    return make_section('device', *items, label='device facts')

  def _trials(self, key: str, numbers: Iterable[int]) -> PromptSection:
    known = [number for number in numbers if number in self.outcomes.by_trial]
    items = (PromptItem(self._line(n), n) for n in known[:MAX_ITEMS])
    return make_section(key, *items, label='trials', more=max(0, len(known) - MAX_ITEMS))

  def _line(self, number: int) -> str:
    return f'- {formatting.trial_line(number, self.outcomes)}'

  def _change(self, number: int) -> str:
    """Returns the diff of a trial's edit; '' if the parent is not known."""
    made, parent = self.outcomes.by_trial.get(number), self.outcomes.parent(number)
    before = self.outcomes.by_trial.get(parent) if parent is not None else None
    if made is None or before is None:
      return ''
    return formatting.unified_diff(before.trial.edit.program, made.trial.edit.program)


def lesson_line(lesson: Lesson) -> str:
  """Returns a lesson with its trials and its effect; derived lessons name both in their text."""
  text = f'- {one_line(lesson.text, MAX_LESSON)}'
  if not lesson.author:
    return text
  if lesson.effect is not None:
    text += f' Effect: {formatting.effect(lesson.effect, lesson.uncertainty)}.'
  trials = ', '.join(map(str, lesson.trials[:8])) + (', ...' if len(lesson.trials) > 8 else '')
  return f'{text} [{"trial" if len(lesson.trials) == 1 else "trials"} {trials}]'


def make_section(
  key: str, *items: PromptItem, label: str = '', more: int = 0, **values: object
) -> PromptSection:
  """Makes a section of `templates/sections.md`, with the rank of its key.

  Args:
    key: Key of the section in the file.
    *items: Its data, most important first.
    label: Label of the data block that items share.
    more: Number of further items that exist.
    **values: Placeholders of the section's text.
  """
  title, body = template_sections('sections')[key]
  rank = RANKS.index(key) + 1 if key in RANKS else 0
  return PromptSection(title, string.Template(body).substitute(values), items, rank, label, more)


def _nothing(key: str) -> PromptSection:
  """Returns an empty optional section, which is left out."""
  return dataclasses.replace(make_section(key, second=''), items=(), rank=len(RANKS))


def _file(name: str, text: str, use: str) -> PromptItem:
  shown = clean(text)
  odd = '' if shown == text.replace('\r\n', '\n') else ', without characters that do not print'
  return PromptItem(shown.rstrip('\n'), label=f'file {formatting.file_name(name)}, {use}{odd}')


def _whole(program: Program) -> str:
  return '\n\n'.join(
    f'# file {formatting.file_name(n)}\n{clean(text)}' for n, text in program.files
  )


def _devices(spec: Spec) -> str:
  return f'{spec.num_devices} {spec.platform} device{"s" if spec.num_devices > 1 else ""}'


def _constants(program: Program) -> list[str]:
  """Returns the names of the entry's ALL_CAPS constants."""
  return [constant.name for constant in assignments(program.text()) if not constant.nested]
