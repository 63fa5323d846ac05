"""Which recorded trials of a table succeeded: success columns by name, and placeholder metrics.

Tables name success in many ways: `ok`, `success`, `failed`, `status`, `exit_code`, `error`. Others
record a failed run as a success with a placeholder for the metric, such as 0 or 100. Both are found
here, and every finding is a note for the user. `table.py` calls this; nothing here knows the
constants' ranges or fits a model.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]

TRUE = ('1', '1.0', 'true', 't', 'yes', 'y', 'ok', 'okay')
FALSE = ('0', '0.0', 'false', 'f', 'no', 'n', '')
SUCCEEDED = ('success', 'succeeded', 'successful', 'done', 'complete', 'completed', 'finished',
             'passed', 'pass', 'trained', 'good', 'kept', 'keep', 'discard',
             'discarded')  # fmt: skip
FAILED = ('fail', 'failed', 'failure', 'crash', 'crashed', 'error', 'errored', 'exception', 'oom',
          'out of memory', 'diverged', 'timeout', 'timed out', 'timedout', 'killed', 'pruned',
          'invalid', 'infeasible', 'nan', 'aborted', 'cancelled', 'canceled', 'stopped', 'lost',
          'preempted', 'running', 'waiting', 'pending', 'queued', 'node fail', 'bad')  # fmt: skip
NO_ERROR = ('', 'none', 'null', 'nan', 'n/a', '-', '0', '0.0', 'false', 'no', 'ok')

# The last word of a success column's name, by what its values mean.
POSITIVE = ('ok', 'okay', 'success', 'succeeded', 'successful', 'valid', 'feasible', 'passed',
            'completed', 'complete', 'finished')  # fmt: skip
NEGATIVE = ('failed', 'fail', 'failure', 'crashed', 'crash', 'oom', 'diverged', 'invalid',
            'infeasible', 'killed', 'aborted', 'timeout', 'errored')  # fmt: skip
STATES = ('status', 'state', 'outcome', 'result', 'verdict')
ERRORS = ('error', 'exception', 'traceback')
CODES = ('exitcode', 'returncode', 'rc', 'errorcode')
PREFIXES = ('is', 'was', 'has', 'did', 'run', 'trial', 'job', 'training', 'final', 'exit')

MIN_TIED = 3  # programs with an equal extreme metric, to be doubted
MIN_TIED_FAR = 2  # the same, if their metric is far from the others
FAR = 3.0  # gap to the next metric, in ranges of the others
MIN_EXCESS = 3  # times as many as at any other value of the metric: a rounded metric has many ties


@dataclasses.dataclass(frozen=True)
class Success:
  """Which rows claim success.

  Attributes:
    claimed: Whether each row claims success; bool, [rows].
    columns: The columns that say so.
    notes: Sentences about them.
  """

  claimed: np.ndarray
  columns: tuple[str, ...]
  notes: tuple[str, ...]


class UnknownOutcome(ValueError):
  """A success column contains a word that is neither success nor failure.

  Attributes:
    column: The column.
  """

  def __init__(self, column: str, message: str):
    super().__init__(message)
    self.column = column


def read_success(rows: Sequence[Row], existing: Sequence[str], named: str, default: str) -> Success:
  """Returns which rows claim success. Without a success column, all rows do.

  Args:
    rows: The rows.
    existing: All columns.
    named: The success column that the user named; may be absent if it is the default.
    default: The default name.

  Raises:
    UnknownOutcome: A value is neither success nor failure.
  """
  if named != default:
    return Success(_read(rows, named), (named,), _polarity(named))
  primary = [named] if named in existing else []
  others = [c for c in existing if c != named and is_outcome(rows, c)]
  columns = [*primary, *others]
  if not columns:
    note = 'No success column was found: rows with a finite metric count as successes.'
    return Success(np.ones(len(rows), bool), (), (note,))
  claims = np.array([_read(rows, column) for column in columns])
  claimed = np.asarray(claims.all(axis=0))
  notes = []
  if others:
    quoted = ' and '.join(map(repr, columns))
    notes.append(f'Success is read from {quoted}; --success names another column.')
    notes += [note for column in columns for note in _polarity(column)]
  if differ := int((claims.any(axis=0) & ~claimed).sum()):
    notes.append(f'They disagree in {differ} rows, which count as failures.')
  return Success(claimed, tuple(columns), tuple(notes))


def _polarity(column: str) -> tuple[str, ...]:
  if _kind(column) not in ('negative', 'error', 'code'):
    return ()
  return (f'By its name, {column!r} is true, non-empty or above 0 where a run failed.',)


def words_of(column: str) -> tuple[str, ...]:
  """Splits a column's name into words in lower case: 'exitCode' and 'exit_code' are the same."""
  spaced = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', ' ', column)
  return tuple(re.findall(r'[a-z0-9]+', spaced.casefold()))


def _kind(column: str) -> str:
  """Returns 'positive', 'negative', 'state', 'error' or 'code' by the column's name, or ''."""
  words = words_of(column)
  if ''.join(words) in CODES or ''.join(words[-2:]) in CODES:
    return 'code'
  if not words or any(word not in PREFIXES for word in words[:-1]):
    return ''
  kinds = {'positive': POSITIVE, 'negative': NEGATIVE, 'state': STATES, 'error': ERRORS}
  return next((kind for kind, names in kinds.items() if words[-1] in names), '')


def is_outcome(rows: Sequence[Row], column: str) -> bool:
  """Whether a column says if runs succeeded, by its name and by its values.

  By the name alone, `valid` may also be a validation loss, and `state` a place.
  """
  kind = _kind(column)
  if not kind:
    return False
  values = {_word(row.get(column)) for row in rows}
  if kind == 'code':
    return all(_is_number(v) and float(v) % 1 == 0 for v in values - {''})
  numbers = {v for v in values if _is_number(v)}
  if numbers - {'0', '1', '0.0', '1.0', 'nan'}:
    return False
  if kind == 'error':
    return values != {''}
  return any(_verdict(v, kind) is not None for v in values - {''})


def outcome_by_values(rows: Sequence[Row], columns: Sequence[str], ok: np.ndarray) -> str:
  """Returns the first column that may say if runs succeeded, by its values alone; '' for none.

  Such a column has words or numbers for yes and no, and they agree with `ok`, [rows], in all rows.
  A single failure agrees with too many columns by chance.
  """
  if (~ok).sum() < MIN_TIED_FAR:
    return ''
  for column in columns:
    words = [_word(row.get(column)) for row in rows]
    verdicts = {word: _verdict(word, 'positive') for word in set(words)}
    if None not in verdicts.values() and len(set(verdicts.values())) == 2:
      claims = np.array([verdicts[word] for word in words], bool)
      if np.array_equal(claims, ok) or np.array_equal(claims, ~ok):
        return column
  return ''


def _read(rows: Sequence[Row], column: str) -> np.ndarray:
  """Returns whether each row claims success by this column."""
  kind = _kind(column) or 'positive'
  by_word: dict[str, bool] = {}
  for word in dict.fromkeys(_word(row.get(column)) for row in rows):
    verdict = _verdict(word, kind)
    if verdict is None:
      raise UnknownOutcome(
        column,
        f'{word!r}; allowed values: {", ".join(TRUE)} or {", ".join(FALSE[:-1])}, or a word such '
        'as success, failed, crash, oom. Name another column by --success, or rename the value.',
      )
    by_word[word] = verdict
  return np.array([by_word[_word(row.get(column))] for row in rows], bool)


def _verdict(word: str, kind: str) -> bool | None:
  """Returns whether a value means success; None if it is unknown."""
  if kind == 'error':
    return word in NO_ERROR
  if kind == 'code':
    return _is_number(word) and float(word) == 0
  if kind == 'negative' and word in (*TRUE, *FALSE, 'nan', 'none'):
    return word not in TRUE
  if word in TRUE or word in SUCCEEDED:
    return True
  if word in FALSE or word in FAILED:
    return False
  return None


def _word(value: Any) -> str:
  """Returns a cell as a word in lower case; 'TrialState.COMPLETE' as 'complete'."""
  text = '' if value is None else str(value).strip().casefold()
  if not _is_number(text):
    text = text.rpartition('.')[2] or text
  return ' '.join(text.replace('_', ' ').split())


def _is_number(text: str) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True


def doubtful_metrics(
  metric: np.ndarray, programs: Sequence[Any], name: str, maximize: bool
) -> tuple[np.ndarray, list[str]]:
  """Finds equal extreme metrics that look like placeholders of failed runs.

  Args:
    metric: The metric, [rows]; NaN for failures.
    programs: The constants of each row; replicates of a program are equal.
    name: Name of the metric.
    maximize: Whether a larger metric is better.

  Returns:
    Whether each row is doubtful and should count as a failure; bool, [rows]. And notes.
  """
  doubtful, notes = np.zeros(len(metric), bool), []
  for end in (max, min, max, min):  # a table may have several placeholders
    left = np.isfinite(metric) & ~doubtful
    if not left.any():
      break
    value = end(metric[left].tolist())
    tied = left & (metric == value)
    others = metric[left & ~tied]
    if not _is_atom(value, tied, left & ~tied, metric, programs):
      continue
    where = 'largest' if end is max else 'smallest'
    which = f'{int(tied.sum())} rows have the same {name}, {value:g}, the {where} of the table'
    if _is_natural_bound(value, others, maximize):
      notes.append(f'{which}: check that it was reached, and is no placeholder of failed runs.')
      break
    doubtful |= tied
    notes.append(
      f'{which}: doubtful, likely a placeholder of failed runs. They count as failures; '
      '--ties=keep takes them as measured.'
    )
  return doubtful, notes


def _is_atom(
  value: float, tied: np.ndarray, rest: np.ndarray, metric: np.ndarray, programs: Sequence[Any]
) -> bool:
  """Whether more programs share the extreme metric than measurement explains."""
  others = metric[rest]
  if not len(others) or np.ptp(others) == 0:
    return False
  count = len({programs[row] for row in np.flatnonzero(tied).tolist()})
  _, multiplicities = np.unique(others, return_counts=True)
  gap = float(np.abs(others - value).min())
  far = gap > FAR * float(np.ptp(others))
  return count >= (MIN_TIED_FAR if far else MIN_TIED) and (
    far or int(tied.sum()) >= MIN_EXCESS * int(multiplicities.max())
  )


def _is_natural_bound(value: float, others: np.ndarray, maximize: bool) -> bool:
  """Whether the metric is a share to maximise and the value its upper bound, with others near."""
  bound = 1.0 if others.max() <= 1 else 100.0
  near = bound - float(others.max()) <= 0.1 * bound
  return maximize and math.isclose(value, bound) and float(others.min()) >= 0 and near
