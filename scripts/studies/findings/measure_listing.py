"""How long does it take to list and filter 10,000 findings of a store?

    python measure_listing.py [FOLDER]

Makes a store of 10,000 signed findings of 20 sources in FOLDER (a temporary one by default), and
lists it: at first, when each is verified, and again, when the index knows them. Takes a minute.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from autoresearch_jax.cli import learn
from autoresearch_jax.findings import stores
from autoresearch_jax.findings.encoding import encode
from autoresearch_jax.findings.finding import Finding, FindingProgram, FindingSetting
from autoresearch_jax.findings.programs import files_of, patch_of, sha256
from autoresearch_jax.findings.selection import Selection, by_setting
from autoresearch_jax.findings.signing import Key
from autoresearch_jax.findings.store import name_of_blob, name_of_finding
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.types import Budget, Hypothesis, Program

COUNT, SOURCES = 10_000, 20


def make(folder: pathlib.Path) -> None:
  """Makes the store: edits of the GPT's constants, in ten settings."""
  text = (PROGRAMS / 'gpt' / 'model.py').read_text()
  parent = Program((('model.py', text),), 'model.py')
  keys = [Key(Ed25519PrivateKey.generate()) for _ in range(SOURCES)]
  before = FindingProgram(parent.digest, entry='model.py', files=files_of(parent))
  before = dataclasses.replace(before, values=((0, 1.0), (1, 1.01)))
  patch = patch_of(parent, parent.with_text(f'{text}NUMBER = 0\n'))
  for number in range(COUNT):
    child = parent.with_text(f'{text}NUMBER = {number}\n')
    gain = 0.001 * (number % 17 - 8)
    after = FindingProgram(
      child.digest, f'{number:032x}', 'model.py', files_of(child),
      ((0, 1.0 - gain), (1, 1.01 - gain)),
    )  # fmt: skip
    setting = FindingSetting(
      f'problem{number % 5}', 'val_bpb', 'minimize', Budget(300.0, 'seconds', 'calibrated'),
      'gpu', 'NVIDIA H100' if number % 2 else 'NVIDIA A100', data='0' * 64,
    )  # fmt: skip
    finding = Finding(
      setting, before, after, 'gain' if gain > 0.002 else 'no_gain', f'edit {number}',
      Hypothesis('It helps.', ('optimizer',)), patch.replace('NUMBER = 0', f'NUMBER = {number}'),
      sum(b - a for (_, a), (_, b) in zip(after.values, before.values, strict=True)) / 2,
      0.002, 20, 2, 0.002, created=1_700_000_000 + number,
    )  # fmt: skip
    signed = keys[number % SOURCES].sign(finding)
    contents = [(name_of_finding(signed.id), encode(signed))]
    contents += [
      (name_of_blob(sha256(p.text().encode())), p.text().encode()) for p in (parent, child)
    ]
    for name, content in contents:
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)


def main() -> None:
  with tempfile.TemporaryDirectory() as scratch:
    os.environ['AUTORESEARCH_JAX_CACHE'] = str(pathlib.Path(scratch) / 'cache')
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / 'store'
    make(folder)
    refused: list[str] = []
    for name in ('first, each is verified', 'again', 'again'):
      began, began_cpu = time.perf_counter(), time.process_time()
      found = Selection(problem='problem1', status='gain').of(
        stores.read(str(folder), refused.append)
      )
      groups = by_setting(found)
      seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
      print(
        f'{name}: {seconds:.2f} s ({cpu:.2f} s of CPU), {len(found)} of {COUNT} in {len(groups)} '
        'settings'
      )
    began, began_cpu = time.perf_counter(), time.process_time()
    learn.main([str(folder), '--limit=3'])
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    print(f'`autoresearch learn STORE --limit=3`: {seconds:.2f} s ({cpu:.2f} s of CPU)')
    print(f'{len(refused)} refused')


if __name__ == '__main__':
  main()
