"""Reads the ledger, which holds scores on the test split, as an agent and as a candidate."""

import json
import pathlib
import sys

import pytest
from helpers.synthetic_run import START, Arithmetic, run

from autoresearch_jax import types
from autoresearch_jax.ledger.events import Consulted
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.sandbox import linux

# Reads all it can of the run, says what came of it, and edits the program all the same.
AGENT = """
import errno, json, pathlib, sys
came = {}
for name in ('ledger.db', 'ledger.db-wal', 'ledger.head', 'results.tsv', 'damaged.1/ledger.db'):
  try:
    came[name] = pathlib.Path(sys.argv[1], name).read_bytes()[:9].decode('latin-1')
  except OSError as error:
    came[name] = errno.errorcode[error.errno]
for way in ('../../../../ledger.db', '/proc/self/cwd/../../../../ledger.db'):
  try:
    came[way] = open(way, 'rb').read(9).decode('latin-1')
  except OSError as error:
    came[way] = errno.errorcode[error.errno]
print(json.dumps(came))
text = pathlib.Path('model.py').read_text()
pathlib.Path('model.py').write_text(text.replace('X = 3.0', 'X = 2.0'))
"""


class Sound(Arithmetic):
  """Every program has a score."""

  def result(self, request):
    runs = tuple(self.measured(1.0, 1.0, 0, seed, request) for seed in request.seeds)
    return types.Result(
      request.trial, types.Status.OK, '', request.program.digest, measurements=runs
    )


@pytest.mark.skipif(
  not (linux.landlock_version() and linux.has_seccomp()), reason='no Landlock or no seccomp here'
)
def test_an_agent_edits_the_program_and_reads_nothing_of_the_run(tmp_path):
  workdir = tmp_path / 'runs' / 'tonight'
  (workdir / 'damaged.1').mkdir(parents=True)
  (workdir / 'damaged.1' / 'ledger.db').write_text('an older copy')
  command = (sys.executable, '-I', '-S', '-c', AGENT, str(workdir))
  # As wide as one might make it: the folder in which all runs are.
  options = {'command': command, 'readable_paths': (str(tmp_path),), 'fallback': ''}
  live = run(workdir, 2, executor=Sound(), proposer=PROPOSERS.make('agent', options))
  assert live.history.edits[1].program.text() == START.text().replace('X = 3.0', 'X = 2.0')
  assert live.history.results[1].status == types.Status.OK
  with Ledger.read(workdir / 'ledger.db') as ledger:
    events = [record.event for record in ledger.records()]
  said = [event.exchange.response for event in events if isinstance(event, Consulted)][-1]
  came = json.loads(said.splitlines()[-1])
  assert set(came.values()) == {'EACCES'}, came


def test_a_candidate_reads_nothing_of_the_run(arena):
  paths = [pathlib.Path(arena.house, name) for name in ('ledger.db', 'results.tsv', 'config.py')]
  assert all(path.exists() for path in paths)
  came = arena.done({str(path): f'open({str(path)!r}, "rb")' for path in paths})
  assert set(came.values()) == {'EACCES'}, came
