"""Stores of all kinds: what is shared is learned, twice adds nothing, merging is a union."""

import contextlib
import subprocess
import threading
import time

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from helpers import cloud
from helpers.web import AppTransport

from autoresearch_jax.findings import stores
from autoresearch_jax.findings.bucket_store import BucketStore
from autoresearch_jax.findings.claims import (
  WorkClaim,
  claimed_by_others,
  decode_claim,
  encode_claim,
)
from autoresearch_jax.findings.finding import FindingError
from autoresearch_jax.findings.folder_store import FolderStore
from autoresearch_jax.findings.git_store import GitStore
from autoresearch_jax.findings.hub_store import HubStore
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.programs import programs_of
from autoresearch_jax.findings.signing import Key
from autoresearch_jax.findings.store import Package
from autoresearch_jax.service.hub import make_hub_app
from autoresearch_jax.service.hub_database import HubDatabase, HubQuotas


def refuse(sentence):
  raise AssertionError(sentence)


HUB = 'http://localhost:8740'


def hub_of(folder, quotas=None, name='me', index=None, **options):
  """A hub and a client of it with a token."""
  database = HubDatabase(folder, *([quotas] if quotas else []))
  token = database.add_token(name)
  transport = AppTransport(make_hub_app(database, is_local=True, **options))
  client = httpx2.Client(transport=transport, headers={'Authorization': f'Bearer {token}'})
  return HubStore(HUB, index, client), database, transport, client


@pytest.fixture(params=['folder', 'git', 'remote', 'bucket', 'hub'])
def make(request, tmp_path):
  """Opens the same store again, as another machine would: with nothing remembered."""
  count = iter(range(9))
  remote = tmp_path / 'remote.git'
  hubs = []

  def make_store():
    index = Index(tmp_path / f'index-{next(count)}')
    if request.param == 'folder':
      return FolderStore(tmp_path / 'folder', index)
    if request.param == 'git':
      return GitStore(str(tmp_path / 'local.git'), index)
    if request.param == 'remote':
      if not remote.exists():
        subprocess.run(['git', 'init', '--bare', '-q', str(remote)], check=True)
      return GitStore(f'git+file://{remote}', index)
    if request.param == 'bucket':
      cloud.register()
      return BucketStore(f'cloud://{tmp_path}/bucket', index)
    if not hubs:
      hubs.append(hub_of(tmp_path / 'hub')[-1])
    return HubStore(HUB, index, hubs[0])

  return make_store


def test_what_is_shared_is_learned_elsewhere_and_again_adds_nothing(make, packages):
  first = make().add(packages[:5])
  assert (first.new, first.known, first.refused) == (5, 0, ())
  second = make().add(packages)
  assert (second.new, second.known) == (len(packages) - 5, 5)
  store = make()
  assert {f.id: f for f in store.findings(refuse)} == {p.finding.id: p.finding for p in packages}
  assert len([*make().findings(refuse)]) == len([*store.findings(refuse)]) == len(packages)
  for package in packages:
    parent, child = programs_of(package.finding, store.blob)
    assert (parent.digest, child.digest) == (
      package.finding.parent.digest, package.finding.child.digest
    )  # fmt: skip


def test_two_stores_are_merged_to_their_union(make, packages, tmp_path):
  other = FolderStore(tmp_path / 'other', Index(tmp_path / 'i'))
  other.add(packages[:6])
  make().add(packages[4:])
  added = make().add(other.packages())
  assert (added.new, added.known) == (4, 2)
  assert {f.id for f in make().findings(refuse)} == {p.finding.id for p in packages}


def test_what_is_unsigned_or_incomplete_is_not_added(make, packages, recorded):
  unsigned = next(iter(stores.opened(str(recorded)).packages()))
  without = Package(packages[0].finding, lambda _: None)
  other = Package(packages[0].finding, lambda _: b'another')
  added = make().add([unsigned, without, other])
  assert (added.new, len(added.refused)) == (0, 3)
  assert [*make().findings(refuse)] == []


def test_pushes_of_two_clones_are_both_kept(packages, tmp_path, monkeypatch):
  subprocess.run(['git', 'init', '--bare', '-q', str(tmp_path / 'r.git')], check=True)
  address = f'git+file://{tmp_path}/r.git'
  clones = []
  for name in 'ab':
    monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path / name))
    clones.append(GitStore(address, Index(tmp_path / f'{name}.db')))
  both, errors = threading.Barrier(2), []

  def share(store, part):
    def slow():
      yield from part
      both.wait()  # the other one has fetched the same state

    try:
      store.add(slow())
    except BaseException as error:
      errors.append(error)

  parts = (packages[:4], packages[4:])
  threads = [threading.Thread(target=share, args=pair) for pair in zip(clones, parts, strict=True)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert errors == []
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path / 'c'))
  assert len([*GitStore(address, Index(tmp_path / 'c.db')).findings(refuse)]) == len(packages)


def test_a_repository_keeps_its_branches_and_its_work_tree(packages, tmp_path):
  repository = tmp_path / 'mine'
  git = ['git', '-C', str(repository), '-c', 'user.name=me', '-c', 'user.email=me@here']
  subprocess.run(['git', 'init', '-q', '-b', 'main', str(repository)], check=True)
  (repository / 'notes').write_text('mine')
  subprocess.run([*git, 'add', '.'], check=True)
  subprocess.run([*git, 'commit', '-qm', 'mine'], check=True)
  stores.opened(str(repository)).add(packages)
  status = subprocess.check_output([*git, 'status', '--short', '--branch'], text=True)
  assert status == '## main\n' and [p.name for p in repository.glob('[a-z]*')] == ['notes']
  assert len([*stores.read(str(repository))]) == len(packages)


def test_what_was_read_of_a_hub_is_not_sent_again(packages, tmp_path):
  store, _, transport, _ = hub_of(tmp_path / 'hub', index=Index(tmp_path / 'i'))
  store.add(packages)
  first = [*store.findings(refuse)]
  transport.requests.clear()
  assert {f.id for f in store.findings(refuse)} == {f.id for f in first}
  assert transport.requests == [('GET', '/findings')]


def test_a_hub_that_is_gone_leaves_what_was_read(packages, tmp_path):
  store, database, transport, _ = hub_of(tmp_path / 'hub', index=Index(tmp_path / 'i'))
  store.add(packages)
  assert len([*store.findings(refuse)]) == len(packages)
  transport.app = None
  database.close()
  transport.handle_request = lambda _: (_ for _ in ()).throw(httpx2.ConnectError('refused'))
  said = []
  assert len([*store.findings(said.append)]) == len(packages)
  assert 'cannot be reached' in said[0]


def test_another_hub_at_the_address_is_read_from_its_beginning(packages, tmp_path):
  index = Index(tmp_path / 'i')
  first, *_ = hub_of(tmp_path / 'first', index=index)
  first.add(packages)
  assert len([*first.findings(refuse)]) == len(packages)
  second, *_ = hub_of(tmp_path / 'second', index=index)
  assert [*second.findings(refuse)] == []


def test_a_hub_needs_a_token_and_a_quota_holds(packages, tmp_path):
  store, database, transport, client = hub_of(tmp_path / 'hub', HubQuotas(findings=3))
  with pytest.raises(FindingError, match=r'3 findings within a day.*tomorrow.*3 findings were'):
    store.add(packages)
  without = HubStore(store.address, client=httpx2.Client(transport=transport))
  with pytest.raises(FindingError, match='needs a token'):
    [*without.findings(refuse)]
  database.revoke_token('me')
  with pytest.raises(FindingError, match='needs a token'):
    HubStore(HUB, Index(tmp_path / 'none'), client).add(packages)


def test_reading_can_be_open_and_web_pages_and_other_names_are_refused(tmp_path):
  store, _, transport, _ = hub_of(tmp_path / 'hub', open_reading=True)
  anybody = httpx2.Client(transport=transport)
  assert anybody.get(f'{store.address}/findings').status_code == 200
  assert anybody.post(f'{store.address}/findings', content=b'{}').status_code == 401
  page = anybody.get(f'{store.address}/', headers={'Origin': 'http://evil'})
  assert page.status_code == 403
  assert page.headers['content-security-policy'].startswith("default-src 'none'")


def test_a_claim_holds_until_it_expires_and_is_of_its_source(make, key):
  store = make()
  claim = WorkClaim.of('a' * 64, key, 1e9, 600)
  assert decode_claim(encode_claim(claim), 1e9 + 599) == claim
  for now in (1e9 + 600, 1e9 - 90_000):
    with pytest.raises(FindingError, match='expired'):
      decode_claim(encode_claim(claim), now)
  with pytest.raises(FindingError, match='signature'):
    decode_claim(encode_claim(claim).replace(b'a' * 64, b'b' * 64), 1e9)
  now = WorkClaim.of('c' * 64, key, time.time(), 600)
  store.claim(now)
  store.claim(now)
  assert store.claims() == make().claims() == [now]
  assert claimed_by_others([now], key.source) == frozenset()
  assert claimed_by_others([now], 'another') == {'c' * 64}
  with contextlib.suppress(FindingError):  # the hub refuses it, others do not read it
    store.claim(claim)
  assert store.claims() == [now]


def test_addresses_open_what_they_name(tmp_path, recorded):
  assert isinstance(stores.opened(str(tmp_path / 'new.git')), GitStore)
  assert isinstance(stores.opened('git@host:me/findings'), GitStore)
  assert isinstance(stores.opened('https://host/me/findings.git'), GitStore)
  assert isinstance(stores.opened('https://hub.example.org'), HubStore)
  assert isinstance(stores.opened(str(tmp_path / 'new')), FolderStore)
  for wrong in ('', 'nothing://here', str(recorded / 'ledger.db')):
    with pytest.raises(FindingError):
      stores.opened(wrong)
  with pytest.raises(FindingError, match='no folder'):
    [*stores.read(str(tmp_path / 'nowhere'))]


def test_share_to_a_repository_that_is_gone_fails_each_time(packages, tmp_path):
  remote, away = tmp_path / 'r.git', tmp_path / 'away.git'
  subprocess.run(['git', 'init', '--bare', '-q', str(remote)], check=True)

  def store():
    return GitStore(f'git+file://{remote}', Index(tmp_path / 'i'))

  store().add(packages[:1])
  remote.rename(away)
  for _ in range(2):
    with pytest.raises(FindingError, match='cannot be fetched'):
      store().add(packages)
  away.rename(remote)
  assert store().add(packages).new == len(packages) - 1


def test_share_to_a_hub_that_is_gone_ends_at_the_first_request(packages, tmp_path):
  store, _, transport, _ = hub_of(tmp_path / 'hub')
  calls = []

  def fail(request):
    calls.append(request)
    raise httpx2.ConnectError('refused')

  transport.handle_request = fail
  with pytest.raises(FindingError, match='cannot be reached'):
    store.add(packages)
  assert len(calls) == 1


def test_claims_of_a_token_have_a_quota_however_many_keys_it_has(tmp_path):
  database = HubDatabase(tmp_path / 'hub', HubQuotas(claims=3))
  keys = [Key(Ed25519PrivateKey.generate()) for _ in range(4)]
  made = [WorkClaim.of('a' * 64, key, time.time(), 600) for key in keys]
  for each in (*made[:3], made[0]):
    database.add_claim(each, 'me')
  with pytest.raises(FindingError, match='token has 3 claims'):
    database.add_claim(made[3], 'me')
  database.add_claim(made[3], 'another')
