"""What a run has made of the findings of others, as sentences and tables."""

import collections
from collections.abc import Set

from rich.console import Console
from rich.text import Text

from autoresearch_jax.findings.states import ImportOutcome, ImportState, import_outcomes, trust_of
from autoresearch_jax.findings.trust import NEWCOMERS, short
from autoresearch_jax.knowledge.report import signed_number, table
from autoresearch_jax.ledger.history import History
from autoresearch_jax.messages import one_line
from autoresearch_jax.report.final_comparison import best_program, final_comparison

MAX_ROWS = 40  # of a table


def outcomes(history: History) -> list[ImportOutcome]:
  """Returns what became of each finding that was tried, in the order of the trials."""
  return import_outcomes(history, _confirmed(history))


def _confirmed(history: History) -> Set[int]:
  """Returns the lineage of the best program if it beats the baseline on the test split."""
  best = best_program(history)
  if best is None:
    return frozenset()
  compared = final_comparison(history)
  width = compared.half_width
  if width is None or compared.gain <= width:
    return frozenset()
  return frozenset(history.lineage(best))


def import_sentences(history: History) -> list[str]:
  """Returns what to say about imports in a summary; empty for a run without stores."""
  sentences = [
    f'The findings of {one_line(read.address, 80)} could not be read: {read.problem}'
    for read in history.imports.stores.values()
    if read.problem
  ]
  found = outcomes(history)
  if not found:
    return sentences
  tried = [outcome for outcome in found if outcome.trial is not None]
  states = collections.Counter(outcome.state for outcome in found)
  listed = ', '.join(f'{states[state]} {state}' for state in ImportState if states[state])
  trials = f'{len(tried)} trial{"" if len(tried) == 1 else "s"} tried edits of other runs'
  return [f'{trials}: {listed}.', *sentences]


def print_imports(history: History, console: Console) -> None:
  """Prints every finding with its state, and the sources; nothing for a run without imports."""
  found = outcomes(history)
  if not found:
    return
  console.print()
  console.print(Text('Findings of others', 'bold'))
  headers = ('trial', 'finding', 'source', 'claimed', 'measured here', 'state', 'why')
  console.print(table(headers, map(_row, found[-MAX_ROWS:]), 'llrrll'))
  console.print()
  console.print(Text('Their sources', 'bold'))
  records = trust_of(history).sources()
  newcomer = records.pop(NEWCOMERS)
  rows = [
    (short(source), str(record.imports), f'{record.repeated:.1f}', f'{record.reliability:.0%}')
    for source, record in sorted(records.items(), key=lambda item: -item[1].reliability)
  ]
  rows.append(('any other', '0', '', f'{newcomer.reliability:.0%}'))
  console.print(table(('source', 'edits tried', 'repeated', 'believed'), rows[-MAX_ROWS:], 'rrr'))


def _row(outcome: ImportOutcome) -> tuple[str, ...]:
  claim = outcome.claim
  return (
    '' if outcome.trial is None else str(outcome.trial),
    short(claim.finding),
    short(claim.source),
    signed_number(claim.gain, claim.standard_error),
    signed_number(outcome.gain, outcome.standard_error),
    outcome.state.value,
    one_line(outcome.reason, 80),
  )
