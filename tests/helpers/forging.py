"""Reads forged artifacts in processes of its own: python forging.py FILE OUT COUNT.

Writes JSON lines to OUT: what each came to, which exception there was that must not be, or how it
ended the process that read it. Each has 4 s of processor time, and 4 GiB of address space.
"""

import json
import os
import pathlib
import random
import resource
import signal
import sys
from typing import NoReturn

from autoresearch_jax.artifact.fingerprint import fingerprint
from autoresearch_jax.artifact.header import ArtifactError, Header, pack, unpack
from autoresearch_jax.artifact.reader import from_bytes
from autoresearch_jax.runner.compile import ExecutableTemplate

MORE_BYTES, MAX_SECONDS = 4 * 2**30, 4.0


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
  header, modules = unpack(honest)
  if rng.random() < 0.1:
    rng.shuffle(modules)
  else:
    which = rng.randrange(len(modules))
    modules[which] = forgery(modules[which], rng)
  fields = {name: getattr(header, name) for name in header.__struct_fields__}
  fields['module_bytes'] = tuple(map(len, modules))
  return pack(Header(**fields), tuple(modules))


def outcome(data: bytes, honest: bytes, whole: bool) -> str:
  """whole: what the runner asks of it after it was read, too."""
  if data == honest:
    return 'the same'
  try:
    artifact = from_bytes(data)
    if whole:
      fingerprint(artifact)
      artifact.facts()
      assert ExecutableTemplate.from_artifact(artifact).cache_key
  except ArtifactError as error:
    return 'refused' if str(error).endswith('.') else f'no sentence: {error}'
  except Exception as error:
    return f'{type(error).__name__}: {str(error)[:200]}'
  return 'another trial'


def read(honest: bytes, seeds: range, write: int) -> NoReturn:
  """In a child: reads forgeries until one ends it."""
  now = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (now + MORE_BYTES, now + MORE_BYTES))
  for seed in seeds:
    say(write, {'seed': seed})
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)  # its signal ends C++ code too
    came = outcome(forged(honest, seed), honest, seed % 2 == 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say(write, {'seed': seed, 'came': came, 'peak': peak})
  os._exit(0)


def say(write: int, what: dict) -> None:
  os.write(write, json.dumps(what).encode() + b'\n')


def main(path: str, out: str, seeds: range) -> None:
  honest = pathlib.Path(path).read_bytes()
  assert outcome(honest + b'x', honest, True) == 'refused'
  write = os.open(out, os.O_RDWR | os.O_CREAT | os.O_APPEND)
  while seeds:
    child = os.fork()
    if child == 0:
      read(honest, seeds, write)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    last = json.loads(pathlib.Path(out).read_text().splitlines()[-1])['seed']
    if code:
      say(write, {'seed': last, 'ended': code})
    seeds = range(last + 1, seeds.stop)


if __name__ == '__main__':
  main(sys.argv[1], sys.argv[2], range(int(sys.argv[3])))
