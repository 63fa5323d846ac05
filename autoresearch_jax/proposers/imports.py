"""Tries edits of other runs: a share of a run's proposals are findings that others have published.

Which one is decided by `findings/trust.py` from the trials of this run. The edit is applied to the
parent that the strategy chose, and its trial is traced, trained and judged as any other. What its
source says about it is data: it is quoted in prompts, and it keeps nothing.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from autoresearch_jax.config import Findings
from autoresearch_jax.findings.finding import Finding, FindingError, FindingSetting
from autoresearch_jax.findings.from_ledger import setting_of
from autoresearch_jax.findings.programs import Blobs, programs_of
from autoresearch_jax.findings.reader import StoreContent, StoreReader
from autoresearch_jax.findings.store import FindingStore
from autoresearch_jax.findings.stores import existing
from autoresearch_jax.findings.trust import Trust, short, similarity
from autoresearch_jax.ledger.events import ImportRefused, StoreRead
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs import patches
from autoresearch_jax.programs.rebase import is_comparable, rebased
from autoresearch_jax.proposers.base import ProposalContext, Proposer
from autoresearch_jax.proposers.replay import refusal
from autoresearch_jax.types import (
  RERUNS,
  Edit,
  Hypothesis,
  ImportedClaim,
  Operation,
  Program,
  Proposal,
)

MAX_ATTEMPTS = 8  # findings that may turn out not to fit, before the run's own proposer is asked
IMPORT_ROLE = 'import'
MAX_DESCRIPTION, MAX_CLAIM, MAX_TAG = 160, 300, 40  # characters of a source's words
MAX_TAGS = 5

Apply = Callable[[Program, Program], Program | None]  # (program, start) -> edited program


@dataclasses.dataclass(frozen=True)
class ImportCandidate:
  """An edit of another run that may be tried.

  Attributes:
    claim: What its source says of it.
    description: The edit in one line.
    hypothesis: Why it was made.
    apply: Applies it to a program; the second argument is the unmodified program of this run.
    program: Digest of the edited program in the other run; '' if it is not known.
  """

  claim: ImportedClaim
  description: str
  hypothesis: Hypothesis
  apply: Apply
  program: str = ''


@dataclasses.dataclass
class Importer:
  """Decides when an edit of another run is tried, and which.

  Attributes:
    candidates: Returns the edits of other runs, by the id of their finding.
    share: Largest share of the new programs that are imports.
    claimed: Returns the changes that others try now.
  """

  candidates: Callable[[], Mapping[str, ImportCandidate]]
  share: float
  claimed: Callable[[], Collection[str]] = tuple

  def __post_init__(self) -> None:
    self._refused: set[str] = set()

  def edit(self, proposal: Proposal, context: ProposalContext) -> Edit | None:
    """Returns an edit of another run for the proposal; None if the run's own proposer is due."""
    is_specific = proposal.guidance == 'ablation' or context.idea
    if is_specific or proposal.operation not in (Operation.IMPROVE, Operation.DRAFT):
      return None
    if not self._is_due(context) or not (candidates := self.candidates()):
      return None
    refused, claimed = {*context.refused_imports, *self._refused}, {*self.claimed()}
    left = [
      candidate.claim
      for finding, candidate in candidates.items()
      if finding not in refused and candidate.program not in context.tried
    ]
    # Anybody can claim anything, so what others try comes last and is not left out.
    ranked = sorted(self.ranked(left, context), key=lambda claim: claim.change in claimed)
    for claim in ranked[:MAX_ATTEMPTS]:
      candidate = candidates[claim.finding]
      try:
        program = candidate.apply(context.parents[0], _start(context))
      except StoreUnavailable:
        continue
      why = refusal(program, context)
      if program is not None and not why:
        return _edit(candidate, program)
      self._refused.add(claim.finding)
      context.record_import(ImportRefused(context.trial_id, claim, one_line(why, 300)))
    return None

  def ranked(
    self, claims: Sequence[ImportedClaim], context: ProposalContext
  ) -> list[ImportedClaim]:
    """Returns the claims that are worth a trial, in the order in which to try them."""
    return Trust.of(context.outcomes(), context.pending.values()).ranked(claims)

  def _is_due(self, context: ProposalContext) -> bool:
    """Whether one more import keeps within the share."""
    new = [
      trial.edit
      for number, trial in context.history.items()
      if number != BASELINE and trial.proposal.operation not in RERUNS
    ]
    new += context.pending.values()
    imported = sum(edit.imported is not None for edit in new)
    return imported + 1 <= self.share * (len(new) + 1)


class ImportingProposer(Proposer):
  """Another proposer, some of whose turns are taken by edits of other runs."""

  def __init__(
    self,
    inner: Proposer,
    contents: Callable[[], Mapping[str, StoreContent]],
    setting: Callable[[], FindingSetting],
    share: float,
    claim: Callable[[str], None],
  ):
    """Makes the proposer.

    Args:
      inner: The run's own proposer.
      contents: Returns what was read of the stores, by address.
      setting: Returns that of this run, once its baseline has a verdict.
      share: Largest share of the new programs that are imports.
      claim: Tells others which change is tried now.
    """
    self._inner, self.contents, self._setting, self._claim = inner, contents, setting, claim
    self._importer = Importer(lambda: self._candidates, share, self._claimed)
    self._seen: Mapping[str, StoreContent] = {}
    self._candidates: dict[str, ImportCandidate] = {}

  @property
  def reads_text(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
    """Whether the run's own proposer reads hints and ideas in words."""
    return self._inner.reads_text

  @property
  def title(self) -> str:
    """What the run's first line says about the run's own proposer."""
    return self._inner.title

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns an edit of another run, or of the run's own proposer. Raises NothingToPropose."""
    self._update(context)
    edit = self._importer.edit(proposal, context)
    if edit is None:
      return self._inner.propose(proposal, context, rng)
    if edit.imported is not None:
      self._claim(edit.imported.change)
    return edit

  def close(self) -> None:
    """Ends what the run's own proposer started."""
    self._inner.close()

  def _claimed(self) -> set[str]:
    return {change for content in self._seen.values() for change in content.claimed}

  def _update(self, context: ProposalContext) -> None:
    """Takes over what was read since the last proposal, and records it."""
    contents = self.contents()
    changed = [a for a, content in contents.items() if content is not self._seen.get(a)]
    if not changed:
      return
    setting = self._setting()
    found = {address: _comparable(content, setting) for address, content in contents.items()}
    for address in changed:
      content, before = contents[address], self._seen.get(address)
      read = StoreRead(address, len(content.findings), len(found[address]), content.problem)
      if before is None or (before.findings, before.problem) != (content.findings, content.problem):
        context.record_import(read)
    self._seen = contents
    self._candidates = {c.claim.finding: c for each in found.values() for c in each}


@contextlib.contextmanager
def importing(inner: Proposer, config: Findings, history: History) -> Iterator[Proposer]:
  """Reads the stores of a config as long as it is active, and yields the proposer to use.

  Args:
    inner: The run's own proposer, which is yielded if there are no stores.
    config: Which stores, and how often.
    history: The run, which is read once its baseline has a verdict.
  """
  if not config.stores:
    yield inner
    return
  with StoreReader(config.stores, existing, config.refresh_seconds) as reader:
    claim = reader.claim if config.claim else _claim_nothing
    yield ImportingProposer(
      inner, reader.contents, lambda: setting_of(history), config.share, claim
    )


def _claim_nothing(change: str) -> None:
  del change


def _comparable(content: StoreContent, setting: FindingSetting) -> list[ImportCandidate]:
  if content.store is None:
    return []
  candidates, blobs = [], ReachableBlobs(content.store, is_reachable=not content.problem)
  for finding in content.findings:
    alike = similarity(setting, finding.setting)
    if alike and finding.status != 'undecided':
      candidates.append(candidate_of(finding, blobs, alike))
  return candidates


class StoreUnavailable(FindingError):
  """A store cannot be read now."""


@dataclasses.dataclass
class ReachableBlobs:
  """Reads contents of a store until that fails, so that a run waits for its network only once.

  Attributes:
    store: The store.
    is_reachable: Whether it could be read so far.
  """

  store: FindingStore
  is_reachable: bool = True

  def __call__(self, digest: str) -> bytes | None:
    """Returns a content; None if the store lacks it. Raises StoreUnavailable."""
    if self.is_reachable:
      try:
        return self.store.blob(digest)
      except (FindingError, OSError):
        self.is_reachable = False
    raise StoreUnavailable(f'{self.store.address} cannot be read now; it is tried again later.')


def candidate_of(finding: Finding, blobs: Blobs, alike: float) -> ImportCandidate:
  """Returns the candidate of a finding.

  A failed edit and one that was not kept count as claims of no gain.

  Args:
    finding: The finding.
    blobs: Returns the contents of its programs.
    alike: Similarity of its setting.
  """
  gain = finding.gain if finding.gain is not None else 0.0
  claim = ImportedClaim(
    finding=finding.id,
    source=finding.source,
    change=change_of(finding),
    gain=gain if finding.status == 'gain' else min(gain, 0.0),
    standard_error=finding.standard_error,
    similarity=alike,
  )

  def apply(program: Program, start: Program) -> Program | None:
    return apply_finding(finding, blobs, program, start)

  return ImportCandidate(
    claim, finding.description, finding.hypothesis, apply, finding.child.digest
  )


def change_of(finding: Finding) -> str:
  """Returns a digest that is equal for findings of the same edit.

  It is of the patch without line numbers, or else of the programs.
  """
  lines = [line for line in finding.patch.splitlines() if not line.startswith('@@')]
  text = '\n'.join(lines) or f'{finding.parent.digest} {finding.child.digest}'
  return hashlib.sha256(text.encode()).hexdigest()


def apply_finding(
  finding: Finding, blobs: Blobs, program: Program, start: Program
) -> Program | None:
  """Applies the edit of a finding: by its patch, or else by a three-way merge of its programs.

  Args:
    finding: The finding.
    blobs: Returns the contents of its programs.
    program: The program to edit.
    start: The unmodified program of this run.

  Returns:
    The edited program; None if the edit does not fit.

  Raises:
    StoreUnavailable: The edit does not fit by its patch, and the store cannot be read now.
  """
  if finding.patch:
    try:
      patch = patches.parse(finding.patch)
    except patches.PatchError:
      return None
    if (edited := patches.apply_patch(patch, program)) is not None:
      return edited
    edited = patches.apply_patch(patch, start)
    if edited is not None and is_comparable(start, edited):
      edited = rebased(edited, start, program)
      if edited is not None:
        return edited
  try:
    before, after = programs_of(finding, blobs)
  except StoreUnavailable:
    raise
  except FindingError:
    return None
  if not (is_comparable(before, after) and is_comparable(before, program)):
    return None
  return rebased(after, before, program)


def _edit(candidate: ImportCandidate, program: Program) -> Edit:
  claim, said = candidate.claim, candidate.hypothesis
  source = short(claim.source)
  tags = [one_line(tag, MAX_TAG) for tag in said.mechanisms[:MAX_TAGS]]
  what = one_line(candidate.description, MAX_DESCRIPTION).rstrip('.') or 'an edit'
  return Edit(
    program,
    f'{what} (imported finding {short(claim.finding)} from {source})',
    Hypothesis(one_line(said.claim, MAX_CLAIM), tuple(filter(None, tags))),
    author=source,
    role=IMPORT_ROLE,
    imported=claim,
  )


def _start(context: ProposalContext) -> Program:
  baseline = context.history.get(BASELINE)
  return baseline.edit.program if baseline else context.parents[0]
