"""What a prompt says to whoever writes the next edit: one function for each of its sections."""

import dataclasses
import functools
import string
from collections.abc import Iterable

from autoresearch_jax.knowledge.outcomes import BASELINE, ProgramOutcomes
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs.constants import assignments
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.proposers.prompt import formatting
from autoresearch_jax.proposers.prompt.budget import Item, Section
from autoresearch_jax.proposers.prompt.fill import chapters, filled
from autoresearch_jax.proposers.prompt.quoting import clean
from autoresearch_jax.types import Lesson, Operation, Program, Proposal, Spec, Status

# Sections by how soon they go when there is no room: the last ones first.
RANKS = (
  *('questions', 'underway', 'change', 'second', 'siblings', 'lineage', 'shown', 'lessons', 'near'),
  *('incumbent', 'best', 'device', 'failed', 'others', 'recent', 'trials'),
)
MOST = 40  # items of a section that are looked at at all
QUESTION, LESSON = 600, 400  # characters at most
REASON = 3000  # characters of the failure that is to be mended
CHANGE = 1500  # characters of the change that a shown trial comes with
FAILURES = (Status.INVALID, Status.OOM, Status.DIVERGED, Status.CRASH, Status.TIMEOUT)


def contract(context: ProposalContext) -> str:
  """What a program must define, for this kind of problem."""
  spec = context.spec
  places = {
    'vocab_size': spec.vocab_size,
    'sequence_length': spec.sequence_length,
    'input_shape': ', '.join(map(str, spec.input_shape or ())),
    'num_classes': spec.num_classes,
    'output_shape': ', '.join(map(str, spec.output_shape or ())),
  }
  kind = string.Template(chapters('kinds')[spec.kind][1]).substitute(places)
  return filled('contract', entry=formatting.name_of(context.parents[0].entry), kind=kind)


@dataclasses.dataclass(frozen=True)
class Sections:
  """The sections of one proposal's prompt."""

  proposal: Proposal
  context: ProposalContext

  def all(self, *more: Section) -> list[Section]:
    """In the order in which they are read; `more` come right behind the program."""
    return [
      self.task(),
      self.objective(),
      self.failure(),
      self.program(),
      *more,
      self.second(),
      self.change(),
      self.questions(),
      self.underway(),
      self.lineage(),
      self.siblings(),
      self.shown(),
      self.incumbent(),
      self.best(),
      self.lessons(),
      self.near(),
      self.device(),
      self.failed(),
      self.recent(),
      self.others(),
    ]

  @functools.cached_property
  def outcomes(self) -> ProgramOutcomes:
    return self.context.outcomes()

  @property
  def edited(self) -> int:
    """The trial whose program is edited."""
    return (
      self.outcomes.first_trial(self.proposal.parents[0]) if self.proposal.parents else BASELINE
    )

  def task(self) -> Section:
    words = [chapters('operations')[self.proposal.operation.value][1]]
    if guidance := self.proposal.guidance:
      known = chapters('guidance').get(guidance)
      words.append(known[1] if known else f'Kind of edit wanted: {one_line(guidance, 80)}.')
    return section('task', operation='\n\n'.join(words))

  def objective(self) -> Section:
    context, outcomes = self.context, self.outcomes
    metric, spec = context.objective.metric, context.spec
    where = '' if spec.kind == 'construction' else ' on held-out data'
    words = [
      f'The metric is `{metric}`: {formatting.direction(context.objective)}. It is measured{where} '
      f'after training for exactly {_budget(spec)} on {_devices(spec)}.'
    ]
    if self.proposal.fidelity < 1:
      words.append(f'This edit trains for {self.proposal.fidelity:.3g} of that at first.')
    start, best = outcomes.by_trial.get(BASELINE), outcomes.incumbent
    if start and start.value is not None:
      words.append(f'The unmodified program has {formatting.value_of(start, context.objective)}.')
    if best is not None and best != BASELINE:
      shown = formatting.value_of(outcomes.by_trial[best], context.objective)
      words.append(f'The best program that was kept, of trial {best}, has {shown}.')
    if noise := outcomes.noise:
      words.append(
        f'Runs of one program differ by a standard deviation of {noise:.2g} between seeds, so a '
        f'difference below about {2 * 2**0.5 * noise:.2g} between two runs shows nothing.'
      )
    return section('objective', objective=' '.join(words))

  def failure(self) -> Section:
    """Of the program to repair, whole: there is nothing to mend without it."""
    outcome = self.outcomes.by_trial.get(self.edited)
    if self.proposal.operation is not Operation.DEBUG or outcome is None:
      return _nothing('failure')
    trial = outcome.trial
    claim, reason = trial.edit.hypothesis.claim, clean(trial.result.reason)[:REASON]
    lines = [
      f'trial {trial.id}: {formatting.described(trial, trial.id)}.',
      f'Claim: {one_line(claim, formatting.CLAIM)}' if claim else '',
      f'Failed ({trial.result.status.value}): {reason or "no reason is known."}',
    ]
    return section('failure', Item('\n'.join(filter(None, lines)), trial.id), label='the failure')

  def program(self) -> Section:
    program, context = self.context.parents[0], self.context
    outcome, number = self.outcomes.by_trial.get(self.edited), self.edited
    words = 'It is the program the search started from.'
    if number != BASELINE:
      words = f'It is the program of trial {number}.'
    if outcome and outcome.value is not None:
      words += f' It has {formatting.value_of(outcome, context.objective)}.'
    files = [name for name, _ in program.files if name in context.editable]
    names = ', '.join(f'`{formatting.name_of(name)}`' for name in files) or 'none'
    words += f' Editable: {names}.'
    items = [_file(name, program.text(name), 'editable') for name in files]
    return section('program', *items, program=words)

  def others(self) -> Section:
    program = self.context.parents[0]
    names = [name for name, _ in program.files if name not in self.context.editable]
    return section('others', *(_file(n, program.text(n), 'read only') for n in names))

  def second(self) -> Section:
    """A merge's other parent, as what it has different, or whole where that is shorter."""
    if self.proposal.operation is not Operation.MERGE or len(self.context.parents) < 2:
      return _nothing('second')
    first, second = self.context.parents[:2]
    number = self.outcomes.first_trial(self.proposal.parents[1])
    change, whole = formatting.changed(first, second), _whole(second)
    said = f'The program of trial {number}.'
    if number in self.outcomes.by_trial:
      said = f'The program of trial {number}, described below.'
    if len(change) < len(whole):
      said += " Lines with - are in the program to edit, lines with + are the second parent's."
      item = Item(change, label='how the second parent differs')
    else:
      item = Item(whole, label='the second parent, whole')
    line = [Item(self._line(number), number)] if number in self.outcomes.by_trial else []
    return section('second', item, *line, label="the second parent's trial", second=said)

  def change(self) -> Section:
    """What the failed edit did, which is where to look for the failure."""
    if self.proposal.operation is not Operation.DEBUG:
      return _nothing('change')
    change = self._change(self.edited)
    return section('change', *([Item(change, label='the change')] if change else []))

  def questions(self) -> Section:
    asked = [self.proposal.question] if self.proposal.question else []
    asked += [question.text for question in self.context.questions]
    items = (Item(f'- {one_line(text, QUESTION)}') for text in dict.fromkeys(asked))
    return section('questions', *items, label='questions')

  def lineage(self) -> Section:
    return self._trials('lineage', self.outcomes.lineage(self.edited))

  def underway(self) -> Section:
    """Edits whose results are not in yet, so that they are not thought of again."""
    edits = self.context.pending.items()
    items = (Item(f'- {formatting.edit_line(n, edit)}', n) for n, edit in edits)
    return section('underway', *items, label='edits')

  def siblings(self) -> Section:
    children = [n for n in self.outcomes.by_trial if self.outcomes.parent(n) == self.edited]
    return self._trials('siblings', reversed(children))

  def shown(self) -> Section:
    """The trials of `proposal.context`, with what their edits changed."""
    items = []
    for number in dict.fromkeys(map(self.outcomes.first_trial, self.proposal.context)):
      if number in self.outcomes.by_trial:
        change = self._change(number)
        line = self._line(number)
        text = f'{line}\n{change}\n' if 0 < len(change) <= CHANGE else line
        items.append(Item(text, number))
    return section('shown', *items, label='trials')

  def incumbent(self) -> Section:
    best = self.outcomes.incumbent
    if best is None or best in self.outcomes.lineage(self.edited):
      return _nothing('incumbent')
    return self._trials('incumbent', self.outcomes.lineage(best))

  def best(self) -> Section:
    return self._trials('best', self.outcomes.best()[:10])

  def recent(self) -> Section:
    return self._trials('recent', reversed(self.outcomes.by_trial))

  def failed(self) -> Section:
    every = self.outcomes.by_trial.items()
    broken = [n for n, o in every if o.value is None and o.trial.result.status in FAILURES]
    return self._trials('failed', reversed(broken))

  def lessons(self) -> Section:
    memory = self.context.memory
    found = memory.lessons() if memory else ()
    return section('lessons', *(Item(lesson_line(lesson)) for lesson in found), label='lessons')

  def near(self) -> Section:
    """What memory finds on the question, or else on the edit that made the program."""
    memory, query = self.context.memory, self.query()
    if memory is None or not query:
      return _nothing('near')
    found = [entry.trial for entry in memory.search(query, limit=8)]
    return self._trials('near', found)

  def query(self) -> str:
    """The words that memory is searched for."""
    asked = [self.proposal.question] if self.proposal.question else []
    asked += [f'{q.text} {" ".join(q.tags)}' for q in self.context.questions[:1]]
    outcome = self.outcomes.by_trial.get(self.edited)
    if not asked and outcome and self.edited != BASELINE:
      edit = outcome.trial.edit
      asked += [edit.description, edit.hypothesis.claim, ' '.join(edit.hypothesis.mechanisms)]
    return one_line(' '.join(asked), 1000) or ' '.join(_constants(self.context.parents[0]))

  def device(self) -> Section:
    """The device, what the program to edit takes of it, and what ran out of memory."""
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
      most = max(ran, key=lambda t: t.result.measurements[0].cost.peak_bytes)
      peak = most.result.measurements[0].cost.peak_bytes
      if peak > shown.result.measurements[0].cost.peak_bytes:
        size = formatting.size_line(most.result.facts)
        lines.append(
          f'the largest that ran, trial {most.id}: peak {formatting.gibibytes(peak)}'
          + (f' ({size}).' if size else '.')
        )
    items = [Item(f'- {line}') for line in lines if line]
    for number, outcome in reversed(outcomes.by_trial.items()):
      result = outcome.trial.result
      if result.status is Status.OOM:
        size = formatting.size_line(result.facts)
        items.append(Item(f'{self._line(number)}{f" Size: {size}." if size else ""}', number))
    return section('device', *items, label='device facts')

  def _trials(self, key: str, numbers: Iterable[int]) -> Section:
    known = [number for number in numbers if number in self.outcomes.by_trial]
    items = (Item(self._line(n), n) for n in known[:MOST])
    return section(key, *items, label='trials', more=max(0, len(known) - MOST))

  def _line(self, number: int) -> str:
    return f'- {formatting.trial_line(number, self.outcomes)}'

  def _change(self, number: int) -> str:
    """What a trial's edit did to its parent's program; '' where the parent is not known."""
    made, parent = self.outcomes.by_trial.get(number), self.outcomes.parent(number)
    before = self.outcomes.by_trial.get(parent) if parent is not None else None
    if made is None or before is None:
      return ''
    return formatting.changed(before.trial.edit.program, made.trial.edit.program)


def lesson_line(lesson: Lesson) -> str:
  """The lesson with its trials and its effect; those by rule have both in their words."""
  text = f'- {one_line(lesson.text, LESSON)}'
  if not lesson.author:
    return text
  if lesson.effect is not None:
    text += f' Effect: {formatting.signed(lesson.effect, lesson.uncertainty)}.'
  trials = ', '.join(map(str, lesson.trials[:8])) + (', ...' if len(lesson.trials) > 8 else '')
  return f'{text} [{"trial" if len(lesson.trials) == 1 else "trials"} {trials}]'


def section(key: str, *items: Item, label: str = '', more: int = 0, **places: object) -> Section:
  """The section of `prompts/sections.md`, with a rank by its key. more: items not handed in."""
  title, body = chapters('sections')[key]
  rank = RANKS.index(key) + 1 if key in RANKS else 0
  return Section(title, string.Template(body).substitute(places), items, rank, label, more)


def _nothing(key: str) -> Section:
  """A section that is left away because it has nothing to say."""
  return dataclasses.replace(section(key, second=''), items=(), rank=len(RANKS))


def _file(name: str, text: str, use: str) -> Item:
  shown = clean(text)
  odd = '' if shown == text.replace('\r\n', '\n') else ', without characters that do not print'
  return Item(shown.rstrip('\n'), label=f'file {formatting.name_of(name)}, {use}{odd}')


def _whole(program: Program) -> str:
  return '\n\n'.join(f'# file {formatting.name_of(n)}\n{clean(text)}' for n, text in program.files)


def _budget(spec: Spec) -> str:
  return f'{spec.budget.amount:g} {spec.budget.unit}'


def _devices(spec: Spec) -> str:
  return f'{spec.num_devices} {spec.platform} device{"s" if spec.num_devices > 1 else ""}'


def _constants(program: Program) -> list[str]:
  """Names of the entry's ALL_CAPS constants."""
  return [constant.name for constant in assignments(program.text()) if not constant.nested]
