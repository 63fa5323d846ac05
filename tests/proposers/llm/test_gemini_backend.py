"""What the Gemini API alone says, through its SDK, against a scripted server."""

import json

import numpy as np
import pytest
from helpers.model_apis import APIS

from autoresearch_jax import types
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.proposers.llm.backend import ModelRequest
from autoresearch_jax.proposers.llm.client import ModelClient, NoAnswer
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.testing import loopback_model as loopback

PROGRAM = types.Program((('model.py', 'RATE = 1\n'),), 'model.py')
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(1, 'steps'), input_shape=(1,), num_classes=2)
REQUEST = ModelRequest('m', 'propose', 'Be brief.', ('What now?',), {'type': 'object'}, seed=7)


def ask(server, book):
  client = ModelClient(
    APIS['gemini'].make_backend(server.url), {'m': (1.0, 10.0)}, SpendLimits(), 1000, 60.0, 3, 0.0
  )
  context = ProposalContext(
    (PROGRAM,), {}, ('model.py',), types.Objective('loss', 'minimize'), SPEC,
    record=book.record, spend=book.spend,
  )  # fmt: skip
  return client.ask(REQUEST, context, np.random.default_rng(0))


def refusal(server, book):
  with pytest.raises(NoAnswer) as error:
    ask(server, book)
  assert len(server.requests) == 1
  return error.value


def test_the_answer_is_wanted_as_json_by_a_schema(server, book):
  server.script = [loopback.answer('{}')]
  ask(server, book)
  made = server.requests[0]['generationConfig']
  assert made['responseMimeType'] == 'application/json'
  assert made['responseJsonSchema'] == {'type': 'object'}


def test_the_tokens_of_tools_count_as_input(server, book):
  body = json.loads(loopback.GEMINI.answer('{}'))
  body['usageMetadata'] = {
    'promptTokenCount': 7, 'toolUsePromptTokenCount': 4, 'candidatesTokenCount': 3
  }  # fmt: skip
  server.script = [loopback.send(200, json.dumps(body).encode())]
  ask(server, book)
  assert (book.last[0].input_tokens, book.last[0].output_tokens) == (11, 3)


@pytest.mark.parametrize('finish', ['RECITATION', 'PROHIBITED_CONTENT'])
def test_a_finish_reason_that_lasts_is_not_tried_again(server, book, finish):
  server.script = [loopback.answer('{"a', finish)]
  assert finish in str(refusal(server, book))


def test_a_part_that_the_sdk_would_go_on_from_is_not_continued_unrecorded(server, book):
  body = json.loads(loopback.GEMINI.answer('{"a', 'CONTINUATION'))
  body['candidates'][0]['continuationToken'] = 'dG9rZW4='
  server.script = [loopback.send(200, json.dumps(body).encode())]
  assert 'CONTINUATION' in str(refusal(server, book))


def test_a_bad_key_has_a_code_of_its_own(server, book):
  bad = loopback.api_error(400, 'INVALID_ARGUMENT', 'Not valid.', reason='API_KEY_INVALID')
  server.script = [bad]
  error = refusal(server, book)
  assert 'Check the key in GEMINI_API_KEY or GOOGLE_API_KEY' in str(error)
  assert error.suspend_seconds == 600


def test_a_redirect_is_not_followed(server, book):
  server.script = [loopback.send(302, b'', headers={'location': f'{server.url}/x'})]
  error = refusal(server, book)
  assert '302' in str(error) and error.suspend_seconds == 0


@pytest.mark.parametrize(('wait', 'said'), [('3600s', '1 hour'), ('86400s', '1 day')])
def test_the_wait_may_be_in_the_body(server, book, wait, said):
  body = loopback.retry_after(wait)
  server.script = [loopback.api_error(429, 'RESOURCE_EXHAUSTED', 'Quota.', **body)]
  assert f'The model is not called for {said}.' in str(refusal(server, book))
