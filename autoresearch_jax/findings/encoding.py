"""The file format of a finding: canonical JSON, validated strictly when it is read.

`decode` accepts a file only if it is the very text that `encode` writes for what was read: a
duplicate, unknown or missing field, another spelling of a number, or a byte too many is refused.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from autoresearch_jax.findings.finding import (
  SCHEMA,
  Finding,
  FindingError,
  FindingProgram,
  canonical,
  gain_of,
)
from autoresearch_jax.findings.signing import is_signed_by_source
from autoresearch_jax.types import Status

MAX_FINDING_BYTES = 192 * 2**10
MAX_PATCH = 64 * 2**10  # characters
MAX_BLOB_BYTES = 64 * 2**20  # the limit of a traced program, by default
MAX_FILE_BYTES = 2**20  # of a program
MAX_FILES, MAX_RUNS, MAX_TAGS = 64, 1000, 20
MAX_TEXT, MAX_NAME = 2000, 200  # characters of sentences and of names
MAX_NUMBER = 1e30  # of values, gains and budgets, so that no arithmetic with them overflows
MAX_AHEAD = 24 * 3600  # seconds that the time of a finding may be in the future
_DIGEST = re.compile(r'[0-9a-f]{64}')
_FINGERPRINT = re.compile(r'[0-9a-f]{32,64}')
_SOURCE = re.compile(r'ed25519:[0-9a-f]{64}')
_SIGNATURE = re.compile(r'[0-9a-f]{128}')
_PATH = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*')
_FAILURES = {*map(str, Status)} - {Status.OK, Status.DUPLICATE, Status.CANCELLED}


def encode(finding: Finding) -> bytes:
  """Returns the text of a finding's file."""
  return canonical(finding)


def decode(data: bytes, now: float, expected_id: str = '') -> Finding:
  """Reads a signed finding.

  Args:
    data: The content of its file.
    now: Unix seconds.
    expected_id: The id that its place in a store promises; '' for none.

  Raises:
    FindingError: It is malformed, too large, from the future, or not signed by its source.
  """
  finding = decode_unverified(data, now)
  if expected_id and finding.id != expected_id:
    raise FindingError(f'The finding is {finding.id[:12]}, and its name says {expected_id[:12]}.')
  if not is_signed_by_source(finding):
    raise FindingError(f'The signature of finding {finding.id[:12]} is not that of its source.')
  return finding


def decode_unverified(data: bytes, now: float) -> Finding:
  """Reads a finding without verifying its signature. Raises FindingError."""
  if len(data) > MAX_FINDING_BYTES:
    raise FindingError(f'A finding has at most {MAX_FINDING_BYTES} bytes; this has {len(data)}.')
  try:
    version = msgspec.json.decode(data, type=_Version).schema
    if version != SCHEMA:
      raise FindingError(
        f'The finding has format {version}, and this version of autoresearch_jax reads format '
        f'{SCHEMA}. Install a version that knows it.'
      )
    finding = msgspec.json.decode(data, type=Finding)
    if encode(finding) != data:
      raise FindingError('The finding is not in canonical JSON, or it has unknown fields.')
  except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
    raise FindingError(f'This is no finding: {error}.') from None
  if problem := next(problems(finding, now), ''):
    raise FindingError(f'The finding is refused: {problem}.')
  return finding


class _Version(msgspec.Struct):
  schema: int


def problems(finding: Finding, now: float) -> Iterator[str]:
  """Yields what is wrong with the content of a signed finding, without its signature."""
  if not _SOURCE.fullmatch(finding.source):
    yield 'its source is no key'
  if not _SIGNATURE.fullmatch(finding.signature):
    yield 'its signature has another form'
  if not 0 < finding.created <= now + MAX_AHEAD:
    yield 'its time is not in the past'
  yield from _odd_texts(finding)
  yield from _odd_setting(finding)
  for name, program in (('parent', finding.parent), ('child', finding.child)):
    yield from _odd_program(name, program)
  if finding.parent.digest == finding.child.digest:
    yield 'parent and child are the same program'
  names = [name for name, _ in finding.artifacts]
  if names != sorted({*names} & {'parent', 'child'}):
    yield 'its artifacts are not those of parent and child'
  if not all(_DIGEST.fullmatch(digest) for _, digest in finding.artifacts):
    yield 'a digest has another form'
  yield from _odd_result(finding)


def _odd_texts(finding: Finding) -> Iterator[str]:
  hypothesis, setting = finding.hypothesis, finding.setting
  names = (finding.description, setting.problem, setting.metric, setting.device)
  if any(len(text) > MAX_NAME for text in (*names, *hypothesis.mechanisms)):
    yield f'a name has more than {MAX_NAME} characters'
  if any(len(text) > MAX_TEXT for text in (hypothesis.claim, finding.reason)):
    yield f'a sentence has more than {MAX_TEXT} characters'
  if len(finding.patch) > MAX_PATCH:
    yield f'its patch has more than {MAX_PATCH} characters'
  if len(hypothesis.mechanisms) > MAX_TAGS:
    yield f'it has more than {MAX_TAGS} tags'
  if not (setting.problem and setting.metric):
    yield 'it names no problem or no metric'
  if not _finite(hypothesis.predicted_effect) or not _finite(hypothesis.uncertainty, 0.0):
    yield 'its prediction is not a number'


def _odd_setting(finding: Finding) -> Iterator[str]:
  setting = finding.setting
  if not 1 / MAX_NUMBER <= setting.budget.amount <= MAX_NUMBER:
    yield 'its budget is not a positive number'
  if not _finite(setting.budget.target_loss):
    yield 'its target is not a number'
  if not 1 <= setting.num_devices < 2**31:
    yield 'its number of devices is not positive'
  if not _finite(setting.step_seconds, 0.0):
    yield 'its step is not a time'
  digests = (setting.data, setting.tokenizer, setting.scorer, setting.harness)
  if not all(d == '' or _DIGEST.fullmatch(d) for d in digests):
    yield 'a digest of its setting has another form'


def _odd_program(name: str, program: FindingProgram) -> Iterator[str]:
  if not _DIGEST.fullmatch(program.digest):
    yield f'its {name} has no digest'
  if program.fingerprint and not _FINGERPRINT.fullmatch(program.fingerprint):
    yield f'the fingerprint of its {name} has another form'
  names = [file for file, _ in program.files]
  if not names or len(names) > MAX_FILES or names != sorted({*names}):
    yield f'the files of its {name} are none, too many, or not sorted'
  if program.entry not in names:
    yield f'its {name} has no entry'
  if not all(_PATH.fullmatch(file) and len(file) <= MAX_NAME for file in names):
    yield f'a file of its {name} has a name that programs must not have'
  if not all(_DIGEST.fullmatch(digest) for _, digest in program.files):
    yield 'a digest has another form'
  seeds = list(program.seeds)
  if len(seeds) > MAX_RUNS or seeds != sorted({*seeds}):
    yield f'the seeds of its {name} are too many or not sorted'
  if not all(0 <= seed < 2**63 for seed in seeds) or not all(
    _finite(value) for _, value in program.values
  ):
    yield f'a run of its {name} has no seed or no value'


def _odd_result(finding: Finding) -> Iterator[str]:
  if finding.status == 'failed':
    if finding.failure not in _FAILURES:
      yield 'it says that it failed and not how'
    if (finding.gain, finding.standard_error, finding.pairs) != (None, None, 0):
      yield 'it failed and has a gain'
    return
  if finding.failure:
    yield 'it has a failure and did not fail'
  paired = finding.pairs > 0
  parent, child = finding.parent, finding.child
  expected = gain_of(parent, child, finding.setting.direction, paired)
  if expected is None or finding.gain is None:
    yield 'it has no runs or no gain'
    return
  scale = max(abs(value) for _, value in (*parent.values, *child.values))
  if not abs(finding.gain - expected) <= 1e-9 * scale:
    yield f'its gain is {finding.gain:g}, and that of its runs is {expected:g}'
  if finding.pairs not in (0, len({*parent.seeds} & {*child.seeds})):
    yield 'its number of pairs is not that of its runs'
  if not _finite(finding.standard_error, 0.0) or not _finite(finding.seed_std, 0.0):
    yield 'its noise is not a number'
  if not 0 <= finding.degrees_of_freedom < 2**31:
    yield 'its degrees of freedom are negative'


def _finite(value: float | None, minimum: float = -math.inf) -> bool:
  return value is None or (abs(value) <= MAX_NUMBER and value >= minimum)


def shown(text: str) -> str:
  """Returns text of others in a form that is safe to print: control characters are escaped."""
  if text.isprintable():
    return text
  return ''.join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def as_json(finding: Finding) -> dict[str, Any]:
  """Returns a finding as plain data, with its id, for the output of commands."""
  return {'id': finding.id, **msgspec.to_builtins(finding)}
