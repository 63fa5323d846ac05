"""How far a run believes the claims of others: which of their edits are worth trying here.

A claim is a prior for what to try. It never keeps anything: the edit is traced, trained and judged
as any other. Everything follows from the run's trials, so a resumed run believes the same.

Size. A claim says that an edit improved the metric by c, with the standard error s. The effects of
edits are taken to be normal around 0 with variance τ², and the effect in another setting to differ
from the one here by a normal number of variance τ²(1 - w)/w, where w is the similarity of the
settings (a commensurate prior: Hobbs, Carlin, Mandrekar and Sargent, Biometrics 67, 2011,
https://doi.org/10.1111/j.1541-0420.2011.01564.x). The expected effect here is

    c* = c τ² / (τ²/w + s²)

A claim that was the best of many by luck is shrunk, and so is one from an unlike setting. c* is at
most `MAX_SCALES`·τ, so that a boast is worth no more than a good edit.

Source. Once an edit was tried here, with the gain d ± e, the probability at even odds that its
effect is c* rather than nothing is

    z = 1 / (1 + exp(-c*(d - c*/2) / e²))

and 0 if the edit failed. How far a source is believed is the mean of a beta distribution with these
fractional counts, each weighted by its w (a beta reputation: Jøsang and Ismail, The Beta Reputation
System, 2002):

    r = (2p + Σ w z) / (2 + Σ w)

where p is the same mean over the first imports from all sources. A source without imports is a
newcomer and has r = p, so that a new name has no advantage over a bad record. An edit is worth
u c*, averaged over the sources that tried it, where newcomers count as one source. Here u is r plus
a standard deviation of its distribution, so that one failure does not end a source for good
(optimism in the face of uncertainty, as in Bayes-UCB: Kaufmann, Cappé and Garivier, AISTATS 2012).

Turns. The next import is from the source with the largest u / (n + 1), where n counts its imports
(D'Hondt's highest averages). So a source has a share of the imports that grows with its record and
does not grow with the number of its findings. All newcomers are one source, whose n is ln(1 + all
imports), so that they are tried now and then; which of them is next is drawn, since the largest
claim would be a liar's.
"""

import collections
import dataclasses
import hashlib
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from autoresearch_jax.findings.finding import FindingSetting
from autoresearch_jax.knowledge.outcomes import BASELINE, ProgramOutcomes
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import INCONCLUSIVE, Edit, ImportedClaim, Status

NEWCOMERS = ''  # stands for all sources of which nothing was tried yet
MAX_SCALES = 2.0
PRIOR_COUNT = 2.0  # of the claims that a source's prior is worth
MIN_EFFECTS = 8  # of own edits before they set τ; until then the claims do
# What each difference between two settings leaves of the similarity: chosen, not fitted.
OTHER_PROBLEM, OTHER_DATA, OTHER_SCORER, OTHER_HARNESS = 0.25, 0.5, 0.5, 0.9
OTHER_PLATFORM, OTHER_DEVICE, OTHER_UNIT = 0.5, 0.8, 0.5
SHOWN = 12  # characters of ids and keys in sentences
_OPEN = (*INCONCLUSIVE, Status.DUPLICATE)  # of trials that say nothing about a claim


def similarity(here: FindingSetting, there: FindingSetting) -> float:
  """Returns how much two settings resemble each other, from 0 to 1.

  0 stands for another metric, or for the cost of another target, since gains in it cannot be
  compared. What only one of them says counts as different.
  """
  sides = [(each.metric, each.direction, each.budget.target_loss) for each in (here, there)]
  if sides[0] != sides[1]:
    return 0.0
  factors = (
    (here.problem == there.problem, OTHER_PROBLEM),
    (here.data == there.data, OTHER_DATA),
    (here.scorer == there.scorer, OTHER_SCORER),
    (here.harness == there.harness, OTHER_HARNESS),
    (here.platform == there.platform, OTHER_PLATFORM),
    (here.device == there.device, OTHER_DEVICE),
    (here.budget.unit == there.budget.unit, OTHER_UNIT),
  )
  found = math.prod(factor for same, factor in factors if not same)
  if here.budget.unit == there.budget.unit:
    amounts = here.budget.amount, there.budget.amount
    found *= math.sqrt(min(amounts) / max(amounts))
  return found


@dataclasses.dataclass(frozen=True)
class TriedClaim:
  """A claim whose edit was tried here.

  Attributes:
    claim: The claim.
    gain: Measured gain over the parent; None without one.
    standard_error: Of `gain`; None while the noise between seeds is unknown.
    failed: Whether the program has no score.
    pending: Whether the trial still runs, or says nothing.
  """

  claim: ImportedClaim
  gain: float | None = None
  standard_error: float | None = None
  failed: bool = False
  pending: bool = False


@dataclasses.dataclass(frozen=True)
class SourceRecord:
  """How the claims of a source fared here.

  Attributes:
    imports: n, the number of its edits that were tried.
    repeated: Σ w z, how many of them held.
    evidence: Σ w, how many of them are decided.
    prior: p, how far it was believed before.
  """

  imports: float
  repeated: float
  evidence: float
  prior: float

  @property
  def reliability(self) -> float:
    """r, how far its next claim is believed."""
    return (PRIOR_COUNT * self.prior + self.repeated) / (PRIOR_COUNT + self.evidence)

  @property
  def optimism(self) -> float:
    """u, how far its next claim may be believed."""
    r, count = self.reliability, PRIOR_COUNT + self.evidence
    return r + math.sqrt(r * (1 - r) / (count + 1))

  @property
  def turn(self) -> float:
    """D'Hondt's quotient; the source with the largest one is next."""
    return self.optimism / (self.imports + 1)


@dataclasses.dataclass(frozen=True)
class Trust:
  """What the trials of a run say about claims and their sources.

  Attributes:
    tried: Claims whose edits were tried here, in order.
    scale: τ, the typical size of an edit's effect; None while nothing is known of it.
    own_gain: Expected gain of an edit of the run's own: those of the kept ones, shrunk like claims,
      over all.
  """

  tried: tuple[TriedClaim, ...] = ()
  scale: float | None = None
  own_gain: float = 0.0

  @classmethod
  def of(cls, outcomes: ProgramOutcomes, pending: Iterable[Edit] = ()) -> 'Trust':
    """Derives the trust from a run.

    Args:
      outcomes: The outcomes of the trials so far.
      pending: Edits whose trials have no result yet.
    """
    tried, effects, kept = [], [], []
    for number, outcome in outcomes.by_trial.items():
      if number == BASELINE:
        continue
      gain, error = outcomes.gain(number), standard_error(outcomes, number)
      claim, status = outcome.trial.edit.imported, outcome.trial.result.status
      if claim is not None:
        pends = status in _OPEN or (gain is None and status is Status.OK)
        tried.append(TriedClaim(claim, gain, error, gain is None and not pends, pends))
        continue
      if gain is not None:
        effects.append((gain, error or 0.0))
        kept += [(gain, error or 0.0)] * (gain > 0 and number in outcomes.kept)
    own = sum(number != BASELINE for number in outcomes.by_trial) - len(tried)
    tried += [TriedClaim(e.imported, pending=True) for e in pending if e.imported is not None]
    scale = _scale(effects)
    gained = sum(_shrunk(gain, error, scale) if scale else gain for gain, error in kept)
    return cls(tuple(tried), scale, gained / (own + 1))

  def effect(self, claim: ImportedClaim, scale: float) -> float:
    """Returns c*, the expected effect here if the source is right."""
    shrunk = _expected_effect(claim, scale)
    return max(-MAX_SCALES * scale, min(MAX_SCALES * scale, shrunk))

  def repeated(self, tried: TriedClaim) -> float | None:
    """Returns z, the probability that a claim holds here; None while that is open."""
    if tried.pending:
      return None
    if tried.failed or tried.gain is None:
      return 0.0
    expected = self.effect(tried.claim, self.scale or abs(tried.claim.gain) or 1.0)
    if not tried.standard_error:
      return 1.0 if tried.gain > expected / 2 else 0.0
    logit = expected * (tried.gain - expected / 2) / tried.standard_error**2
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))

  def sources(self) -> dict[str, 'SourceRecord']:
    """Returns the records of all sources of which an edit was tried."""
    counts: dict[str, list[float]] = {}
    first_weight = first_sum = 0.0
    for tried in self.tried:
      z, weight = self.repeated(tried), tried.claim.similarity
      is_new = tried.claim.source not in counts
      found = counts.setdefault(tried.claim.source, [0, 0.0, 0.0])
      found[0] += 1
      if z is not None:
        found[1] += weight
        found[2] += weight * z
        if is_new:
          first_weight, first_sum = first_weight + weight, first_sum + weight * z
    newcomers = SourceRecord(math.log1p(len(self.tried)), first_sum, first_weight, 0.5)
    records = {
      source: SourceRecord(number, total, weight, newcomers.reliability)
      for source, (number, weight, total) in counts.items()
    }
    return {NEWCOMERS: newcomers, **records}

  def ranked(self, claims: Sequence[ImportedClaim]) -> list[ImportedClaim]:
    """Returns the claims that are worth a trial, in the order in which to try them.

    Those that promise less than an average edit of the run's own are left out.
    """
    scale = self.scale or _typical(claims)
    records = self.sources()
    done = {tried.claim.change for tried in self.tried}
    open_claims = [claim for claim in claims if claim.change not in done]
    expected = self._expected(open_claims, records, scale)
    by_source: dict[str, list[ImportedClaim]] = collections.defaultdict(list)
    for claim in open_claims:
      if claim.gain > 0 and expected[claim.change] > self.own_gain:
        by_source[claim.source].append(claim)
    for found in by_source.values():
      found.sort(key=lambda c: (-expected[c.change], -_expected_effect(c, scale), c.finding))
    new = [
      by_source.pop(source)
      for source in sorted(by_source, key=self._drawn)
      if source not in records
    ]
    if new:
      by_source[NEWCOMERS] = _in_turns(new)
    turns = sorted(by_source, key=lambda source: (-records[source].turn, source))
    return _in_turns([by_source[source] for source in turns])

  def _drawn(self, source: str) -> str:
    """Returns a sort key that puts sources into an order which they cannot foresee or choose."""
    secret = f'{self.own_gain!r} {self.scale!r} {len(self.tried)}'
    return hashlib.sha256(f'{secret} {source}'.encode()).hexdigest()

  def _expected(
    self, claims: Iterable[ImportedClaim], records: Mapping[str, SourceRecord], scale: float
  ) -> dict[str, float]:
    """Returns the expected gain of each change."""
    voices: dict[str, dict[str, list[float]]] = {}
    for claim in claims:
      source = claim.source if claim.source in records else NEWCOMERS
      voices.setdefault(claim.change, {}).setdefault(source, []).append(self.effect(claim, scale))
    return {
      change: statistics.fmean(
        records[source].optimism * statistics.fmean(effects) for source, effects in said.items()
      )
      for change, said in voices.items()
    }


def _in_turns(groups: Sequence[Sequence[ImportedClaim]]) -> list[ImportedClaim]:
  """Returns the first claim of each group, then the second one of each, and so on."""
  rounds = itertools.zip_longest(*groups)
  return [claim for found in rounds for claim in found if claim is not None]


def _expected_effect(claim: ImportedClaim, scale: float) -> float:
  """Returns c* without its bounds."""
  error = abs(claim.gain) if claim.standard_error is None else claim.standard_error
  return _shrunk(claim.gain, error, scale, min(1.0, max(1e-3, claim.similarity)))


def _shrunk(gain: float, error: float, scale: float, similarity: float = 1.0) -> float:
  return gain / (1 / similarity + min(error / scale, 1e100) ** 2)


def standard_error(outcomes: ProgramOutcomes, number: int) -> float | None:
  """Returns that of the gain of a trial's program over its parent; None if it is not known."""
  parent = outcomes.by_trial.get(outcomes.parent(number) or BASELINE)
  runs = outcomes.by_trial[number].runs
  if outcomes.noise is None or parent is None or not (runs and parent.runs):
    return None
  return outcomes.noise * math.sqrt(1 / runs + 1 / parent.runs)


def _scale(effects: Sequence[tuple[float, float]]) -> float | None:
  """Returns τ from measured effects and their standard errors; None where there are too few.

  The median withstands the edits that wreck training.
  """
  if len(effects) < MIN_EFFECTS:
    return None
  typical = 1.4826 * statistics.median(abs(gain) for gain, _ in effects)
  noise = statistics.median(error for _, error in effects)
  return math.sqrt(max(typical**2 - noise**2, (noise / 2) ** 2)) or None


def _typical(claims: Iterable[ImportedClaim]) -> float:
  """Returns the size of a claim that is typical of a typical source."""
  sizes: dict[str, list[float]] = collections.defaultdict(list)
  for claim in claims:
    if claim.gain:
      sizes[claim.source].append(abs(claim.gain))
  return statistics.median(map(statistics.median, sizes.values())) if sizes else 1.0


def short(name: str) -> str:
  """Returns the beginning of a finding's id or of a source's key, for sentences."""
  kind, colon, key = name.partition(':')
  return one_line(f'{kind}{colon}{key[:SHOWN]}' if colon else name[:SHOWN], 40)
