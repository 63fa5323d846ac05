"""Claims: who tries which program now, so that forks that run at once divide the work.

A claim is advice. It expires by itself, it is signed, and nobody is kept from trying the program.
"""

import dataclasses
import re
from collections.abc import Iterable

import msgspec

from autoresearch_jax.findings.finding import FindingError, canonical
from autoresearch_jax.findings.signing import Key, is_signed_by

MAX_CLAIM_BYTES = 1024
MAX_CLAIM_SECONDS = 24 * 3600
_PREFIX = b'autoresearch claim 1\n'
_FORM = re.compile(r'[0-9a-f]{32,64}')


@dataclasses.dataclass(frozen=True)
class WorkClaim:
  """Says that a source tries a program.

  Attributes:
    fingerprint: Of the program: the artifact's, or `Program.digest`.
    source: Public key of the claimant.
    created: Unix seconds.
    expires: When it ends, in Unix seconds.
    signature: Of the source's key over the other fields, in hexadecimal.
  """

  fingerprint: str
  source: str
  created: int
  expires: int
  signature: str = ''

  @classmethod
  def of(cls, fingerprint: str, key: Key, now: float, seconds: float) -> 'WorkClaim':
    """Returns a signed claim.

    Args:
      fingerprint: Of the program.
      key: The claimant's.
      now: Unix seconds.
      seconds: How long it holds.
    """
    claim = cls(fingerprint, key.source, int(now), int(now + min(seconds, MAX_CLAIM_SECONDS)))
    return dataclasses.replace(claim, signature=key.signature(claim.signed_bytes))

  @property
  def signed_bytes(self) -> bytes:
    """What the signature is over."""
    return _PREFIX + canonical([self.fingerprint, self.source, self.created, self.expires])

  @property
  def name(self) -> str:
    """Name of its file in a store; a later claim of the source replaces an earlier one."""
    source = self.source.partition(':')[2]
    return f'claims/{self.fingerprint[:2]}/{self.fingerprint}-{source[:32]}.json'


def encode_claim(claim: WorkClaim) -> bytes:
  """Returns the text of a claim's file."""
  return canonical(claim)


def decode_claim(data: bytes, now: float) -> WorkClaim:
  """Reads a claim. Raises FindingError if it is malformed, expired, too long, or not signed."""
  try:
    if len(data) > MAX_CLAIM_BYTES:
      raise FindingError(f'A claim has at most {MAX_CLAIM_BYTES} bytes.')
    claim = msgspec.json.decode(data, type=WorkClaim)
  except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
    raise FindingError(f'This is no claim: {error}.') from None
  if encode_claim(claim) != data or not _FORM.fullmatch(claim.fingerprint):
    raise FindingError('The claim is not in canonical JSON, or names no program.')
  if not now < claim.expires <= min(now, claim.created) + MAX_CLAIM_SECONDS:
    raise FindingError('The claim has expired, or holds for too long.')
  if not is_signed_by(claim.source, claim.signature, claim.signed_bytes):
    raise FindingError('The signature of the claim is not that of its source.')
  return claim


def claimed_by_others(claims: Iterable[WorkClaim], own: str) -> frozenset[str]:
  """Returns the fingerprints that others than the source `own` have claimed."""
  return frozenset(claim.fingerprint for claim in claims if claim.source != own)
