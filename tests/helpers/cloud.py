"""A bucket over a folder, `cloud:///FOLDER`, that can be slow or fail, and a command that knows it.

`python cloud.py ...` is `python -m autoresearch_jax.main ...` with the store registered, and with
the parts of the synthetic run.
"""

import json
import os
import pathlib
import shutil
import sys
import time

import fsspec
from fsspec.spec import AbstractFileSystem

COMMAND = str(pathlib.Path(__file__).resolve())


class CloudFileSystem(AbstractFileSystem):
  """An object store: no folders, whole objects, creation on condition that there is none yet.

  A file FOLDER.weather beside the bucket says how it works now: `{"delay": seconds}` of each
  request, `{"fail": true}`.
  """

  protocol = 'cloud'

  def _request(self, path):
    path = self._strip_protocol(path)
    for folder in [*pathlib.Path(path).parents][:-1]:
      weather = folder.with_name(f'{folder.name}.weather')
      if weather.exists():
        found = json.loads(weather.read_text())
        time.sleep(found.get('delay', 0.0))
        if found.get('fail'):
          raise RuntimeError('503 Service Unavailable')  # no OSError, as of many stores' packages
    return pathlib.Path('/' + path.lstrip('/'))

  def ls(self, path, detail=True, **kwargs):
    folder = self._request(f'{path}/x').parent
    found = [
      {'name': str(p), 'size': p.stat().st_size, 'type': 'directory' if p.is_dir() else 'file'}
      for p in folder.glob('*')
      if not p.name.endswith('.part')
    ]
    if not found:
      raise FileNotFoundError(path)
    return found if detail else [entry['name'] for entry in found]

  def cat_file(self, path, start=None, end=None, **kwargs):
    return self._request(path).read_bytes()[start:end]

  def pipe_file(self, path, value, mode='overwrite', **kwargs):
    file = self._request(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f'.{file.name}.{os.getpid()}.{time.monotonic_ns()}.part')
    part.write_bytes(value)
    try:
      if mode == 'create':
        os.link(part, file)
      else:
        part.rename(file)
    finally:
      part.unlink(missing_ok=True)

  def put_file(self, lpath, rpath, callback=None, mode='overwrite', **kwargs):
    self.pipe_file(rpath, pathlib.Path(lpath).read_bytes(), mode)

  def get_file(self, rpath, lpath, callback=None, outfile=None, **kwargs):
    shutil.copyfile(self._request(rpath), lpath)

  def rm_file(self, path):
    self._request(path).unlink()


def register():
  fsspec.register_implementation('cloud', CloudFileSystem, clobber=True)


def url(folder):
  """The URL of a bucket in a folder."""
  return f'cloud://{folder}'


def set_weather(folder, **weather):
  """Makes the bucket slow or failing, or all right again."""
  folder = pathlib.Path(folder)
  new = folder.with_name(f'{folder.name}.weather.new')
  new.write_text(json.dumps(weather))
  new.rename(folder.with_name(f'{folder.name}.weather'))


if __name__ == '__main__':
  from autoresearch_jax.mirror import lease
  from helpers import synthetic_command

  register()
  lease.RENEW_SECONDS, lease.LEASE_SECONDS = 3.0, 12.0  # so that tests need not wait for a minute
  sys.exit(synthetic_command.main_with_parts(sys.argv[1:]))
