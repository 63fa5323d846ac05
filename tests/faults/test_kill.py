"""kill -9 of the controller at random moments, then the same command: none lost, none doubled.

On a run whose trials take no time; `faults/test_kills.py` kills all processes of a real one.
"""

import pytest
from helpers.kills import (
  SYNTHETIC,
  kill_again_and_again,
  last_start,
  outcomes,
  require_consistent,
)

from autoresearch_jax.ledger.events import Decided, Edited, Finished
from autoresearch_jax.ledger.store import Ledger

COMMAND = [str(SYNTHETIC), f'--config={SYNTHETIC}', '--config.executor_options.delay=0.03']
LONGEST = 2.0  # seconds until the latest kill


@pytest.mark.slow
def test_killed_again_and_again_a_run_ends_as_if_undisturbed(tmp_path, orphans):
  command = [*COMMAND, '--config.search.max_trials=60']
  kill_again_and_again(command, tmp_path / 'killed', 12, LONGEST, orphans)
  last_start(command, tmp_path / 'killed', orphans)
  last_start(command, tmp_path / 'whole', orphans)
  killed = require_consistent(tmp_path / 'killed', 60)
  whole = require_consistent(tmp_path / 'whole', 60)
  assert outcomes(killed) == outcomes(whole)


@pytest.mark.slow
def test_killed_side_by_side_trials_are_neither_lost_nor_doubled(tmp_path, orphans):
  command = [*COMMAND, '--config.executor_options.slots=3']
  command += ['--config.search.max_trials=40']
  kill_again_and_again(command, tmp_path / 'run', 5, LONGEST, orphans)
  last_start(command, tmp_path / 'run', orphans)
  with Ledger.read(tmp_path / 'run' / 'ledger.db') as ledger:
    records = list(ledger.records())
  for kind in (Edited, Finished, Decided):
    found = [record.event.trial for record in records if isinstance(record.event, kind)]
    assert sorted(found) == list(range(40))
