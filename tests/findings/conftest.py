"""The user's own folders are the test's, and one recorded run serves all tests."""

import pytest
from helpers import synthetic_run

from autoresearch_jax.findings.run_store import RunStore
from autoresearch_jax.findings.signing import Key
from autoresearch_jax.findings.store import Package


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'config'))
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path / 'cache'))
  for name in ('AUTORESEARCH_JAX_KEY', 'AUTORESEARCH_JAX_HUB_TOKEN'):
    monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope='session')
def recorded(tmp_path_factory):
  folder = tmp_path_factory.mktemp('recorded')
  synthetic_run.run(folder, 20, clock=synthetic_run.ticking())
  return folder


@pytest.fixture
def key():
  return Key.load()


@pytest.fixture
def packages(recorded, key):
  """Signed packages of the recorded run."""
  return [Package(key.sign(p.finding), p.blobs) for p in RunStore(recorded).packages()]
