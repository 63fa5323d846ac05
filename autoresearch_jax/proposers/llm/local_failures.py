"""Calls that never leave this machine: no headers of the request were sent, so they cost nothing.

A wrong proxy, certificate file, base_url or key, an unresolvable host and a refused connection are
failures of this machine's settings. Another attempt would fail as well, and the message names the
setting. `client.py` calls this; what a response means is in `responses.py`.
"""

import functools
import os
import re
import ssl
import urllib.parse
import urllib.request
from typing import Any

import httpx2

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.llm.backend import Backend, FailedAttempt

CERTIFICATE_VARIABLES = ('SSL_CERT_FILE', 'SSL_CERT_DIR')
KEY_ERRORS = (httpx2.LocalProtocolError, UnicodeEncodeError)  # illegal header values
URL_ERRORS = (httpx2.InvalidURL, httpx2.UnsupportedProtocol)


class Departure:
  """Notices whether a request left this machine.

  Attributes:
    sent: Whether the request's headers were sent; a proxy's CONNECT does not count.
  """

  def __init__(self) -> None:
    self.sent = False
    self._tunnel = False

  async def watch(self, request: httpx2.Request) -> None:
    """Event hook that runs before a request."""
    request.extensions = {**request.extensions, 'trace': self._trace}

  async def _trace(self, event: str, info: dict[str, Any]) -> None:
    if event.endswith('send_request_headers.started'):
      self._tunnel = getattr(info.get('request'), 'method', b'') == b'CONNECT'
    if event.endswith('send_request_headers.complete'):  # a header that is illegal never gets here
      self.sent |= not self._tunnel


def explain_local_failure(
  error: Exception, model: str, backend: Backend, timeout_seconds: float
) -> FailedAttempt:
  """Returns why a request was not sent, with the setting to check.

  Args:
    error: What was raised before the request's headers were sent.
    model: The model that the call is for.
    backend: The API.
    timeout_seconds: Deadline of the attempt.
  """
  if isinstance(error, TimeoutError):
    what = f'no connection within {timeout_seconds:g} seconds'
  else:
    what = one_line(_without_credentials(str(error)), 300).rstrip('.') or type(error).__name__
  return FailedAttempt(
    f'The {backend.title} cannot be reached, and the call of {model} never left this machine: '
    f'{what}. Check {_setting(error, backend)}.',
    billed=False,
    local=True,
  )


def _setting(error: Exception, backend: Backend) -> str:  # noqa: PLR0911 - one return per setting
  causes, base_url = _causes(error), backend.base_url
  if any(isinstance(cause, KEY_ERRORS) for cause in causes):
    return f'the key in {" or ".join(backend.key_variables)}'
  if any(isinstance(cause, ssl.SSLError | FileNotFoundError | PermissionError | IsADirectoryError)
         for cause in causes):  # fmt: skip
    found = [name for name in CERTIFICATE_VARIABLES if os.environ.get(name)]
    return f'the certificates in {" and ".join(found or CERTIFICATE_VARIABLES[:1])}'
  if any(isinstance(cause, URL_ERRORS) for cause in causes) and base_url:
    return 'the option base_url'
  proxies = _proxy_variables(base_url or backend.default_url)
  if isinstance(error, ImportError | ValueError) and not proxies:
    return 'the option base_url and the proxy variables' if base_url else 'the proxy variables'
  if proxies:
    return f'the proxy in {" and ".join(proxies)}'
  if base_url:
    return 'the option base_url, and the network'
  return "this machine's network and DNS, or set HTTPS_PROXY"


def _causes(error: BaseException | None) -> list[BaseException]:
  """Returns an exception with its causes."""
  causes: list[BaseException] = []
  while error is not None and error not in causes:
    causes.append(error)
    error = error.__cause__ or error.__context__
  return causes


def _proxy_variables(address: str) -> list[str]:
  """Returns the environment variables of the proxy that calls go through."""
  url = urllib.parse.urlsplit(address)
  if url.hostname and urllib.request.proxy_bypass(url.hostname):
    return []
  names = [f'{url.scheme or "https"}_proxy', 'all_proxy']
  return [n for name in names for n in (name, name.upper()) if os.environ.get(n)][:1]


def _without_credentials(text: str) -> str:
  return re.sub(r'://[^/@\s]+@', '://', text)


def trusted_certificates() -> ssl.SSLContext:
  """Returns the certificates that SSL_CERT_FILE and SSL_CERT_DIR name, or else the default."""
  return _certificates(*map(os.environ.get, CERTIFICATE_VARIABLES))


@functools.cache
def _certificates(file: str | None, directory: str | None) -> ssl.SSLContext:
  """Loads the trusted certificates, which takes longer than the rest of making a client.

  Args:
    file: SSL_CERT_FILE, and
    directory: SSL_CERT_DIR, which are read from the environment; the result depends on them.
  """
  del file, directory
  return httpx2.create_ssl_context()
