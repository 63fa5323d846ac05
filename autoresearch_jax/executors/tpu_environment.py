"""How several libtpu processes share the chips of a host: environment variables, and the lock file.

A process is told that it is alone: it sees its chips, as a topology of one process with an address
of its own (github.com/jax-ml/jax/issues/14977, 2023). What libtpu would otherwise learn from
Google's metadata server, or GKE sets, describes the whole slice and must not reach it
(github.com/pytorch/xla/issues/7714, 2024). Older names of the same variables are set too, since
releases of libtpu differ. None of this was run on a TPU yet.

On a slice of several hosts, each host is a machine of its own: JAX would wait for the others.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import urllib.request
from collections.abc import Mapping, Sequence

# Machine type -> (chips of the host, their topology), by cloud.google.com/tpu/docs and
# docs.cloud.google.com/compute/docs/tpus/tpu-machines. Larger slices consist of hosts of 4 chips
# (v5e and v6e from 16 chips on, v4, v5p, 7x) that are arranged as 2x2x1.
HOSTS: Mapping[str, tuple[int, str]] = {
  'v4-8': (4, '2x2x1'),
  'v5litepod-1': (1, '1x1'),
  'v5litepod-4': (4, '2x2'),
  'v5litepod-8': (8, '2x4'),
  'v5p-8': (4, '2x2x1'),
  'ct5p-hightpu-1t': (1, '1x1x1'),
  'ct5p-hightpu-2t': (2, '1x2x1'),
  'ct5p-hightpu-4t': (4, '2x2x1'),
  'v6e-1': (1, '1x1'),
  'v6e-4': (4, '2x2'),
  'v6e-8': (8, '2x4'),
  'ct6e-standard-1t': (1, '1x1'),
  'ct6e-standard-4t': (4, '2x2'),
  'ct6e-standard-8t': (8, '2x4'),
  'tpu7x-standard-1t': (1, '1x1x1'),
  'tpu7x-standard-4t': (4, '2x2x1'),
}
# Number of chips of a process -> their arrangement, where libtpu accepts one.
CHIP_BOUNDS = {1: '1,1,1', 2: '1,2,1', 4: '2,2,1', 8: '2,4,1'}
FIRST_PORT = 8476  # of libtpu; each process has a port
LOCK_FILE = pathlib.Path('/tmp/libtpu_lockfile')
DEVICES = ('/dev', r'accel\d+'), ('/dev/vfio', r'\d+')  # up to v4; since v5
_PRODUCT = pathlib.Path('/sys/class/dmi/id/product_name')
_ENDPOINTS = (
  'http://169.254.169.254/computeMetadata/v1/instance/attributes/worker-network-endpoints'
)
# What libtpu and the driver say while another process has the chips, or has them still.
_BUSY = re.compile(
  r'already in use|in use by|resource busy|device or resource|busy or unavailable|'
  r"lockfile|couldn't open device",
  re.IGNORECASE,
)


def environment(chips: Sequence[str], index: int = 0) -> dict[str, str | None]:
  """Returns the variables of a process that has only some chips of its host.

  Args:
    chips: Numbers of its chips.
    index: Number of the process, for its port.

  Returns:
    Name -> value; None for a variable that must not be set.

  Raises:
    ValueError: libtpu has no arrangement for this number of chips.
  """
  bounds = CHIP_BOUNDS.get(len(chips))
  if bounds is None:
    raise ValueError(
      f'A slot cannot have {len(chips)} chips, only {", ".join(map(str, CHIP_BOUNDS))}; change '
      'slots.'
    )
  listed, port = ','.join(chips), str(FIRST_PORT + index)
  return {
    'TPU_VISIBLE_CHIPS': listed,
    'TPU_VISIBLE_DEVICES': listed,
    'TPU_CHIPS_PER_PROCESS_BOUNDS': bounds,
    'TPU_CHIPS_PER_HOST_BOUNDS': bounds,
    'TPU_PROCESS_BOUNDS': '1,1,1',
    'TPU_HOST_BOUNDS': '1,1,1',
    'TPU_PROCESS_ADDRESSES': f'localhost:{port}',
    'TPU_PROCESS_PORT': port,
    'TPU_MESH_CONTROLLER_ADDRESS': f'localhost:{port}',
    'TPU_MESH_CONTROLLER_PORT': port,
    'CLOUD_TPU_TASK_ID': '0',
    'TPU_WORKER_ID': '0',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'TPU_SKIP_MDS_QUERY': '1',
    'TPU_TOPOLOGY': None,
    'TPU_ACCELERATOR_TYPE': None,
    # Otherwise a process with 4 chips fails at libtpu's lock while another process has any.
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  }


def whole_host() -> dict[str, str | None]:
  """Returns the variables of a process with all chips of one host of a larger slice.

  They are empty on a machine that is no part of a slice of several hosts, where libtpu's defaults
  are right.
  """
  chips = host_chips()
  if slice_hosts() < 2 or len(chips) not in CHIP_BOUNDS:
    return {}
  return environment(chips)


def host_chips() -> list[str]:
  """Returns the numbers of the chips of this host, counted by their device files."""
  for folder, pattern in DEVICES:
    with contextlib.suppress(OSError):
      names = [path.name for path in pathlib.Path(folder).iterdir()]
      if found := [name for name in names if re.fullmatch(pattern, name)]:
        return [str(i) for i in range(len(found))]
  return []


def slice_hosts() -> int:
  """Returns the number of hosts of the TPU slice that this machine belongs to, at least 1."""
  names = os.environ.get('TPU_WORKER_HOSTNAMES', '')
  if not names and host_chips():
    names = _worker_endpoints()
  return max(1, len([name for name in names.split(',') if name]))


def _worker_endpoints() -> str:
  """The hosts of the slice by Google's metadata server; '' elsewhere."""
  with contextlib.suppress(OSError, ValueError):
    if 'Google' not in _PRODUCT.read_text():
      return ''
    request = urllib.request.Request(_ENDPOINTS, headers={'Metadata-Flavor': 'Google'})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, None, 2) as got:
      return got.read().decode()
  return ''


def says_busy(text: str) -> bool:
  """Whether an error of libtpu or CUDA says that another process has the devices."""
  return bool(_BUSY.search(text))


def remove_stale_lock(file: pathlib.Path = LOCK_FILE) -> bool:
  """Removes libtpu's lock file if no process has it open or locked.

  Returns:
    Whether it was removed. It stays if that cannot be known, or it is another user's.
  """
  try:
    with file.open('r+b') as lock:
      # Also sees processes of other users, whose open files this one may not list.
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      if file.stat().st_uid != os.geteuid() or _is_open_elsewhere(file):
        return False
      file.unlink()
  except OSError:
    return False
  return True


def _is_open_elsewhere(file: pathlib.Path) -> bool:
  """Whether another process has the file open, as far as this one may see."""
  target, own = str(file), str(os.getpid())
  for process in pathlib.Path('/proc').iterdir():
    if not process.name.isdigit() or process.name == own:
      continue
    with contextlib.suppress(OSError):
      for entry in (process / 'fd').iterdir():
        with contextlib.suppress(OSError):
          if str(entry.readlink()) == target:
            return True
  return False
