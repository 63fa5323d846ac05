"""Improve from the node, and by the kind of edit, with the best expected improvement.

This project's own. After `drafts` programs, as `tree` has them, a model of what each kind of edit
did (`beliefs.py`) says for every pair of a program and a kind how much better than the best program
the child may be:

    (1 - P(it fails)) · E max(0, score + effect of the kind - best) / (1 + c / patience)

The kinds are the tags of the hypotheses, a trial having one or several; for `mutate` the last one
is the key of its move. c counts the program's children, those under way too: a score that was luck
has children that are no better, and is left in the end. A term for what all children of a program
gained was tried and left out; it led back to old programs (instances 0 to 9 of the benchmark).

A proposal says in its question which kind the model expects most of; a proposer may ignore that,
and then only the node is the model's choice.
"""

import dataclasses

import numpy as np

from autoresearch_jax.messages import one_line
from autoresearch_jax.search import effect_model
from autoresearch_jax.search.archive import NONE, Archive, Ints, is_lost, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import REPEATS, Objective, Operation, Proposal, Trial

OTHER = ''  # the kind of edits without a tag, and of those beyond the first MAX_KINDS kinds
MAX_KINDS = 128
LONGEST = 80  # characters of a tag
MAX_NODES = 32  # the best ones, of which one is improved
RECENT = 2000  # pairs of an edit and a tag that the model is made from
EVIDENCE = 5  # trials of a kind that a question names


@dataclasses.dataclass(frozen=True)
class SurrogateState:
  """archive: a row a program. failed: by row, 1 where the program broke.

  drafts: how many were asked for. kinds: names. edits, tags: a row and one of its kinds, for the
  last RECENT pairs of the two.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  failed: Ints = dataclasses.field(default_factory=Ints)
  drafts: int = 0
  kinds: tuple[str, ...] = (OTHER,)
  edits: Ints = dataclasses.field(default_factory=Ints)
  tags: Ints = dataclasses.field(default_factory=Ints)


@dataclasses.dataclass(frozen=True)
class Model:
  """kinds: what their edits did. failing: probability by kind; failures: how many were seen."""

  kinds: effect_model.Beliefs
  failing: np.ndarray
  failures: np.ndarray


@STRATEGIES.register('surrogate')
@dataclasses.dataclass(frozen=True)
class Surrogate(Strategy):
  """drafts: programs that are asked for first. patience: children that halve what a program
  promises. clip: effects count up to so many deviations. shown: how many of the last trials a
  proposer gets to see.
  """

  drafts: int = 5
  patience: float = 30.0
  clip: float = 3.0
  shown: int = 40

  def __post_init__(self) -> None:
    require_at_least(0, self, 'surrogate', 'drafts', 'shown')
    for name in ('patience', 'clip'):
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} of surrogate is {getattr(self, name)}; it must be above 0.')

  def init(self, objective: Objective) -> SurrogateState:
    return SurrogateState(objective)

  def ask(self, state: SurrogateState, rng: np.random.Generator) -> tuple[Proposal, SurrogateState]:
    del rng  # the model decides; the proposer draws the edit
    archive = state.archive
    nodes = _best_nodes(archive)
    if not len(nodes) or state.drafts < self.drafts:
      draft = Proposal(Operation.DRAFT, context=archive.last(self.shown))
      return draft, dataclasses.replace(state, drafts=state.drafts + 1)
    model = model_of(state, self.clip)
    place, kind = divmod(int(np.argmax(self.promises(state, model, nodes))), len(state.kinds))
    row = int(nodes[place])
    evidence = state.edits.array[state.tags.array == kind][-EVIDENCE:]
    rows = np.union1d(evidence, np.arange(max(0, len(archive) - self.shown), len(archive)))
    context = archive.ids.array[rows if self.shown else evidence[:0]]
    proposal = Proposal(
      Operation.IMPROVE,
      (int(archive.ids.array[row]),),
      tuple(context.tolist()),
      question=_question(state, model, row, kind, evidence),
    )
    return proposal, dataclasses.replace(state, archive=archive.asked(row))

  def promises(self, state: SurrogateState, model: Model, nodes: np.ndarray) -> np.ndarray:
    """The expected improvement over the best program, see the module. [nodes, kinds]."""
    archive, kinds = state.archive, model.kinds
    ahead = archive.scores.array[nodes] - archive.scores.array[nodes].max()
    gains = effect_model.expected_improvement(ahead[:, None] + kinds.means, kinds.spreads)
    waiting = 1 + archive.children.array[nodes] / self.patience
    return gains * (1 - model.failing) / waiting[:, None]

  def tell(self, state: SurrogateState, trial: Trial) -> SurrogateState:
    known, archive = len(state.archive), state.archive
    score = score_of(state.objective, trial) if trial.proposal.fidelity == 1 else None
    archive = archive.added(trial, score)
    if len(archive) == known:
      return dataclasses.replace(state, archive=archive)  # a replicate
    failed = state.failed.appended(int(is_lost(trial)))
    state = dataclasses.replace(state, archive=archive, failed=failed)
    if archive.above.array[known] == NONE or trial.proposal.operation in REPEATS:
      return state  # nothing was edited, or not a program that is known
    tags = trial.edit.hypothesis.mechanisms or (OTHER,)
    return _tagged(state, known, tuple(one_line(tag, LONGEST) for tag in tags))


def model_of(state: SurrogateState, clip: float) -> Model:
  """What the last trials told say; older ones were of programs that are long surpassed."""
  archive, count = state.archive, len(state.kinds)
  rows, tags = state.edits.array, state.tags.array
  edited = rows[np.append(True, rows[1:] != rows[:-1])[: len(rows)]]
  effects = archive.scores.array[edited] - archive.scores.array[archive.above.array[edited]]
  known = ~np.isnan(effects)
  effects[known] = effect_model.clipped(effects[known], clip)
  failed = state.failed.array[edited]
  places = np.cumsum(np.append(0, rows[1:] != rows[:-1]))[: len(rows)]  # of each pair in `edited`
  has = known[places]
  kinds = effect_model.believed(effects[places[has]], tags[has], count)
  failures = np.bincount(tags, failed[places], count)
  overall = (failed.sum() + 0.5) / (known.sum() + failed.sum() + 1)
  failing = effect_model.failure_rates(failures, failures + kinds.counts, overall)
  return Model(kinds, failing, failures)


def _best_nodes(archive: Archive) -> np.ndarray:
  """Rows of the best programs, the best first: where nothing tells them apart, it is taken."""
  rows = archive.scored
  behind = -archive.scores.array[rows]
  if len(rows) > MAX_NODES:
    few = np.argpartition(behind, MAX_NODES)[:MAX_NODES]
    rows, behind = rows[few], behind[few]
  return rows[np.lexsort((rows, behind))]


def _tagged(state: SurrogateState, row: int, tags: tuple[str, ...]) -> SurrogateState:
  """With the kinds of a row's edit; pairs before the last RECENT are forgotten."""
  kinds = state.kinds
  for tag in tags:
    if tag not in kinds and len(kinds) < MAX_KINDS:
      kinds = (*kinds, tag)
  places = {kinds.index(tag if tag in kinds else OTHER): None for tag in tags}
  edits = np.append(state.edits.array, np.full(len(places), row))
  found = np.append(state.tags.array, list(places))
  return dataclasses.replace(
    state, kinds=kinds, edits=Ints.of(edits[-RECENT:]), tags=Ints.of(found[-RECENT:])
  )


def _question(
  state: SurrogateState, model: Model, row: int, kind: int, evidence: np.ndarray
) -> str:
  """'' where the kind has no name or no trial: then nothing but the node was chosen."""
  name, tried = state.kinds[kind], model.kinds.counts[kind]
  if not name or not tried or len(state.kinds) == 2:
    return ''
  ids = state.archive.ids.array
  trials = ', '.join(map(str, ids[evidence].tolist()))
  failed = int(model.failures[kind])
  return (
    f"From trial {ids[row]}, an edit of the kind '{name}' promises most: in {tried:.0f} "
    f'trial{"s" if tried > 1 else ""} (such as {trials}) it changed the score by '
    f'{model.kinds.means[kind]:+.3g} ± {model.kinds.deviations[kind]:.2g}'
    + (f', and {failed} more failed.' if failed else '.')
  )
