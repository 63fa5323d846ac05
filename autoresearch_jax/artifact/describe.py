"""A process that reads artifacts and describes them, for checks without a runner.

`python -m autoresearch_jax.artifact.describe` reads JSON lines {"path": ..., "limits": Limits} from
its standard input. For each it writes {"fingerprint": ..., "facts": {...}}, or {"error": ...} for
an artifact that is rejected. It is a process of its own because artifacts are not trusted.
"""

import pathlib
import sys
from typing import Any

import msgspec

from autoresearch_jax.artifact import kernel, reader
from autoresearch_jax.artifact.fingerprint import fingerprint, kernel_fingerprint
from autoresearch_jax.artifact.header import ArtifactError
from autoresearch_jax.config import Limits
from autoresearch_jax.types import from_builtins


def described(path: pathlib.Path, limits: Limits) -> dict[str, Any]:
  """Returns the fingerprint and the facts of an artifact, or the error."""
  try:
    data = reader.contents(path, limits)
    if kernel.is_kernel(data):
      traced = kernel.from_bytes(data, limits)
      return {'fingerprint': kernel_fingerprint(traced), 'facts': traced.facts()}
    artifact = reader.from_bytes(data, limits)
    return {'fingerprint': fingerprint(artifact), 'facts': artifact.facts()}
  except ArtifactError as error:
    return {'error': str(error)}


def main() -> None:
  """Answers requests until the standard input ends."""
  for line in sys.stdin.buffer:
    request = msgspec.json.decode(line)
    limits = from_builtins(request['limits'], Limits)
    answer = described(pathlib.Path(request['path']), limits)
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b'\n')
    sys.stdout.buffer.flush()


if __name__ == '__main__':
  main()
