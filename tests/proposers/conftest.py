"""A scripted language model and its key, which the test files of this folder share."""

import pytest

from autoresearch_jax.testing import loopback_model as loopback


@pytest.fixture
def secret(monkeypatch):
  monkeypatch.setenv('GEMINI_API_KEY', loopback.KEY)
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')


@pytest.fixture
def server(secret):
  with loopback.serving() as server:
    yield server


@pytest.fixture
def book():
  return loopback.RecordedCalls()
