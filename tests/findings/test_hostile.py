"""A battery of 1,000 wrong packages: malformed, forged, oversized, replayed. None is believed.

Each is offered to a store as a file, to a hub, and as a package to add. They are drawn from a seed.
"""

import dataclasses
import json
import os
import pathlib
import random
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from autoresearch_jax.findings.encoding import MAX_FINDING_BYTES, decode, encode
from autoresearch_jax.findings.finding import FindingError, FindingProgram
from autoresearch_jax.findings.folder_store import FolderStore
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.programs import files_of, patch_of, sha256
from autoresearch_jax.findings.signing import Key
from autoresearch_jax.findings.store import Package, name_of_finding
from autoresearch_jax.proposers.imports import apply_finding
from autoresearch_jax.service.hub_database import HubDatabase, HubQuotas
from autoresearch_jax.types import Budget, Program

COUNT = 1000
NAMES = (
  '../evil.py',
  '/etc/passwd',
  'a/../b',
  '.git/hooks/x',
  'a\x00b',
  '',
  'x' * 300,
  'a//b',
  '-x',
)
EXECUTED = pathlib.Path('executed')  # what the payloads would make
EVIL = f'import os; os.system("touch {EXECUTED}")'
PICKLE = b'\x80\x04cos\nsystem\n(S"touch executed"tR.'


def malformed(text, finding, rng):
  """Text that is not the canonical JSON of a finding."""
  data = json.loads(text)
  at = rng.randrange(1, len(text) - 1)
  return rng.choice([
    lambda: text[:at],
    lambda: text[:at] + bytes([text[at] ^ (1 << rng.randrange(8))]) + text[at + 1 :],
    lambda: text + rng.choice([b' ', b'\n', b'{}', b'\x00']),
    lambda: b' ' + text,
    lambda: json.dumps(data).encode(),
    lambda: json.dumps({**data, 'extra': rng.random()}, separators=(',', ':')).encode(),
    lambda: b'{"schema":1,' + text[1:],
    lambda: text.replace(b'"schema":1', b'"schema":' + rng.choice([b'2', b'"1"', b'1.0', b'-1'])),
    lambda: msgspec.json.encode({k: v for k, v in data.items() if k != rng.choice([*data])}),
    lambda: b'[' * rng.randrange(1, 100_000),
    lambda: b'{"schema":1,"setting":' + b'{"a":' * rng.randrange(1, 30_000),
    lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(200))),
    lambda: rng.choice([EVIL.encode(), PICKLE]) + bytes([rng.randrange(256)]),
    lambda: text.replace(b'"created":', b'"created":' + rng.choice([b'1e9,', b'NaN', b'0'])),
  ])()  # fmt: skip


def forged(text, finding, rng, other):
  """A finding that its source did not sign as it is."""
  mine = encode(other.sign(finding))
  change = rng.choice([
    {'gain': 1e3 * rng.random()}, {'description': 'better'}, {'source': other.source},
    {'signature': '0' * 128}, {'signature': other.sign(finding).signature},
    {'status': 'gain' if finding.status != 'gain' else 'no_gain'}, {'created': finding.created + 1},
    {'source': f'ed25519:{rng.randrange(2**255):064x}'}, {'source': 'unsigned:ledger'},
    {'hypothesis': dataclasses.replace(finding.hypothesis, claim=EVIL)},
    {'setting': dataclasses.replace(finding.setting, device='a faster one')},
  ])  # fmt: skip
  changed = encode(dataclasses.replace(finding, **change))
  return rng.choice([changed, mine.replace(other.source.encode(), finding.source.encode())])


def untrue(finding, rng, other):
  """A finding that a stranger has signed, and that contradicts itself or is too large."""
  setting, child, parent = finding.setting, finding.child, finding.parent
  change = rng.choice([
    {'gain': rng.choice([1e300, -1.0, 7.0])},
    {'gain': None, 'status': 'gain', 'failure': ''},
    {'status': 'failed', 'failure': ''},
    {'status': 'failed', 'failure': EVIL},
    {'pairs': rng.choice([-1, 7, 10**9])},
    {'created': int(time.time()) + 10**rng.randrange(6, 9)},
    {'created': -rng.randrange(10)},
    {'child': parent},
    {'child': dataclasses.replace(child, files=((rng.choice(NAMES), '0' * 64),))},
    {'child': dataclasses.replace(child, files=child.files[::-1] * 40)},
    {'child': dataclasses.replace(child, entry='absent.py')},
    {'child': dataclasses.replace(child, digest=rng.choice(['', 'x', '../' + 'a' * 61]))},
    {'child': dataclasses.replace(child, values=tuple((n, 0.0) for n in range(2000)))},
    {'child': dataclasses.replace(child, values=((0, 1.0), (0, 2.0)))},
    {'child': dataclasses.replace(child, values=((-1, 1.0),))},
    {'child': dataclasses.replace(child, fingerprint='../../x')},
    {'patch': 'x' * rng.choice([70_000, MAX_FINDING_BYTES, 10**6])},
    {'reason': 'x' * 5000}, {'description': 'x' * 500},
    {'artifacts': (('child', 'zz'),)}, {'artifacts': (('../x', '0' * 64),)},
    {'setting': dataclasses.replace(setting, budget=Budget(rng.choice([0.0, -1.0])))},
    {'setting': dataclasses.replace(setting, data='../x')},
    {'setting': dataclasses.replace(setting, problem='')},
    {'setting': dataclasses.replace(setting, num_devices=-1)},
    {'hypothesis': dataclasses.replace(finding.hypothesis, mechanisms=('x',) * 50)},
    {'standard_error': -1.0, 'status': 'no_gain', 'failure': ''},
    {'schema': 2},
  ])  # fmt: skip
  return encode(other.sign(dataclasses.replace(finding, **change)))


def wrong_files(packages, rng):
  """Yields names and contents of files that are no findings."""
  other = Key(Ed25519PrivateKey.from_private_bytes(rng.randbytes(32)))
  genuine = {encode(p.finding) for p in packages}
  while True:
    finding = rng.choice(packages).finding
    text = encode(finding)
    kind = rng.randrange(4)
    if kind == 0:
      data = malformed(text, finding, rng)
    elif kind == 1:
      data = forged(text, finding, rng, other)
    elif kind == 2:
      data = untrue(finding, rng, other)
    else:  # replayed: a genuine one in the place of another
      yield f'{rng.randrange(2**256):064x}', text
      continue
    if data not in genuine:
      yield claimed_id(data), data


def claimed_id(data):
  """The id that a forger would give the file: the right one for its content, if it has one."""
  try:
    fields = json.loads(data)
    fields.pop('signature', None)
    prefix = b'autoresearch finding 1\n'
    return sha256(prefix + msgspec.json.encode(fields, order='sorted'))
  except (ValueError, RecursionError, AttributeError, TypeError, msgspec.MsgspecError):
    return sha256(data)


def test_of_a_thousand_wrong_packages_none_is_believed_and_none_executed(
  packages, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  folder = tmp_path / 'store'
  FolderStore(folder, Index(tmp_path / 'i')).add(packages)
  hub = HubDatabase(tmp_path / 'hub', HubQuotas(findings=10**6))
  for package in packages:
    for digest in package.finding.blobs:
      hub.add_blob(digest, package.blobs(digest), 'me')
    assert hub.add_finding(encode(package.finding), 'me')
  genuine = {p.finding.id: p.finding for p in packages}
  names, refused_by_hub = set(), 0
  for (key, data), _ in zip(wrong_files(packages, random.Random(18)), range(COUNT), strict=False):
    names.add(key)
    path = folder / name_of_finding(key)
    if key not in genuine:
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(data)
    try:
      decode(data, time.time(), key)
      raise AssertionError(data[:2000])
    except FindingError:
      pass
    try:
      assert not hub.add_finding(data, 'me'), data[:2000]  # a replay, which it has
    except FindingError:
      refused_by_hub += 1
  said = []
  found = {f.id: f for f in FolderStore(folder, Index(tmp_path / 'j')).findings(said.append)}
  assert found == genuine
  assert len(said) == len(names - {*genuine}) > 0.6 * COUNT
  assert hub.count() == len(genuine) and refused_by_hub > 0.6 * COUNT
  assert not EXECUTED.exists()


def test_a_replay_counts_once_and_another_cannot_sign_it_as_his(packages, tmp_path):
  store = FolderStore(tmp_path / 'store', Index(tmp_path / 'i'))
  assert store.add([*packages, *packages]).known == len(packages)
  text = encode(packages[0].finding)
  hub = HubDatabase(tmp_path / 'hub')
  for digest in packages[0].finding.blobs:
    hub.add_blob(digest, packages[0].blobs(digest), 'me')
  assert [hub.add_finding(text, 'me') for _ in range(3)] == [True, False, False]


def test_links_pipes_and_folders_in_the_place_of_findings_are_left_out(packages, tmp_path):
  folder = tmp_path / 'store'
  FolderStore(folder, Index(tmp_path / 'i')).add(packages)
  secret = tmp_path / 'secret'
  secret.write_text('secret')
  for number, make in enumerate((os.mkfifo, lambda p: p.symlink_to(secret), lambda p: p.mkdir())):
    path = folder / name_of_finding(f'{number:02x}' * 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
  (folder / 'findings' / 'ab' / 'notes').parent.mkdir(exist_ok=True)
  (folder / 'findings' / 'ab' / 'notes\x1b[2J').write_text('x')
  said = []
  found = [*FolderStore(folder, Index(tmp_path / 'j')).findings(said.append)]
  assert len(found) == len(packages) and len(said) == 4
  assert not any('secret' in s and 'x1b' in s for s in said) and '\x1b' not in ''.join(said)


def test_programs_that_are_not_those_of_the_finding_are_refused(packages, tmp_path, key):
  finding, blobs = packages[0].finding, packages[0].blobs
  patched = key.sign(dataclasses.replace(finding, patch=finding.patch + '\n'))
  store = FolderStore(tmp_path / 'store', Index(tmp_path / 'i'))
  added = store.add([Package(patched, blobs)])
  assert added.new == 0 and 'patch' in added.refused[0]
  hub = HubDatabase(tmp_path / 'hub')
  for digest in finding.blobs:
    hub.add_blob(digest, blobs(digest), 'me')
  with pytest.raises(FindingError, match='patch'):
    hub.add_finding(encode(patched), 'me')
  with pytest.raises(FindingError, match='digest'):
    hub.add_blob('0' * 64, b'x', 'me')
  assert hub.count() == 0


def test_numbers_that_no_arithmetic_survives_are_refused(packages, key):
  finding = next(p.finding for p in packages if p.finding.gain is not None)
  runs = ((0, 1e308), (1, 1e308))
  changes = [
    {'parent': dataclasses.replace(finding.parent, values=runs)},
    {'standard_error': 1e200},
    {'seed_std': 1e31},
    {'setting': dataclasses.replace(finding.setting, budget=Budget(1e-200))},
    {'setting': dataclasses.replace(finding.setting, budget=Budget(1.0, target_loss=1e99))},
  ]
  for change in changes:
    with pytest.raises(FindingError, match='refused'):
      decode(encode(key.sign(dataclasses.replace(finding, **change))), time.time())


def test_programs_that_take_hours_to_compare_are_not_compared(packages, key, tmp_path):
  lines = [f'x{n % 101} = {n % 101}\n' for n in range(40_000)]
  programs = [
    Program((('model.py', ''.join(text)),), 'model.py') for text in (lines, lines[7:] + lines[:5])
  ]
  sides = [
    FindingProgram(p.digest, '', p.entry, files_of(p), ((0, value),))
    for p, value in zip(programs, (1.0, 0.5), strict=True)
  ]
  finding = dataclasses.replace(
    packages[0].finding, parent=sides[0], child=sides[1], patch=patch_of(*programs), status='gain',
    gain=0.5, standard_error=None, pairs=0, failure='', setting=dataclasses.replace(
      packages[0].finding.setting, direction='minimize'),
  )  # fmt: skip
  assert finding.patch == ''
  blobs = {sha256(p.text().encode()): p.text().encode() for p in programs}
  store = FolderStore(tmp_path / 'store', Index(tmp_path / 'i'))
  assert store.add([Package(key.sign(finding), blobs.get)]).new == 1
  start = Program((('model.py', 'x0 = 0\n' * 50_000),), 'model.py')
  assert apply_finding(finding, store.blob, start, start) is None
