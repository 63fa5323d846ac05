"""What servers of the Chat Completions protocol accept and answer, through the SDK."""

import json
import subprocess
import sys

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.proposers import PROPOSERS, ProposalContext
from autoresearch_jax.proposers.llm.answer import SCHEMA
from autoresearch_jax.proposers.llm.backend import ModelReply, ModelRequest
from autoresearch_jax.proposers.llm.client import ModelClient, NoAnswer
from autoresearch_jax.proposers.llm.openai import OpenAI, is_private
from autoresearch_jax.proposers.llm.openai_backend import OpenAIBackend, strict_schema
from autoresearch_jax.proposers.prompt import LESSONS_SCHEMA
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.testing import loopback_model as loopback

PROGRAM = types.Program((('model.py', 'RATE = 1\n'),), 'model.py')
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(1, 'steps'), input_shape=(1,), num_classes=2)
REQUEST = ModelRequest('m', 'propose', 'Be brief.', ('What?',), SCHEMA, seed=7, temperature=0.5)
GOOD = loopback.answer('{}')

pytest.importorskip('openai')
pytestmark = pytest.mark.usefixtures('secret')


@pytest.fixture
def made(server):
  return ModelClient(
    OpenAIBackend(f'{server.url}/v1', needs_key=False), {'m': (1.0, 10.0)}, SpendLimits(), 1000,
    60.0, 2, 0.0,
  )  # fmt: skip


def ask(made, book, request=REQUEST):
  context = ProposalContext(
    (PROGRAM,), {}, ('model.py',), types.Objective('loss', 'minimize'), SPEC,
    record=book.record, spend=book.spend,
  )  # fmt: skip
  return made.ask(request, context, np.random.default_rng(0))


def refused(message, param=None, code=400):
  """The error of a server that does not know a part of the request."""
  return loopback.api_error(code, 'invalid_request_error', message, param=param)


# Fields that servers refuse, in the words of OpenAI, vLLM, Mistral and others.
REFUSALS = {
  'temperature': refused("Unsupported value: 'temperature' does not support 0.5", 'temperature'),
  'seed': loopback.send(
    422,
    json.dumps({
      'detail': [{
        'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs', 'input': 7
      }]
    }).encode(),
  ),
  'max_completion_tokens': refused("Unrecognized field 'max_completion_tokens'", code=422),
}  # fmt: skip


@pytest.mark.parametrize('field', REFUSALS)
def test_a_field_that_is_refused_is_left_out_from_then_on_at_no_cost(made, server, book, field):
  server.script = [REFUSALS[field], GOOD, GOOD]
  for _ in range(2):
    assert ask(made, book) == ModelReply('{}')
  assert [field in request for request in server.requests] == [True, False, False]
  assert loopback.settings(server.requests[-1])['max_output_tokens'] == 1000
  assert [bool(e.dollars) for e in book.last] == [False, True, True]
  assert json.loads(book.last[-1].request) != json.loads(book.last[0].request), 'not on record'


def test_the_form_of_the_answer_falls_back_to_words(made, server, book):
  server.script = [
    refused('This response_format type is unavailable now'),
    refused('failed to parse grammar', code=500),
    refused("'response_format' of type 'json_object' is not supported"),
    GOOD,
    GOOD,
  ]
  assert ask(made, book) == ask(made, book) == ModelReply('{}')
  forms = [request.get('response_format') for request in server.requests]
  assert forms[0]['json_schema']['strict'] is True
  assert forms[0]['json_schema']['schema']['additionalProperties'] is False
  assert 'strict' not in forms[1]['json_schema'] and forms[1]['json_schema']['schema'] == SCHEMA
  assert forms[2:] == [{'type': 'json_object'}, None, None]
  systems = [loopback.system_text(request) for request in server.requests]
  assert systems[0] == systems[1] == 'Be brief.'
  assert all(json.dumps(SCHEMA) in text for text in systems[2:])
  sent = book.exchanges[::2]
  assert all(e.input_tokens >= len(s) for e, s in zip(sent, systems, strict=True))


def test_each_model_of_a_server_has_a_form_of_its_own(made, server, book):
  server.script = [REFUSALS['seed'], GOOD, GOOD]
  ask(made, book)
  ask(made, book, ModelRequest('other', 'propose', 'S', ('T',), SCHEMA, seed=7))
  assert ['seed' in request for request in server.requests] == [True, False, True]


def test_a_template_without_a_system_role_gets_one_turn(made, server, book):
  server.script = [refused('System role not supported'), GOOD]
  ask(made, book)
  (message,) = server.requests[1]['messages']
  assert message == {'role': 'user', 'content': 'Be brief.\n\nWhat?'}


def test_a_server_that_refuses_everything_is_not_asked_for_ever(made, server, book):
  words = 'No max_completion_tokens, max_tokens, seed, temperature, response_format, system role'
  server.rule = lambda body: refused(words)
  with pytest.raises(NoAnswer, match='No max_completion_tokens'):
    ask(made, book)
  assert 4 < len(server.requests) < 12 and book.spend().dollars == 0


@pytest.mark.parametrize(
  'message',
  [
    'max_tokens is too large: 32768. This model supports at most 16384 completion tokens',
    "'max_tokens' or 'max_completion_tokens' is too large: 32768. This model's maximum context "
    'length is 8192 tokens and your request has 5000 input tokens',
  ],
)
def test_a_limit_that_is_too_high_is_said_with_the_options(made, server, book, message):
  server.script = [refused(message, 'max_tokens')]
  with pytest.raises(NoAnswer, match='Lower max_output_tokens or max_prompt_tokens'):
    ask(made, book)
  assert len(server.requests) == 1


def body(**changes):
  """A response with other fields in its only choice."""
  made = json.loads(loopback.CHAT.answer('{}'))
  made['choices'][0] |= changes
  return loopback.send(200, json.dumps(made).encode())


@pytest.mark.parametrize(
  ('changes', 'text'),
  [
    ({'finish_reason': 'eos'}, '{}'),
    ({'finish_reason': None}, '{}'),
    ({'message': {'content': [{'type': 'text', 'text': '{"a"'}, {'text': ': 1}'}]}}, '{"a": 1}'),
    ({'message': {'content': '<think>{"no": 1}</think>\n{"a": 1}'}}, '\n{"a": 1}'),
    ({'message': {'content': '{}', 'reasoning_content': '{"no": 1}'}}, '{}'),
  ],
)
def test_answers_of_other_servers_are_read(made, server, book, changes, text):
  server.script = [body(**changes)]
  assert ask(made, book) == ModelReply(text)


TOOL = {'message': {'content': None, 'tool_calls': [{}]}, 'finish_reason': 'tool_calls'}
BROKEN = {
  'tool': body(**TOOL),
  'message is text': body(message='{}'),
  'no choices': loopback.send(200, b'{"choices": []}'),
  'choices is an object': loopback.send(200, b'{"choices": {"0": 1}}'),
  'an event stream': loopback.send(200, b'data: {"choices": []}\n\n', 'text/event-stream'),
  'deep': loopback.send(200, b'[' * 100_000),
  'an error as an answer': loopback.send(200, b'{"error": {"message": "Busy", "code": 502}}'),
  'content of numbers': body(message={'content': [1, 2]}),
}


@pytest.mark.parametrize('step', BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_is_tried_again(made, server, book, step):
  server.script = [step, GOOD]
  assert ask(made, book) == ModelReply('{}')
  assert [e.state for e in book.last] == ['failed', 'answered']


@pytest.mark.parametrize(
  ('step', 'sentence', 'rest'),
  [
    (loopback.send(302, b'', headers={'location': 'http://127.0.0.1:1/'}), 'base_url', 600),
    (loopback.send(404, b'404 page not found', 'text/plain'), 'ends in /v1', 600),
    (loopback.api_error(429, 'x', code='insufficient_quota'), 'its billing', 600),
  ],
)
def test_what_only_the_user_can_mend_rests(made, server, book, step, sentence, rest):
  server.script = [step]
  with pytest.raises(NoAnswer, match=sentence) as error:
    ask(made, book)
  assert error.value.suspend_seconds == rest and len(server.requests) == 1


@pytest.mark.parametrize(
  ('usage', 'tokens'),
  [
    ({'prompt_tokens': 7, 'completion_tokens': 3, 'total_tokens': 20}, (7, 13)),
    ({'prompt_tokens': 7, 'completion_tokens': True}, (7, 0)),
    ({'prompt_tokens': '7', 'completion_tokens': 3}, None),
    ({'prompt_tokens': 10**30, 'completion_tokens': 3}, None),
    ([7, 3], None),
  ],
)
def test_odd_token_counts_stand_for_the_most(made, server, book, usage, tokens):
  found = {**json.loads(loopback.CHAT.answer('{}')), 'usage': usage}
  server.script = [loopback.send(200, json.dumps(found).encode())]
  ask(made, book)
  sent, ended = book.exchanges
  wanted = tokens or (sent.input_tokens, sent.output_tokens)
  assert (ended.input_tokens, ended.output_tokens) == wanted


def test_a_short_placeholder_for_a_key_is_not_cut_out_of_texts(made, server, book, monkeypatch):
  monkeypatch.setenv('OPENAI_API_KEY', 'none')
  server.script = [loopback.answer('{"x": "none"}')]
  assert ask(made, book).text == '{"x": "none"}'


def test_both_schemas_may_be_strict():
  assert strict_schema(SCHEMA) and strict_schema(LESSONS_SCHEMA)
  assert strict_schema({'type': 'object', 'properties': {'a': {}}, 'required': []}) is None


# The proposer.


@pytest.mark.parametrize(
  ('url', 'private'),
  [
    ('http://127.0.0.1:8000/v1', True),
    ('http://localhost:11434/v1', True),
    ('http://[::1]:8080', True),
    ('http://192.168.1.7/v1', True),
    ('http://ollama:11434/v1', True),
    ('https://api.openai.com/v1', False),
    ('http://8.8.8.8/v1', False),
    ('http://localhost.example.org/v1', False),
    ('http://[::1', False),
    ('', False),
  ],
)
def test_a_private_server_is_known_by_its_url(url, private):
  assert is_private(url) == private


def test_a_private_server_needs_no_key_and_no_price(monkeypatch):
  monkeypatch.delenv('OPENAI_API_KEY')
  made = OpenAI(models=('qwen3:8b',), base_url='http://me:hidden@localhost:11434/v1')
  assert 'qwen3:8b at http://localhost:11434/v1, taken to be free' in made.title
  assert 'hidden' not in made.title
  with pytest.raises(ValueError, match='OPENAI_API_KEY'):
    OpenAI(models=('qwen3:8b',), base_url='https://example.org/v1')
  with pytest.raises(ValueError, match='OTHER_KEY'):
    OpenAI(key_variable='OTHER_KEY')


def test_the_url_may_come_from_the_environment(monkeypatch):
  monkeypatch.setenv('OPENAI_BASE_URL', 'http://localhost:8000/v1')
  assert 'at http://localhost:8000/v1' in OpenAI(models=('m',)).title
  assert 'at http://localhost:9/v1' in OpenAI(models=('m',), base_url='http://localhost:9/v1').title
  monkeypatch.delenv('OPENAI_API_KEY')
  with pytest.raises(ValueError, match="base_url is 'localhost:11434'"):
    OpenAI(models=('m',), base_url='localhost:11434')
  monkeypatch.setenv('OPENAI_BASE_URL', 'localhost')
  with pytest.raises(ValueError, match="OPENAI_BASE_URL is 'localhost'"):
    OpenAI(models=('m',))


def test_without_the_package_all_other_proposers_are_there():
  code = (
    "import sys; sys.modules['openai'] = None\n"
    'from autoresearch_jax.proposers import PROPOSERS\n'
    "assert {'openai', 'gemini'} <= set(PROPOSERS.names()); PROPOSERS.make('mutate')"
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
  monkeypatch.setitem(sys.modules, 'openai', None)
  with pytest.raises(ValueError, match=r'pip install .*\[openai\]'):
    PROPOSERS.make('openai')


def test_the_tier_is_fixed_for_openai_alone():
  """A project's default tier may be dearer than the known prices."""
  form = OpenAIBackend().form('m')
  assert OpenAIBackend().body(REQUEST, form, 9)['service_tier'] == 'default'
  assert 'service_tier' not in OpenAIBackend('http://localhost/v1').body(REQUEST, form, 9)
