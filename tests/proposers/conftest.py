"""A scripted language model, its key and its APIs, which the test files of this folder share."""

import pytest
from helpers.model_apis import APIS, KEY_VARIABLES

from autoresearch_jax.testing import loopback_model as loopback


@pytest.fixture
def secret(monkeypatch):
  for name in KEY_VARIABLES:
    monkeypatch.delenv(name, raising=False)
  for api in APIS.values():
    monkeypatch.setenv(api.key_variable, loopback.KEY)
  monkeypatch.delenv('OPENAI_BASE_URL', raising=False)
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')


@pytest.fixture(params=APIS)
def api(request):
  if request.param == 'openai':
    pytest.importorskip('openai')
  return APIS[request.param]


@pytest.fixture
def server(secret):
  with loopback.serving() as server:
    yield server


@pytest.fixture
def book():
  return loopback.RecordedCalls()
