"""A hub of findings over HTTP: the side of those who share and learn.

What a hub sends is verified as the files of any other store are. Findings that were read before
are not sent again: the cache has their ids, and the position in the hub's list.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec

from autoresearch_jax.data import cache
from autoresearch_jax.findings.claims import WorkClaim, decode_claim, encode_claim
from autoresearch_jax.findings.encoding import MAX_BLOB_BYTES, MAX_FINDING_BYTES, decode, encode
from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.signing import config_folder
from autoresearch_jax.findings.store import Added, FindingStore, Package, Say, checked
from autoresearch_jax.messages import one_line

TOKEN_VARIABLE = 'AUTORESEARCH_JAX_HUB_TOKEN'
TOKENS = 'hub_tokens.json'  # in the user's configuration: addresses and tokens
PAGE = 200  # findings of an answer
_SECONDS = 60.0  # limit of a request
_MAX_ANSWER = 2 * PAGE * MAX_FINDING_BYTES


class HubPage(msgspec.Struct):
  """A page of a hub's findings.

  Attributes:
    hub: Identifies the hub's database.
    next: Position after the last finding of the page.
    findings: The texts of their files.
  """

  hub: str
  next: int
  findings: list[msgspec.Raw]


class HubPosition(msgspec.Struct):
  """What was read of a hub.

  Attributes:
    hub: Identifies the hub's database.
    after: Position after the last finding that was read.
    ids: Those of the findings, in order.
  """

  hub: str = ''
  after: int = 0
  ids: list[str] = []


class HubStore(FindingStore):
  """The findings of a hub.

  Args:
    address: Its URL.
    index: Remembers which findings were verified.
    client: Sends the requests; made if not given.
  """

  def __init__(self, address: str, index: Index | None = None, client: httpx2.Client | None = None):
    self.address, self._index = address.rstrip('/'), index or Index()
    self._client = client or _client(self.address)

  def close(self) -> None:
    self._client.close()

  def findings(self, refused: Say) -> Iterator[Finding]:
    position, known = self._known()
    try:
      page = self._page(position.after)
      if position.hub not in ('', page.hub):  # another hub at this address
        position, known = HubPosition(), {}
        page = self._page(0)
    except FindingError as error:
      if not known:
        raise
      refused(f'{error} This is what was read earlier.')
      yield from known.values()
      return
    yield from known.values()
    while page.findings:
      new = self._verified(page, refused)
      yield from (finding for finding in new if finding.id not in known)
      position = HubPosition(page.hub, page.next, [*position.ids, *(f.id for f in new)])
      self._remember(position)
      page = self._page(position.after)

  def blob(self, digest: str) -> bytes | None:
    status, content = self._request('GET', f'/blobs/{digest}', limit=MAX_BLOB_BYTES)
    return content if status == 200 else None

  def add(self, packages: Iterable[Package]) -> Added:
    new, known, refused = 0, 0, list[str]()
    for package in packages:
      try:
        is_new = self._send(package.finding, checked(package, lambda _: None))
      except HubRefusal as error:
        raise FindingError(f'{error} {new} findings were shared before that.') from None
      except FindingError as error:
        refused.append(str(error))
        continue
      new, known = new + is_new, known + (not is_new)
    return Added(new, known, tuple(refused))

  def claims(self) -> list[WorkClaim]:
    """Returns the claims that hold now. Raises FindingError."""
    status, content = self._request('GET', '/claims')
    found: list[WorkClaim] = []
    if status == 200:
      with contextlib.suppress(msgspec.MsgspecError):
        for text in msgspec.json.decode(content, type=list[msgspec.Raw]):
          with contextlib.suppress(FindingError):
            found.append(decode_claim(bytes(text), time.time()))
    return found

  def claim(self, claim: WorkClaim) -> None:
    """Posts a claim. Raises FindingError."""
    status, content = self._request('POST', '/claims', encode_claim(claim))
    if status not in (200, 201):
      raise FindingError(f'{self.address}: {_sentence(content)}')

  def _known(self) -> tuple[HubPosition, Mapping[str, Finding]]:
    """Returns what was read earlier; nothing if the index has not all of it."""
    try:
      position = msgspec.json.decode(self._position_file.read_bytes(), type=HubPosition)
    except (OSError, msgspec.MsgspecError):
      return HubPosition(), {}
    known = self._index.get(position.ids)
    return (position, known) if len(known) == len({*position.ids}) else (HubPosition(), {})

  def _remember(self, position: HubPosition) -> None:
    with contextlib.suppress(OSError):
      path = self._position_file
      path.parent.mkdir(parents=True, exist_ok=True)
      new = path.with_name(f'.{path.name}.{os.getpid()}')
      new.write_bytes(msgspec.json.encode(position))
      new.replace(path)

  @property
  def _position_file(self) -> pathlib.Path:
    key = hashlib.sha256(self.address.encode()).hexdigest()[:32]
    return cache.directory() / 'findings' / f'hub-{key}.json'

  def _page(self, after: int) -> HubPage:
    status, content = self._request('GET', f'/findings?after={after}&limit={PAGE}')
    if status != 200:
      raise FindingError(f'{self.address}: {_sentence(content)}')
    try:
      page = msgspec.json.decode(content, type=HubPage)
    except msgspec.MsgspecError:
      raise FindingError(
        f'{self.address} is no hub of findings. `autoresearch hub` starts one.'
      ) from None
    if page.findings and page.next <= after:
      raise FindingError(f'{self.address} sends the same page again; it is no hub of findings.')
    return page

  def _verified(self, page: HubPage, refused: Say) -> list[Finding]:
    found: list[tuple[Finding, bytes]] = []
    for text in page.findings:
      try:
        found.append((decode(bytes(text), time.time()), bytes(text)))
      except FindingError as error:
        refused(f'{self.address}: {error}')
    self._index.put(found)
    return [finding for finding, _ in found]

  def _send(self, finding: Finding, contents: Mapping[str, bytes]) -> bool:
    """Sends a finding with the contents that the hub lacks; returns whether it is new there."""
    status, content = self._request('POST', '/findings', encode(finding))
    if status == 409:
      for digest in self._missing(content):
        if digest in contents:
          status, content = self._request('PUT', f'/blobs/{digest}', contents[digest])
          self._require(status, content)
      status, content = self._request('POST', '/findings', encode(finding))
    self._require(status, content)
    return status == 201

  def _missing(self, content: bytes) -> list[str]:
    try:
      return msgspec.json.decode(content, type=dict[str, list[str]]).get('missing', [])
    except msgspec.MsgspecError:
      raise HubRefusal(f'{self.address} is no hub of findings. Check the address.') from None

  def _require(self, status: int, content: bytes) -> None:
    if status in (401, 403, 429):
      raise HubRefusal(f'{self.address}: {_sentence(content)}')
    if status not in (200, 201):
      raise FindingError(f'{self.address}: {_sentence(content)}')

  def _request(
    self, method: str, path: str, body: bytes | None = None, limit: int = _MAX_ANSWER
  ) -> tuple[int, bytes]:
    """Sends a request; returns the status and the answer. Raises FindingError."""
    try:
      with self._client.stream(method, f'{self.address}{path}', content=body) as answer:
        parts, size = [], 0
        for part in answer.iter_bytes():
          size += len(part)
          if size > limit:
            raise FindingError(f'{self.address} sends more than {limit} bytes.')
          parts.append(part)
        return answer.status_code, b''.join(parts)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
      what = one_line(str(error), 200) or type(error).__name__
      raise HubRefusal(
        f'The hub {self.address} cannot be reached: {what}. Check the address and that it runs.'
      ) from None


class HubRefusal(FindingError):
  """The hub accepts nothing more: it cannot be reached, or the token or a quota forbids it."""


def _client(address: str) -> httpx2.Client:
  host = urlsplit(address).hostname or ''
  headers = {'Authorization': f'Bearer {token}'} if (token := _token(address)) else {}
  local = host in ('localhost', '127.0.0.1', '::1')
  return httpx2.Client(headers=headers, timeout=_SECONDS, trust_env=not local)


def _token(address: str) -> str:
  """Returns the token for a hub: that of the user's configuration, or else of the variable.

  The variable stands for any hub, so it must not reach one that has a token of its own.
  """
  with contextlib.suppress(OSError, ValueError, AttributeError):
    tokens: Any = json.loads((config_folder() / TOKENS).read_bytes())
    if own := tokens.get(address):
      return str(own)
  return os.environ.get(TOKEN_VARIABLE, '').strip()


def _sentence(content: bytes) -> str:
  return one_line(content[:400].decode(errors='replace'), 300) or 'It gives no reason.'
