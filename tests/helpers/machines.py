"""Machines of a cluster as processes on this one: each has a cache and a Python path of its own."""

import os
import pathlib
import shlex
import sys

from helpers.processes import family

PROBLEM = ('tiny_language', {})  # in `helpers.tiny_language`


def options(folder: pathlib.Path, *hosts: str, **others) -> dict:
  """Options of the executor `ssh` whose machines are processes, started without ssh."""
  install_problem(folder / 'site')
  tests = pathlib.Path(__file__).parents[1]
  path = ':'.join(str(p) for p in (folder / 'site-{host}', folder / 'site', tests))
  environment = f'PYTHONPATH={path} AUTORESEARCH_JAX_CACHE={folder}/cache-{{host}}'
  command = f'env {environment} sh -c {{command}}'
  return {'hosts': hosts, 'command': command, 'python': shlex.quote(sys.executable), **others}


def install_problem(site: pathlib.Path) -> None:
  """Makes a folder that offers the problem to Python processes with it on their path."""
  install(site, 'tiny', '1.0')
  points = '[autoresearch_jax.problem]\ntiny_language = helpers.tiny_language:TinyLanguage\n'
  (site / 'tiny-1.0.dist-info' / 'entry_points.txt').write_text(points)


def install(site: pathlib.Path, package: str, version: str) -> None:
  """Makes a folder in which a package appears to be installed."""
  info = site / f'{package}-{version}.dist-info'
  info.mkdir(parents=True, exist_ok=True)
  (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n')


def pid_of(folder: pathlib.Path, host: str) -> int:
  """Process id of a machine's host process, which this process started."""
  for pid, line in family(os.getpid()).items():
    environment = pathlib.Path('/proc', str(pid), 'environ').read_bytes()
    if 'executors.host' in line and f'{folder}/cache-{host}\0'.encode() in environment:
      return pid
  raise AssertionError(f'{host} does not run')
