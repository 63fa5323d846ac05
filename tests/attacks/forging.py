"""Reads forged artifacts in a process of its own, as the runner would: python forging.py FILE.

Prints a JSON line for each: what it came to, or which exception there was that must not be. The
process may take 4 GiB of address space more than it has at the start.
"""

import json
import pathlib
import random
import resource
import sys
import time

from autoresearch_jax.trial import header as headers
from autoresearch_jax.trial.artifact import from_bytes
from autoresearch_jax.trial.fingerprint import fingerprint
from autoresearch_jax.trial.header import ArtifactError

MORE_BYTES = 4 * 2**30


def flipped(data: bytes, rng: random.Random) -> bytes:
  changed = bytearray(data)
  for _ in range(rng.choice((1, 1, 2, 8))):
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
  return bytes(changed)


def truncated(data: bytes, rng: random.Random) -> bytes:
  return data[: rng.randrange(len(data))]


def spliced(data: bytes, rng: random.Random) -> bytes:
  """A random piece of it goes to a random place, over what is there or in between."""
  start, place = rng.randrange(len(data)), rng.randrange(len(data))
  piece = data[start : start + rng.randint(1, 64)]
  return data[:place] + piece + data[place + rng.choice((0, len(piece))) :]


def noisy(data: bytes, rng: random.Random) -> bytes:
  place = rng.randrange(len(data))
  return data[:place] + rng.randbytes(rng.randint(1, 16)) + data[place + rng.randint(0, 16) :]


def extreme(data: bytes, rng: random.Random) -> bytes:
  """Four bytes become a number that is none, or far too large: sizes and offsets are such."""
  place = rng.randrange(len(data))
  number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)).to_bytes(4, 'little')
  return data[:place] + number + data[place + 4 :]


FORGERIES = (flipped, truncated, spliced, noisy, extreme)


def forged(honest: bytes, seed: int) -> bytes:
  """Every second one is changed on its way; the others by someone who mends sizes and checksum."""
  rng = random.Random(seed)
  forgery = FORGERIES[seed // 2 % len(FORGERIES)]
  if seed % 2:
    return forgery(honest, rng)
  header, modules = headers.unpack(honest)
  if rng.random() < 0.1:
    rng.shuffle(modules)
  else:
    which = rng.randrange(len(modules))
    modules[which] = forgery(modules[which], rng)
  fields = {name: getattr(header, name) for name in header.__struct_fields__}
  fields['module_bytes'] = tuple(map(len, modules))
  return headers.pack(headers.Header(**fields), tuple(modules))


def outcome(data: bytes, honest: bytes) -> str:
  if data == honest:
    return 'the same'
  try:
    artifact = from_bytes(data)
    fingerprint(artifact)
    artifact.facts()
  except ArtifactError as error:
    return 'refused' if str(error).endswith('.') else f'no sentence: {error}'
  except Exception as error:
    return f'{type(error).__name__}: {str(error)[:200]}'
  return 'another trial'


def main(path: str, seeds: range) -> None:
  honest = pathlib.Path(path).read_bytes()
  assert outcome(honest + b'x', honest) == 'refused'
  now = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (now + MORE_BYTES, now + MORE_BYTES))
  for seed in seeds:
    print(json.dumps({'seed': seed}), flush=True)
    began = time.monotonic()
    came = outcome(forged(honest, seed), honest)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    said = {'seed': seed, 'came': came, 'seconds': time.monotonic() - began, 'peak': peak}
    print(json.dumps(said), flush=True)


if __name__ == '__main__':
  main(sys.argv[1], range(int(sys.argv[2]), int(sys.argv[3])))
