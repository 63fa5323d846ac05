"""A scripted language model and its key, which the test files of this folder share.

Puts the folder on the path too, for the modules among them.
"""

import pathlib
import sys

import pytest

from autoresearch_jax.testing import loopback_model as loopback

sys.path.insert(0, str(pathlib.Path(__file__).parent))


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
  return loopback.Book()
