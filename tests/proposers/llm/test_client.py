"""Calls through the real SDKs to a scripted server: faults, caps, deadlines, the key."""

import contextlib
import dataclasses
import datetime
import email.utils
import json
import logging
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.proposers.llm.backend import ModelReply, ModelRequest
from autoresearch_jax.proposers.llm.client import ModelClient, NoAnswer
from autoresearch_jax.proposers.llm.responses import MAX_RESPONSE_BYTES
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.testing import loopback_model as loopback
from autoresearch_jax.testing.loopback_model import (
  ANSWER_TOKENS,
  KEY,
  PROMPT_TOKENS,
  THOUGHT_TOKENS,
)

PROGRAM = types.Program((('model.py', 'RATE = 1\n'),), 'model.py')
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(1, 'steps'), input_shape=(1,), num_classes=2)
MODEL = 'a-model'
PRICES = {MODEL: (1.0, 10.0)}
PRICE = (PROMPT_TOKENS * 1.0 + (ANSWER_TOKENS + THOUGHT_TOKENS) * 10.0) / 1e6
REQUEST = ModelRequest(MODEL, 'propose', 'Be brief.', ('What now?',), {'type': 'object'}, seed=7)
RNG = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures('secret')


def client(api, server, **changes):
  options = {
    'limits': SpendLimits(),
    'max_output_tokens': 1000,
    'timeout_seconds': 60.0,
    'attempts': 3,
    'initial_delay': 0.0,
  }
  return ModelClient(api.make_backend(api.url(server)), PRICES, **{**options, **changes})


def context(book):
  return ProposalContext(
    (PROGRAM,), {}, ('model.py',), types.Objective('loss', 'minimize'), SPEC,
    record=book.record, spend=book.spend,
  )  # fmt: skip


def ask(api, server, book, request=REQUEST, **changes):
  return client(api, server, **changes).ask(request, context(book), RNG)


def test_an_answer_is_recorded_before_it_is_sent_and_with_what_it_cost(api, server, book):
  def step(handler, body):
    assert [e.state for e in book.exchanges] == ['sent'], 'it was sent before it was on record'
    loopback.answer('{"a": 1}')(handler, body)

  server.script = [step]
  assert ask(api, server, book) == ModelReply('{"a": 1}')
  sent, answered = book.exchanges
  assert sent.id == answered.id
  assert (sent.model, sent.purpose, answered.state) == (MODEL, 'propose', 'answered')
  assert sent.input_tokens >= len('Be brief.What now?') and sent.output_tokens == 1000
  assert answered.input_tokens == PROMPT_TOKENS
  assert answered.output_tokens == ANSWER_TOKENS + THOUGHT_TOKENS
  assert answered.dollars == pytest.approx(PRICE)
  assert json.loads(sent.request)['turns'] == ['What now?']
  assert '{\\"a\\": 1}' in answered.response


@pytest.mark.parametrize(
  ('used', 'tokens'),
  [
    ({'promptTokenCount': 7, 'candidatesTokenCount': 3, 'thoughtsTokenCount': 2}, (7, 5)),
    ({'promptTokenCount': 7, 'candidatesTokenCount': 3, 'totalTokenCount': 20}, (7, 13)),
    ({'promptTokenCount': 7}, (7, 0)),
    ({'totalTokenCount': 20}, None),
    ({'promptTokenCount': -7, 'totalTokenCount': -7}, None),
    (None, None),
  ],
)
def test_what_was_used_is_what_the_api_says_or_else_the_most(api, server, book, used, tokens):
  server.script = [loopback.answer('{}', usage=used)]
  ask(api, server, book)
  sent, ended = book.exchanges
  wanted = tokens or (sent.input_tokens, sent.output_tokens)
  assert (ended.input_tokens, ended.output_tokens) == wanted
  assert ended.dollars == pytest.approx((wanted[0] * 1.0 + wanted[1] * 10.0) / 1e6)


def test_what_is_said_arrives_as_it_was_meant(api, server, book):
  server.script = [loopback.answer('{}')]
  turns = ('One?', '{"x": 1}', 'Wrong: fix it.')
  ask(api, server, book, dataclasses.replace(REQUEST, turns=turns, temperature=0.5))
  (request,) = server.requests
  assert request['key'] == KEY and request['model'] == MODEL
  assert loopback.turn_texts(request) == list(turns)
  assert loopback.system_text(request) == 'Be brief.'
  made = loopback.settings(request)
  assert made == {
    'schema': {'type': 'object'}, 'max_output_tokens': 1000, 'seed': 7, 'temperature': 0.5
  }  # fmt: skip
  turns = request.get('messages', request.get('contents'))
  roles = [turn['role'] for turn in turns if turn['role'] != 'system']
  assert roles[0] == roles[2] == 'user' and roles[1] in ('model', 'assistant')


GOOD = loopback.answer('{}')
HTML = loopback.send(502, b'<html>Bad gateway</html>', 'text/html')
# (what comes before a good answer, whether the failed call may have cost something)
PASSING = {
  '429': (loopback.api_error(429, 'RESOURCE_EXHAUSTED'), False),
  '500': (loopback.api_error(500, 'INTERNAL'), False),
  '503': (loopback.api_error(503, 'UNAVAILABLE'), False),
  'a page of a proxy': (HTML, True),
  'cut': (loopback.cut_off, True),
  'hung up': (loopback.hang_up, True),
  'no JSON': (loopback.send(200, b'Hello!'), True),
  'half JSON': (loopback.send(200, b'{"candidates": [{"con'), True),
  'HTML instead of JSON': (loopback.send(200, b'<html></html>', 'text/html'), True),
  'not UTF-8': (loopback.send(200, b'{"a": "\xff\xfe"}'), True),
  'another JSON': (loopback.send(200, b'[1, 2]'), True),
  'wrong types': (loopback.send(200, b'{"candidates": 5, "usageMetadata": "none"}'), True),
  'nothing': (loopback.send(200, b''), True),
  'no usage, no candidate': (loopback.send(200, b'{}'), True),
}


@pytest.mark.parametrize(('fault', 'billed'), PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(api, server, book, fault, billed):
  server.script = [fault, GOOD]
  assert ask(api, server, book) == ModelReply('{}')
  failed, answered = book.last
  assert (failed.state, answered.state) == ('failed', 'answered')
  assert failed.error.endswith('.')
  assert bool(failed.dollars) == bool(failed.input_tokens) == billed
  assert answered.dollars == pytest.approx(PRICE)


@pytest.mark.parametrize(
  'step', [loopback.answer(None), loopback.answer(' '), loopback.answer('{"a"', 'OTHER')]
)
def test_an_empty_answer_is_tried_again_and_paid_for(api, server, book, step):
  server.script = [step, GOOD]
  assert ask(api, server, book) == ModelReply('{}')
  assert [e.dollars for e in book.last] == [pytest.approx(PRICE)] * 2


LASTING = {
  'bad request': (loopback.api_error(400, 'INVALID_ARGUMENT', 'Bad schema.'), 'Bad schema', 0),
  'bad key': (
    loopback.api_error(401, 'UNAUTHENTICATED', 'API key not valid.'),
    'Check the key in ', 600,
  ),
  'no right': (loopback.api_error(403, 'PERMISSION_DENIED'), 'Check the key', 600),
  'no credit': (loopback.api_error(402, 'RESOURCE_EXHAUSTED'), 'billing', 600),
  'unknown model': (
    loopback.api_error(404, 'NOT_FOUND', f'models/{MODEL} is not found.'),
    'is not found. Check the name in the option models', 600,
  ),
  'a long wait': (
    loopback.api_error(429, 'RESOURCE_EXHAUSTED', headers={'retry-after': '3600'}), '429', 3600
  ),
  'prompt refused': (loopback.blocked(), 'refused the prompt (SAFETY)', 0),
  'filtered': (loopback.answer('{"a', 'SAFETY'), 'broke off its answer', 0),
}  # fmt: skip


@pytest.mark.parametrize(('fault', 'sentence', 'rest'), LASTING.values(), ids=LASTING)
def test_what_will_not_pass_is_said_and_not_tried_again(api, server, book, fault, sentence, rest):
  server.script = [fault, GOOD]
  with pytest.raises(NoAnswer) as failed:
    ask(api, server, book)
  assert sentence in str(failed.value) and failed.value.suspend_seconds == rest
  assert len(server.requests) == 1
  assert [e.state for e in book.exchanges] == ['sent', 'failed']
  assert sentence in book.last[0].error


def test_after_the_last_attempt_the_reason_is_said(api, server, book):
  server.script = [loopback.api_error(503, 'UNAVAILABLE', 'Busy.')] * 3
  with pytest.raises(NoAnswer, match=r'503.*\): Busy\.'):
    ask(api, server, book)
  assert len(book.last) == 3 and book.spend().dollars == 0


@pytest.mark.parametrize('headers', [{'retry-after': '0.3'}, {'retry-after-ms': '300'}])
def test_the_wait_that_the_api_asks_for_is_kept(api, server, book, headers):
  server.script = [loopback.api_error(429, 'RESOURCE_EXHAUSTED', headers=headers), GOOD]
  started = time.monotonic()
  ask(api, server, book)
  assert time.monotonic() - started >= 0.3


def tomorrow():
  return email.utils.format_datetime(
    datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1, minutes=1), usegmt=True
  )


@pytest.mark.parametrize('wanted', [lambda: '86400', tomorrow], ids=['seconds', 'a date'])
def test_a_wait_of_a_day_is_said_and_not_waited_for(api, server, book, wanted):
  headers = {'retry-after': wanted()}
  server.script = [loopback.api_error(429, 'RESOURCE_EXHAUSTED', 'Quota.', headers=headers)]
  with pytest.raises(NoAnswer, match=r'429.*Quota\. The model is not called for 1 day') as error:
    ask(api, server, book)
  assert error.value.suspend_seconds == pytest.approx(86400, abs=100)
  assert len(book.last) == 1


def test_waits_grow(api, server, book):
  server.script = [loopback.api_error(503, 'UNAVAILABLE')] * 3 + [GOOD]
  started = time.monotonic()
  ask(api, server, book, attempts=4, initial_delay=0.1)
  assert time.monotonic() - started >= 0.05 + 0.1 + 0.2


def test_a_model_that_cannot_be_reached_costs_nothing(api, book):
  with loopback.serving() as gone:
    pass
  with pytest.raises(NoAnswer, match='cannot be reached'):
    ask(api, gone, book)
  assert book.spend() == types.Spend(calls=1)


def test_an_answer_that_was_cut_off_says_so(api, server, book):
  server.script = [loopback.answer('{"a": [1, ', 'MAX_TOKENS')]
  assert ask(api, server, book) == ModelReply('{"a": [1, ', truncated=True)


def test_a_drip_ends_at_the_deadline_and_its_connection_is_closed(api, server, book):
  server.script = [loopback.drip(server)]
  with pytest.raises(NoAnswer, match=r'within 0\.5 seconds'):
    ask(api, server, book, timeout_seconds=0.5)
  assert server.hung_up.wait(60)
  assert book.spend().dollars == book.exchanges[0].dollars > 0, 'it may have been billed'


def test_a_flood_is_cut_off(api, server, book):
  server.script = [loopback.flood(2 * MAX_RESPONSE_BYTES)]
  with pytest.raises(NoAnswer, match='more than'):
    ask(api, server, book)


@pytest.mark.parametrize('during', ['call', 'pause'])
def test_closing_ends_a_call_or_a_pause_at_once_and_allows_no_other(api, server, book, during):
  made = client(api, server, timeout_seconds=60.0, initial_delay=40.0)
  busy = loopback.api_error(503, 'UNAVAILABLE')
  server.script = [loopback.drip(server) if during == 'call' else busy, GOOD]
  closing = server.after_first_request(made.calls.close)
  started = time.monotonic()
  with pytest.raises(NoAnswer, match='stopping'):
    made.ask(REQUEST, context(book), RNG)
  assert time.monotonic() - started < 30
  closing.join()
  assert [e.state for e in book.exchanges] == ['sent', 'failed']
  with pytest.raises(NoAnswer, match='stopping'):
    made.ask(REQUEST, context(book), RNG)
  assert len(server.requests) == 1


def test_an_interrupt_leaves_the_call_on_record_at_its_most(api, server, book):
  class Interrupted(BaseException):
    pass

  def interrupt():
    raise Interrupted

  made = client(api, server)
  made.calls.run = lambda call: interrupt()
  with pytest.raises(Interrupted):
    made.ask(REQUEST, context(book), RNG)
  sent, failed = book.exchanges
  assert failed.state == 'failed' and failed.dollars == sent.dollars > 0


@pytest.mark.parametrize(
  ('limits', 'calls'),
  [
    (SpendLimits(max_calls=2), 2),
    (SpendLimits(max_total_tokens=3 * (PROMPT_TOKENS + 100)), 2),
    (SpendLimits(max_dollars=0.0125), 2),
  ],
)
def test_a_call_that_might_pass_a_cap_is_not_sent(api, server, book, limits, calls):
  server.script = [GOOD] * 5
  made = client(api, server, limits=limits)
  for _ in range(calls):
    made.ask(REQUEST, context(book), RNG)
  with pytest.raises(NoAnswer, match='Budget exhausted: '):
    made.ask(REQUEST, context(book), RNG)
  assert len(server.requests) == calls and len(book.last) == calls


def test_a_call_of_a_killed_run_still_counts(api, server, book):
  """Its second record is missing, so it stands for the most it can have cost."""
  server.script = [GOOD]
  ask(api, server, book)
  book.exchanges.pop()
  with pytest.raises(NoAnswer, match=r'of \$0\.015 spent'):
    ask(api, server, book, limits=SpendLimits(max_dollars=0.015))


def test_the_key_is_seen_by_the_api_alone(api, server, book, caplog):
  caplog.set_level(logging.DEBUG)
  echo = loopback.api_error(503, 'UNAVAILABLE', f'Your key {KEY} is busy.')
  page = loopback.send(500, f'<b>{KEY}</b>'.encode(), 'text/html')
  server.script = [echo, page, loopback.answer(f'{{"key": "{KEY}"}}'), echo]
  made = client(api, server, attempts=3)
  got = made.ask(dataclasses.replace(REQUEST, system=f'It is {KEY}.'), context(book), RNG)
  assert '[key]' in got.text
  with pytest.raises(NoAnswer) as failed:
    client(api, server, attempts=1).ask(REQUEST, context(book), RNG)
  chain, error = [], failed.value
  while error is not None:
    chain.append(repr(error) + str(vars(error)))
    error = error.__cause__ or error.__context__
  seen = [repr(made), *chain, caplog.text, *map(repr, book.exchanges)]
  assert not [text for text in seen if KEY in text]


def test_the_sdk_writes_no_lines_into_the_live_view(api, server, book, caplog, monkeypatch):
  monkeypatch.setenv('GOOGLE_API_KEY', 'another')
  caplog.set_level(logging.INFO)
  server.script = [loopback.answer('{}'), loopback.api_error(503, 'UNAVAILABLE')]
  ask(api, server, book)
  with pytest.raises(NoAnswer):
    ask(api, server, book, attempts=1)
  assert not caplog.records
  assert {request['key'] for request in server.requests} == {KEY}


def test_without_a_key_nothing_is_sent(api, server, book, monkeypatch):
  monkeypatch.delenv(api.key_variable)
  with pytest.raises(NoAnswer, match=f'set {api.key_variable}'):
    ask(api, server, book)
  assert not book.exchanges


def test_half_a_surrogate_pair_can_be_recorded(api, server, book):
  server.script = [loopback.answer('{"a": "\ud800"}')]
  with contextlib.suppress(NoAnswer):
    ask(api, server, book, dataclasses.replace(REQUEST, turns=('\udc00',)), attempts=1)
  for exchange in book.exchanges:
    assert types.from_json(types.to_json(exchange), types.Exchange) == exchange
  assert book.last[0].state != 'sent'


@settings(max_examples=50)
@given(
  limits=st.builds(
    SpendLimits, st.integers(1, 9), st.integers(1, 10**6), st.floats(0.001, 10, allow_nan=False)
  ),
  calls=st.lists(st.tuples(st.integers(0, 10**5), st.floats(0, 1)), max_size=12),
)
def test_no_sequence_of_calls_passes_a_limit(limits, calls):
  """A call is allowed only where even the most it can cost fits; what it costs is not more."""
  spent = types.Spend()
  for tokens, share in calls:
    if not limits.refusal(spent, types.Spend(1, tokens, 0, tokens / 1e4)):
      spent += types.Spend(1, int(tokens * share), 0, tokens * share / 1e4)
  assert spent.calls <= limits.max_calls and spent.tokens <= limits.max_total_tokens
  assert spent.dollars <= limits.max_dollars
