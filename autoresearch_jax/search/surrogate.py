"""Improve the node, by the kind of edit, with the largest expected improvement.

This project's own. After `num_drafts` drafts, as in `tree`, a model of the effect of each kind of
edit (`effect_model.py`) rates every pair of a program and a kind by how much the child may exceed
the best program:

    (1 - P(it fails)) · E max(0, score + effect of the kind - best) / (1 + c / children_to_halve)

The kinds are the mechanisms of the hypotheses, one or several per trial; with the proposer `mutate`
the last one is the key of its move. c is the program's number of children, pending ones included: a
program whose score was luck has children that are no better, and is left eventually. A term for
the average gain of a program's children was tried and left out, because it led back to old
programs (benchmark instances 0 to 9).

A proposal's question names the kind that the model rates highest. The proposer may ignore it; then
only the node is the model's choice.
"""

import dataclasses

import numpy as np

from autoresearch_jax.messages import one_line
from autoresearch_jax.search import effect_model
from autoresearch_jax.search.archive import NONE, Archive, IntColumn, is_failure, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import RERUNS, Objective, Operation, Proposal, Trial

OTHER = ''  # the kind of edits without a mechanism, and of those beyond the first MAX_KINDS kinds
MAX_KINDS = 128
MAX_NAME_LENGTH = 80  # characters
MAX_NODES = 32  # the best ones, of which one is improved
MAX_PAIRS = 2000  # the latest pairs of an edit and a kind, from which the model is fitted
NUM_EVIDENCE = 5  # trials of a kind that a question mentions


@dataclasses.dataclass(frozen=True)
class SurrogateState:
  """All trials, and the data of the model.

  Attributes:
    objective: The run's objective.
    archive: All trials.
    failed: Per row, 1 where the program failed.
    num_drafts: Drafts proposed so far.
    kinds: Names of the kinds.
    edit_rows: Row of each (edit, kind) pair, the last MAX_PAIRS of them.
    edit_kinds: Kind of each of these pairs.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  failed: IntColumn = dataclasses.field(default_factory=IntColumn)
  num_drafts: int = 0
  kinds: tuple[str, ...] = (OTHER,)
  edit_rows: IntColumn = dataclasses.field(default_factory=IntColumn)
  edit_kinds: IntColumn = dataclasses.field(default_factory=IntColumn)


@dataclasses.dataclass(frozen=True)
class EditModel:
  """What is known of each kind of edit. Arrays are [kinds].

  Attributes:
    effects: Estimated effects on the score.
    failure_rates: Probability that the program fails.
    failures: Failed trials.
  """

  effects: effect_model.EffectEstimates
  failure_rates: np.ndarray
  failures: np.ndarray


@STRATEGIES.register('surrogate')
@dataclasses.dataclass(frozen=True)
class Surrogate(Strategy):
  """Maximises the expected improvement over programs and kinds of edit.

  Attributes:
    num_drafts: Programs drafted before any is improved.
    children_to_halve: Number of children at which a program's expected improvement is halved.
    clip_stds: Effects are clipped to this many standard deviations around their median.
    context_size: How many of the last trials are shown to the proposer.
  """

  num_drafts: int = 5
  children_to_halve: float = 30.0
  clip_stds: float = 3.0
  context_size: int = 40

  def __post_init__(self) -> None:
    require_at_least(0, self, 'surrogate', 'num_drafts', 'context_size')
    for name in ('children_to_halve', 'clip_stds'):
      if not getattr(self, name) > 0:
        raise ValueError(
          f'{name} of surrogate is {getattr(self, name)}; it must be greater than 0.'
        )

  def init(self, objective: Objective) -> SurrogateState:
    return SurrogateState(objective)

  def ask(self, state: SurrogateState, rng: np.random.Generator) -> tuple[Proposal, SurrogateState]:
    del rng  # the model is deterministic; the proposer samples the edit
    archive = state.archive
    nodes = _best_nodes(archive)
    if not len(nodes) or state.num_drafts < self.num_drafts:
      draft = Proposal(Operation.DRAFT, context=archive.last_ids(self.context_size))
      return draft, dataclasses.replace(state, num_drafts=state.num_drafts + 1)
    model = fit(state, self.clip_stds)
    improvements = self.expected_improvements(state, model, nodes)
    place, kind = divmod(int(np.argmax(improvements)), len(state.kinds))
    row = int(nodes[place])
    evidence = state.edit_rows.array[state.edit_kinds.array == kind][-NUM_EVIDENCE:]
    recent = np.arange(max(0, len(archive) - self.context_size), len(archive))
    context_rows = np.union1d(evidence, recent)
    context = archive.ids.array[context_rows if self.context_size else evidence[:0]]
    proposal = Proposal(
      Operation.IMPROVE,
      (int(archive.ids.array[row]),),
      tuple(context.tolist()),
      question=_question(state, model, row, kind, evidence),
    )
    return proposal, dataclasses.replace(state, archive=archive.count_child(row))

  def expected_improvements(
    self, state: SurrogateState, model: EditModel, nodes: np.ndarray
  ) -> np.ndarray:
    """Returns the formula of the module's docstring for each pair. float64 [nodes, kinds]."""
    archive, effects = state.archive, model.effects
    gaps = archive.scores.array[nodes] - archive.scores.array[nodes].max()
    improvements = effect_model.expected_improvement(
      gaps[:, None] + effects.means, effects.predictive_stds
    )
    penalties = 1 + archive.num_children.array[nodes] / self.children_to_halve
    return improvements * (1 - model.failure_rates) / penalties[:, None]

  def tell(self, state: SurrogateState, trial: Trial) -> SurrogateState:
    row, archive = len(state.archive), state.archive
    score = score_of(state.objective, trial) if trial.proposal.fidelity == 1 else None
    archive = archive.add(trial, score)
    if len(archive) == row:
      return dataclasses.replace(state, archive=archive)  # a replicate
    failed = state.failed.append(int(is_failure(trial)))
    state = dataclasses.replace(state, archive=archive, failed=failed)
    if archive.parent_rows.array[row] == NONE or trial.proposal.operation in RERUNS:
      return state  # no edit of a known program
    kinds = trial.edit.hypothesis.mechanisms or (OTHER,)
    return _add_pairs(state, row, tuple(one_line(kind, MAX_NAME_LENGTH) for kind in kinds))


def fit(state: SurrogateState, clip_stds: float) -> EditModel:
  """Fits the model to the latest edits; older ones were of programs long surpassed."""
  archive, num_kinds = state.archive, len(state.kinds)
  rows, kinds = state.edit_rows.array, state.edit_kinds.array
  edits = rows[np.append(True, rows[1:] != rows[:-1])[: len(rows)]]
  effects = archive.scores.array[edits] - archive.scores.array[archive.parent_rows.array[edits]]
  known = ~np.isnan(effects)
  effects[known] = effect_model.clip_outliers(effects[known], clip_stds)
  failed = state.failed.array[edits]
  edit_index = np.cumsum(np.append(0, rows[1:] != rows[:-1]))[
    : len(rows)
  ]  # of each pair in `edits`
  has_effect = known[edit_index]
  estimates = effect_model.estimate_effects(
    effects[edit_index[has_effect]], kinds[has_effect], num_kinds
  )
  failures = np.bincount(kinds, failed[edit_index], num_kinds)
  overall = (failed.sum() + 0.5) / (known.sum() + failed.sum() + 1)
  rates = effect_model.failure_rates(failures, failures + estimates.counts, overall)
  return EditModel(estimates, rates, failures)


def _best_nodes(archive: Archive) -> np.ndarray:
  """Returns the rows of the best programs in descending order of score, earlier ones first."""
  rows = archive.scored_rows
  negated = -archive.scores.array[rows]
  if len(rows) > MAX_NODES:
    best = np.argpartition(negated, MAX_NODES)[:MAX_NODES]
    rows, negated = rows[best], negated[best]
  return rows[np.lexsort((rows, negated))]


def _add_pairs(state: SurrogateState, row: int, names: tuple[str, ...]) -> SurrogateState:
  """Adds the kinds of a row's edit; pairs before the last MAX_PAIRS are dropped."""
  kinds = state.kinds
  for name in names:
    if name not in kinds and len(kinds) < MAX_KINDS:
      kinds = (*kinds, name)
  indices = dict.fromkeys(kinds.index(name if name in kinds else OTHER) for name in names)
  edit_rows = np.append(state.edit_rows.array, np.full(len(indices), row))
  edit_kinds = np.append(state.edit_kinds.array, list(indices))
  return dataclasses.replace(
    state,
    kinds=kinds,
    edit_rows=IntColumn.of(edit_rows[-MAX_PAIRS:]),
    edit_kinds=IntColumn.of(edit_kinds[-MAX_PAIRS:]),
  )


def _question(
  state: SurrogateState, model: EditModel, row: int, kind: int, evidence: np.ndarray
) -> str:
  """Returns what to ask the proposer; '' when the kind has no name or no trial.

  The question is part of the proposal, and a replay compares proposals: its wording must not
  change.
  """
  name, count = state.kinds[kind], model.effects.counts[kind]
  if not name or not count or len(state.kinds) == 2:
    return ''
  ids = state.archive.ids.array
  trials = ', '.join(map(str, ids[evidence].tolist()))
  failed = int(model.failures[kind])
  return (
    f"From trial {ids[row]}, an edit of the kind '{name}' promises most: in {count:.0f} "
    f'trial{"s" if count > 1 else ""} (such as {trials}) it changed the score by '
    f'{model.effects.means[kind]:+.3g} ± {model.effects.stds[kind]:.2g}'
    + (f', and {failed} more failed.' if failed else '.')
  )
