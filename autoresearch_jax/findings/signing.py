"""Keys and signatures of findings: Ed25519, by a key of this library or the user's SSH key.

The key is made when something is shared for the first time, in a file that only the user can read.
It identifies a source and no person.
"""

import contextlib
import dataclasses
import os
import pathlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
  Ed25519PrivateKey,
  Ed25519PublicKey,
)

from autoresearch_jax.findings.finding import Finding, FindingError

KEY_VARIABLE = 'AUTORESEARCH_JAX_KEY'
PREFIX = 'ed25519:'


def config_folder() -> pathlib.Path:
  """Returns the folder of this library's files of the user, which need not exist."""
  base = os.environ.get('XDG_CONFIG_HOME', '')
  home = pathlib.Path(base) if base.startswith('/') else pathlib.Path('~/.config').expanduser()
  return home / 'autoresearch_jax'


class Key:
  """A private key that signs findings.

  Attributes:
    source: `ed25519:` and the public key in hexadecimal.
  """

  def __init__(self, private: Ed25519PrivateKey):
    self._private = private
    self.source = PREFIX + private.public_key().public_bytes_raw().hex()

  @classmethod
  def load(cls, path: pathlib.Path | None = None) -> 'Key':
    """Loads a key, and makes the user's own if there is none yet.

    Args:
      path: A private Ed25519 key in OpenSSH's or in PEM format. None stands for the file that the
        variable AUTORESEARCH_JAX_KEY names, or else for the user's own.

    Raises:
      FindingError: The file is missing, is no such key, or is encrypted.
    """
    given = path or (pathlib.Path(named) if (named := os.environ.get(KEY_VARIABLE)) else None)
    if given is None:
      own = config_folder() / 'key'
      with contextlib.suppress(FileNotFoundError):
        return cls._read(own)
      return cls._made(own)
    try:
      return cls._read(given.expanduser())
    except FileNotFoundError:
      raise FindingError(
        f'There is no key {given}. Name an Ed25519 key, such as ~/.ssh/id_ed25519, or none.'
      ) from None

  @classmethod
  def _made(cls, path: pathlib.Path) -> 'Key':
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(
      serialization.Encoding.PEM,
      serialization.PrivateFormat.OpenSSH,
      serialization.NoEncryption(),
    )
    try:
      path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
      descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:  # another process was faster
      return cls._read(path)
    except OSError as error:
      raise FindingError(
        f'The key cannot be written to {path}: {error.strerror}. Make the folder writable, or name '
        f'a key by --key or {KEY_VARIABLE}.'
      ) from None
    with os.fdopen(descriptor, 'wb') as file:
      file.write(text)
    return cls(private)

  @classmethod
  def _read(cls, path: pathlib.Path) -> 'Key':
    what = f'{path} cannot be used as a key'
    try:
      data = path.read_bytes()
      if b'OPENSSH PRIVATE KEY' in data:
        private = serialization.load_ssh_private_key(data, None)
      else:
        private = serialization.load_pem_private_key(data, None)
    except FileNotFoundError:
      raise
    except OSError as error:
      raise FindingError(f'{what}: {error.strerror}. Make it readable.') from None
    except TypeError:  # how the package says that there is a passphrase
      raise FindingError(
        f'{what}: it has a passphrase. Use a key without one, for instance the one that is made '
        'where none is named.'
      ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
      passphrase = ' It may have a passphrase.' if 'assword' in str(error) else ''
      raise FindingError(
        f'{what}: it is no private Ed25519 key.{passphrase} `ssh-keygen -t ed25519` makes one.'
      ) from None
    if not isinstance(private, Ed25519PrivateKey):
      raise FindingError(f'{what}: it is not of the kind Ed25519. `ssh-keygen -t ed25519` does.')
    return cls(private)

  def sign(self, finding: Finding) -> Finding:
    """Returns the finding with this key as its source, and signed."""
    owned = dataclasses.replace(finding, source=self.source, signature='')
    return dataclasses.replace(owned, signature=self.signature(owned.signed_bytes))

  def signature(self, data: bytes) -> str:
    """Returns the signature of some bytes, in hexadecimal."""
    return self._private.sign(data).hex()


def is_signed_by(source: str, signature: str, data: bytes) -> bool:
  """Returns whether a signature over some bytes is that of a source's key."""
  try:
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(source.removeprefix(PREFIX)))
    key.verify(bytes.fromhex(signature), data)
  except (InvalidSignature, ValueError):
    return False
  return True


def is_signed_by_source(finding: Finding) -> bool:
  """Returns whether the signature of a finding is that of its source."""
  return finding.is_signed and is_signed_by(finding.source, finding.signature, finding.signed_bytes)
