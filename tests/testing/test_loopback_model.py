"""The loopback model answers Google's own SDK, after as long as it is told to take."""

import time

import pytest
from google import genai
from google.genai import errors, types

from autoresearch_jax.testing import loopback_model


@pytest.fixture
def client():
  """Asks a server whose rule repeats the prompt, in a while."""

  def rule(request):
    return loopback_model.delayed(
      0.1, loopback_model.answer(loopback_model.turn_texts(request)[-1])
    )

  with loopback_model.serving(rule) as server:
    options = types.HttpOptions(base_url=server.url)
    with genai.Client(vertexai=False, api_key=loopback_model.KEY, http_options=options) as made:
      yield made, server


def test_the_sdk_gets_its_answer_later(client):
  made, server = client
  began = time.monotonic()
  response = made.models.generate_content(model='some-model', contents='Say this.')
  assert time.monotonic() - began >= 0.1
  assert response.text == 'Say this.'
  assert response.usage_metadata.prompt_token_count == loopback_model.PROMPT_TOKENS
  assert server.models == ['some-model']


def test_a_script_comes_before_the_rule(client):
  made, server = client
  server.script = [loopback_model.api_error(404, 'NOT_FOUND')]
  with pytest.raises(errors.ClientError, match='NOT_FOUND'):
    made.models.generate_content(model='no-model', contents='Say this.')
  assert made.models.generate_content(model='some-model', contents='And this.').text == 'And this.'
