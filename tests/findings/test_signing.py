"""Keys: made once, readable by the user alone, or the user's own; anything else is refused."""

import dataclasses
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from autoresearch_jax.findings.finding import (
  Finding,
  FindingError,
  FindingProgram,
  FindingSetting,
)
from autoresearch_jax.findings.signing import Key, config_folder, is_signed_by_source
from autoresearch_jax.types import Budget, Hypothesis

OPENSSH = serialization.PrivateFormat.OpenSSH
PEM = serialization.Encoding.PEM


def test_the_key_is_made_once_and_for_the_user_alone():
  assert Key.load().source == Key.load().source
  path = config_folder() / 'key'
  assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_of_ssh_signs_and_the_variable_names_it(tmp_path, monkeypatch, packages):
  private = ed25519.Ed25519PrivateKey.generate()
  path = tmp_path / 'id_ed25519'
  path.write_bytes(private.private_bytes(PEM, OPENSSH, serialization.NoEncryption()))
  monkeypatch.setenv('AUTORESEARCH_JAX_KEY', str(path))
  key = Key.load()
  assert key.source == f'ed25519:{private.public_key().public_bytes_raw().hex()}'
  signed = key.sign(packages[0].finding)
  assert is_signed_by_source(signed) and signed.id != packages[0].finding.id
  assert not is_signed_by_source(dataclasses.replace(signed, description='better'))


@pytest.mark.parametrize('kind', ['missing', 'rsa', 'text', 'empty'])
def test_what_is_no_such_key_is_refused(tmp_path, kind):
  path = tmp_path / 'key'
  if kind == 'rsa':
    private = rsa.generate_private_key(65537, 2048)
    path.write_bytes(private.private_bytes(PEM, OPENSSH, serialization.NoEncryption()))
  elif kind != 'missing':
    path.write_text('' if kind == 'empty' else 'a secret')
  with pytest.raises(FindingError, match='Ed25519'):
    Key.load(path)


def test_format_1_stays_what_it_was():
  """A new field of any of these types would void all signatures: it needs a new format."""
  finding = Finding(
    FindingSetting('digits', 'val_loss', 'minimize', Budget(5.0), 'cpu'),
    FindingProgram('a' * 64, '', 'model.py', (('model.py', 'b' * 64),), ((0, 1.0),)),
    FindingProgram('c' * 64, '', 'model.py', (('model.py', 'd' * 64),), ((0, 0.5),)),
    'gain',
    'WIDTH = 2',
    Hypothesis('Wider is better.'),
    gain=0.5,
    created=1,
  )
  assert finding.id == 'abbf7fbb7e318fa97d6431dbf945f11ad39c6dd0ae46e1681e2d943ee5cdee01'
