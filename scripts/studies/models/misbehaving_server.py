"""A run whose model is a local server that misbehaves: does the device stay busy, do caps hold?

  python scripts/studies/models/misbehaving_server.py --minutes=20
  python scripts/studies/models/misbehaving_server.py --minutes=2 --proposer=gemini

Carries out a real run of digits, tracer and runner included, for --minutes. The server on 127.0.0.1
speaks the proposer's protocol. Each request gets one of these at random: a usable edit, an answer
that is broken, empty, cut off, filtered or no JSON; an error of the API, also with waits; an HTML
page; bytes that never end, too many bytes, half an answer, a closed connection, silence. Where the
model gives no edit in time, the fallback does.

Prints how the device spent the time between the first result and the last, how the calls ended, and
whether the caps held and each call has its end on record. Exits with 1 if something did not hold.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import random
import sys
import tempfile
from typing import Any

from autoresearch_jax.cli.front_door import run
from autoresearch_jax.ledger.events import Consulted, Finished, Record, Released
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import read_records
from autoresearch_jax.measure.utilization import ConstantEditor
from autoresearch_jax.testing import loopback_model as loopback
from autoresearch_jax.testing.loopback_model import Step, answer

USABLE_SHARE = 0.5  # of the answers
MODEL = 'misbehaving'


def silent(seconds: float) -> Step:
  """Accepts a request and answers nothing for a while."""
  return loopback.delayed(seconds, loopback.hang_up)


def faults(server: loopback.ModelServer) -> list[Step]:
  """Returns what the server does when it misbehaves."""
  wait = {'retry-after': '1'}
  return [
    loopback.api_error(429, 'RESOURCE_EXHAUSTED', headers=wait),
    loopback.api_error(503, 'UNAVAILABLE'),
    loopback.api_error(500, 'INTERNAL'),
    loopback.api_error(400, 'INVALID_ARGUMENT', 'Bad request.'),
    loopback.send(502, b'<html>Bad gateway</html>', 'text/html'),
    loopback.send(200, b'<html></html>', 'text/html'),
    loopback.send(200, b'data: {"choices": []}\n\n', 'text/event-stream'),
    loopback.send(200, b'\xff\xfe'),
    loopback.send(200, b'{}'),
    loopback.cut_off,
    loopback.hang_up,
    loopback.drip(server),
    loopback.flood(32 * 2**20),
    silent(3.0),
    loopback.blocked(),
    answer(None),
    answer('{"edits": ', 'MAX_TOKENS'),
    answer('Hello!'),
    answer(loopback.edit('nowhere', 'anywhere')),
    answer(None, 'SAFETY'),
    answer('{}', usage=None),
    answer('{}', usage={'promptTokenCount': -5, 'totalTokenCount': 10**30}),
  ]


@dataclasses.dataclass
class Misbehaving:
  """The rule of the server.

  Attributes:
    server: The server.
    generator: Its randomness.
    editor: Makes usable edits.
  """

  server: loopback.ModelServer
  generator: random.Random
  editor: ConstantEditor

  def __call__(self, request: dict[str, Any]) -> Step:
    if self.generator.random() >= USABLE_SHARE:
      return self.generator.choice(faults(self.server))
    try:
      return self.editor(request)
    except (IndexError, ValueError):  # a prompt without constants, such as that for lessons
      return answer('{"lessons": []}')


def report(records: list[Record], server: loopback.ModelServer, caps: dict[str, float]) -> bool:
  """Prints the figures; returns whether everything held."""
  history = History.of(records)
  ends = {r.event.trial: r.time for r in records if isinstance(r.event, Finished)}
  later = [trial for trial in ends if trial != BASELINE]
  costs = [m.cost for trial in later for m in history.results[trial].measurements]
  if not later:
    print('No trial after the baseline has ended; give it more --minutes.')
    return False
  wall = max(ends.values()) - ends[BASELINE]
  training = sum(cost.training_seconds + cost.evaluate_seconds for cost in costs)
  ahead = {r.event.trial: r.time for r in records if isinstance(r.event, Released)}
  since = max(ends.values()) - min(ahead.values(), default=ends[BASELINE])
  busy = sum(
    m.cost.training_seconds + m.cost.evaluate_seconds
    for trial in ahead
    if trial in ends
    for m in history.results[trial].measurements
  )
  compiling = sum(cost.compile_seconds for cost in costs)
  calls = {r.event.exchange.id: r.event.exchange for r in records if isinstance(r.event, Consulted)}
  states = collections.Counter(call.state for call in calls.values())
  spend = history.spend
  authors = collections.Counter(bool(history.edits[t].author) for t in later)
  print(
    f'{len(later)} trials in {wall:.0f} s, {authors[True]} by the model and {authors[False]} by '
    f'the fallback.\nDevice: training and evaluating {training / wall:.1%}, compiling '
    f'{compiling / wall:.1%}; since trials are prepared ahead, busy {busy / since:.1%}.\n'
    f'{len(server.requests)} requests, {len(calls)} calls on record: '
    f'{dict(states)}.\nSpent: {spend.calls} calls, {spend.tokens:,} tokens, ${spend.dollars:.2f}; '
    f'caps: {caps}.'
  )
  held = (
    spend.calls <= caps['max_calls']
    and spend.tokens <= caps['max_total_tokens']
    and spend.dollars <= caps['max_dollars']
    and len(calls) >= len(server.requests)
    and not states['sent']
  )
  print('Caps held, and each call has its end on record.' if held else 'SOMETHING DID NOT HOLD.')
  return held


def main() -> int:
  parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n', maxsplit=1)[0])
  parser.add_argument('--minutes', type=float, default=20.0)
  parser.add_argument('--proposer', choices=('openai', 'gemini'), default='openai')
  parser.add_argument('--trial_seconds', type=float, default=10.0, help='training of a trial')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--workdir', help='folder of the run; by default a temporary one')
  options = parser.parse_args()
  os.environ['GEMINI_API_KEY'] = os.environ['OPENAI_API_KEY'] = loopback.KEY  # no real one is used
  os.environ['NO_PROXY'] = '127.0.0.1'
  caps = {'max_calls': 5000, 'max_total_tokens': 100_000_000, 'max_dollars': 50.0}
  with tempfile.TemporaryDirectory() as temporary, loopback.serving() as server:
    generator = random.Random(options.seed)
    server.rule = Misbehaving(server, generator, ConstantEditor(0.2, generator))
    settings = {
      'budget.amount': options.trial_seconds,
      'budget.clock': 'wall',
      'final_seeds': 0,
      'search.max_trials': 0,
      'search.max_hours': options.minutes / 60,
      'search.prefetch': 1,
      'acceptance': 'strict',  # one training for the baseline
      'acceptance_options': {},
      'proposer': options.proposer,
      'proposer_options': {
        'models': (MODEL,),
        'prices': ((MODEL, 1.0, 10.0),),
        'timeout_seconds': 5.0,
        'attempts': 2,
        'initial_delay': 0.5,
        'max_output_tokens': 4000,
        'lessons_interval': 10,
        'base_url': server.url + ('/v1' if options.proposer == 'openai' else ''),
        **caps,
      },
    }
    workdir = pathlib.Path(options.workdir or temporary) / 'run'
    run('digits:seconds', workdir, **settings)
    return 0 if report(read_records(workdir), server, caps) else 1


if __name__ == '__main__':
  sys.exit(main())
