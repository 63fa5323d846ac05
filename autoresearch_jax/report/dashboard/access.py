"""Who may use the dashboard: decided before a request reaches it.

On the loopback interface everybody on this machine may look, but no web page may: a page of another
origin could point its own host name at 127.0.0.1 (DNS rebinding), so the host name of a request
must be one of this machine's names for itself. On other interfaces each address begins with a
token.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

# As in `starlette.types`, which only servers import.
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
LOCAL_NAMES = ('localhost', '127.0.0.1', '[::1]')


def is_loopback(host: str) -> bool:
  """Returns whether a server that is bound to this host is reached from this machine only."""
  if host == 'localhost':
    return True
  try:
    return ipaddress.ip_address(host.strip('[]')).is_loopback
  except ValueError:
    return False


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
  """Returns an ASGI `send` that adds headers to every response."""
  added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

  async def send_with_headers(message: MutableMapping[str, Any]) -> None:
    if message['type'] == 'http.response.start':
      message = {**message, 'headers': [*message['headers'], *added]}
    await send(message)

  return send_with_headers


class Access:
  """Decides about requests.

  Attributes:
    is_local: Whether the server is reached from this machine only.
    prefix: What the path of every address begins with: '' or '/TOKEN'.
  """

  def __init__(self, host: str):
    """Makes the rules for a server that is bound to `host`."""
    self.is_local = is_loopback(host)
    self.prefix = '' if self.is_local else f'/{secrets.token_urlsafe(24)}'

  def refusal(self, method: str, path: str, host: str, origin: str | None) -> str:
    """Returns why a request is refused, a sentence; '' if it is allowed.

    Args:
      method: GET, HEAD or POST.
      path: Path of its address.
      host: Its Host header, with or without a port.
      origin: Its Origin header, if it has one.
    """
    name = urlsplit(f'//{host}').hostname or ''
    if self.is_local and not (name.lower() in ('localhost', '::1') or is_loopback(name)):
      return (
        f'This dashboard answers to {", ".join(LOCAL_NAMES)} only, and was asked as {name!r}. Use '
        'the address that the command printed.'
      )
    if self.prefix and not self._has_token(path):
      return 'The address lacks the token. Use the whole address that the command printed.'
    if method not in ('GET', 'HEAD') and origin is not None and urlsplit(origin).netloc != host:
      return f'A page of {origin} may not steer a run.'
    return ''

  def _has_token(self, path: str) -> bool:
    first = '/' + path.lstrip('/').split('/', 1)[0]
    return hmac.compare_digest(first.encode(), self.prefix.encode())
