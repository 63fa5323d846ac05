"""Gets the data of a config, without training.

    python prepare_data.py --config=NAME URL HOST_INDEX

The machine with index 0 prepares them, unless the URL (gs://, s3://, file://) has them already, and
copies them there. The others, and machines that replace a preempted one, copy them from there.
"""

import sys
import time

import fsspec

from autoresearch_jax import config as configs
from autoresearch_jax.data import cache
from autoresearch_jax.research.build import build_task

POLL_SECONDS = 15.0
MAX_WAIT_SECONDS = 2 * 3600.0
NOT_DATA = ('xla',)  # folders of the cache that belong to one kind of chip


def get_data(config: str, url: str, index: int) -> None:
  """Prepares or copies the data.

  Args:
    config: Name or path of a config.
    url: Folder of a bucket for the data.
    index: Index of this machine.

  Raises:
    TimeoutError: The first machine did not copy the data to the bucket in time.
  """
  files, folder = fsspec.core.url_to_fs(url)
  ready, local = f'{folder}/READY', cache.directory()
  deadline = time.monotonic() + MAX_WAIT_SECONDS
  while index and not files.exists(ready):
    if time.monotonic() > deadline:
      raise TimeoutError(f'{url}/READY did not appear within {MAX_WAIT_SECONDS:g} s.')
    time.sleep(POLL_SECONDS)
    files.invalidate_cache()
  if files.exists(ready):
    for name in files.find(f'{folder}/cache'):
      target = local / str(name).partition('/cache/')[2]
      target.parent.mkdir(parents=True, exist_ok=True)
      files.get_file(name, str(target))
  build_task(configs.from_config_dict(configs.load(config))).prepare_data(print)
  if not files.exists(ready):
    for path in sorted(local.rglob('*')):
      name = path.relative_to(local)
      if path.is_file() and name.parts[0] not in NOT_DATA and path.suffix != '.lock':
        files.makedirs(f'{folder}/cache/{name.parent.as_posix()}', exist_ok=True)
        files.put_file(str(path), f'{folder}/cache/{name.as_posix()}')
    files.pipe_file(ready, b'')


if __name__ == '__main__':
  get_data(sys.argv[1].removeprefix('--config='), sys.argv[2], int(sys.argv[3]))
