"""A reader of a ledger that another process writes misses no event."""

import os
import time

from autoresearch_jax.ledger.events import Started, Stopped
from autoresearch_jax.ledger.follower import LedgerFollower
from autoresearch_jax.ledger.store import Ledger


def test_a_write_that_changes_neither_size_nor_time_is_seen(tmp_path):
  files = [tmp_path / 'ledger.db', tmp_path / 'ledger.db-wal']
  with Ledger.open(files[0]) as ledger:
    for _ in range(300):  # until the log file is as large as it gets, and is written over
      ledger.append(Started({}, 'tag'))
    follower = LedgerFollower(tmp_path)
    assert len(follower.new_records()[1]) == 300
    now, seen = time.time_ns() + 10**12, 0  # stays recent, however slow the machine is
    for number in range(100):
      ledger.append(Stopped(f'{number:03}'))
      for path in files:
        os.utime(path, ns=(now, now))  # as if in the same step of the file system's clock
      seen += len(follower.new_records()[1])
    assert seen == 100
    assert follower.new_records() == (False, [])
