"""Calls that never leave this machine cost nothing, are tried once, and name the setting."""

import gc
import socket
import sys

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.proposers.base import NothingToPropose, ProposalContext
from autoresearch_jax.proposers.llm.backend import ModelRequest
from autoresearch_jax.proposers.llm.client import ModelClient, NoAnswer
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.testing import loopback_model as loopback

PROGRAM = types.Program((('model.py', 'RATE = 1\n'),), 'model.py')
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(1, 'steps'), input_shape=(1,), num_classes=2)
MODEL = 'a-model'
REQUEST = ModelRequest(MODEL, 'propose', 'Be brief.', ('What now?',), {'type': 'object'}, seed=7)
PROXIES = [n for name in ('http', 'https', 'all', 'no') for n in (f'{name}_proxy',)]

pytestmark = pytest.mark.usefixtures('secret', 'no_proxies')


@pytest.fixture
def no_proxies(monkeypatch):
  for name in (*PROXIES, *map(str.upper, PROXIES), 'SSL_CERT_FILE', 'SSL_CERT_DIR'):
    monkeypatch.delenv(name, raising=False)


@pytest.fixture
def unclosed():
  """Collects the socket that the HTTP library leaves after a failed TLS handshake."""
  yield
  gc.collect()


def tls_fails(test):
  test = pytest.mark.filterwarnings('ignore:unclosed:ResourceWarning')(test)
  test = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')(test)
  return pytest.mark.usefixtures('unclosed')(test)


def context(book):
  return ProposalContext(
    (PROGRAM,), {}, ('model.py',), types.Objective('loss', 'minimize'), SPEC,
    record=book.record, spend=book.spend,
  )  # fmt: skip


def ask(api, book, url, timeout=60.0):
  prices = {MODEL: (1.0, 10.0)}
  client = ModelClient(api.make_backend(url), prices, SpendLimits(), 1000, timeout, 4, 0.0)
  return client.ask(REQUEST, context(book), np.random.default_rng(0))


def closed_port():
  with socket.socket() as unused:
    unused.bind(('127.0.0.1', 0))
    return unused.getsockname()[1]


def failed(api, book, url, timeout=60.0):
  """Returns the sentence of a call that must fail here, once and for nothing."""
  with pytest.raises(NoAnswer, match='never left this machine') as error:
    ask(api, book, url, timeout)
  assert error.value.local
  assert book.spend() == types.Spend(calls=1)
  return str(error.value)


@pytest.mark.parametrize('variable', ['ALL_PROXY', 'all_proxy', 'HTTPS_PROXY', 'https_proxy'])
@pytest.mark.parametrize('proxy', ['socks5://127.0.0.1:1', 'socks5h://u:hidden@127.0.0.1:1'])
def test_a_socks_proxy_without_its_package_is_named(api, book, monkeypatch, variable, proxy):
  monkeypatch.setitem(sys.modules, 'socksio', None)
  monkeypatch.setenv(variable, proxy)
  sentence = failed(api, book, '')
  assert variable in sentence and 'hidden' not in sentence


@pytest.mark.parametrize('proxy', ['nonsense://127.0.0.1:1', 'http://[::1', 'http://127.0.0.1:x'])
def test_a_proxy_that_is_no_url_is_named(api, book, monkeypatch, proxy):
  monkeypatch.setenv('HTTPS_PROXY', proxy)
  assert 'HTTPS_PROXY' in failed(api, book, '')


def test_a_proxy_that_refuses_the_connection_is_named(api, book, monkeypatch):
  monkeypatch.setenv('HTTPS_PROXY', f'http://someone:hidden@127.0.0.1:{closed_port()}')
  sentence = failed(api, book, '')
  assert 'HTTPS_PROXY' in sentence and 'hidden' not in sentence


@pytest.mark.parametrize('content', [None, 'no certificate\n'])
def test_a_bad_certificate_file_is_named(api, book, monkeypatch, tmp_path, content):
  path = tmp_path / 'ca.pem'
  if content is not None:
    path.write_text(content)
  monkeypatch.setenv('SSL_CERT_FILE', str(path))
  assert 'SSL_CERT_FILE' in failed(api, book, f'https://127.0.0.1:{closed_port()}')


def test_a_host_that_nobody_knows_is_named(api, book):
  assert 'base_url' in failed(api, book, 'https://no-such-host.invalid')


@pytest.mark.parametrize('scheme', ['http', 'https'])
def test_a_refused_connection_is_named(api, book, scheme):
  assert 'base_url' in failed(api, book, f'{scheme}://127.0.0.1:{closed_port()}')


@tls_fails
def test_a_server_that_speaks_no_tls_gets_nothing(api, book):
  with loopback.serving() as server:
    failed(api, book, server.url.replace('http://', 'https://'))
    assert not server.requests


@tls_fails
def test_a_listener_that_never_shakes_hands_costs_nothing(api, book):
  with socket.socket() as silent:
    silent.bind(('127.0.0.1', 0))
    silent.listen()
    sentence = failed(api, book, f'https://127.0.0.1:{silent.getsockname()[1]}', timeout=0.5)
  assert '0.5 seconds' in sentence


@pytest.mark.parametrize('key', ['line\nbreak', 'schlüssel'])
def test_a_key_that_no_header_holds_is_named(api, book, monkeypatch, key):
  with loopback.serving() as server:
    monkeypatch.setenv(api.key_variable, key)
    sentence = failed(api, book, server.url)
    assert api.key_variable in sentence and key not in sentence
    assert not server.requests


@pytest.mark.parametrize(
  'url',
  ['ftp://a', 'https://', 'http://[::1', 'http://a:99999', 'http://a:x', 'generativelanguage'],
)
def test_a_base_url_that_is_none_is_refused_before_the_run(api, url):
  with pytest.raises(ValueError, match='base_url is'):
    api.proposer(base_url=url)


def test_no_other_model_is_asked_and_nothing_is_spent(api, book):
  prices = ((MODEL, 1.0, 1.0), ('other', 1.0, 1.0))
  url = f'http://127.0.0.1:{closed_port()}'
  proposer = api.proposer(models=(MODEL, 'other'), prices=prices, base_url=url, fallback='')
  proposal = types.Proposal(types.Operation.IMPROVE)
  with pytest.raises(NothingToPropose, match='never left this machine'):
    proposer.propose(proposal, context(book), np.random.default_rng(0))
  assert book.spend() == types.Spend(calls=1)


def test_a_request_that_was_sent_is_billed(api, book):
  with loopback.serving() as server:
    server.script = [loopback.hang_up] * 4
    with pytest.raises(NoAnswer, match='broke'):
      ask(api, book, server.url)
  assert book.spend().calls == 4 and book.spend().dollars > 0
