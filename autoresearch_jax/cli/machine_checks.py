"""Checks whether this machine is ready for a run, and says what to do; see `doctor`.

Standard library only, for Python 3.8 and later, so that it also runs as a plain file where the
package cannot be installed yet, for instance with the Python 3.10 of TPU images:

    python3 machine_checks.py --bucket=gs://my-bucket

It reads device files, /proc, /sys and Google's metadata server, and changes nothing. JAX is not
started: that would take the chips from a run.
"""

from __future__ import annotations  # for Pythons before 3.10

import argparse
import ctypes
import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import socket
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence

OK, NOTE, FIX = 'ok', 'note', 'FIX'  # states of a check; only the last one fails the command
MIN_PYTHON, BEST_PYTHON = (3, 11), '3.12'
MIN_DISK_GB = 20
METADATA = 'http://metadata.google.internal/computeMetadata/v1'
STORAGE = 'https://storage.googleapis.com/storage/v1'
GOOGLE_PCI_VENDOR = '0x1ae0'
LOCK_FILE = '/tmp/libtpu_lockfile'
HOSTS = ('pypi.org', 'storage.googleapis.com', 'generativelanguage.googleapis.com')
BUCKET_PERMISSIONS = tuple(
  f'storage.objects.{verb}' for verb in ('create', 'delete', 'get', 'list')
)
TIMEOUT_SECONDS = 3.0
_LANDLOCK_CREATE_RULESET = 444  # on every architecture
_TIME_ERROR = 5  # adjtimex: the clock is not synchronised


@dataclasses.dataclass(frozen=True)
class Check:
  """The result of one check.

  Attributes:
    name: What was checked, a word.
    state: OK, NOTE (works, but read this) or FIX (a run fails or is slower than it should be).
    text: What was found and, unless OK, what to do.
  """

  name: str
  state: str
  text: str

  def __str__(self) -> str:
    return f'{self.state:<5}{self.name:<12}{self.text}'


class Machine:
  """Reads facts of a machine.

  Args:
    root: Root of its file system; another one in tests.
    metadata: URL of Google's metadata server; '' if there is none.
    storage: URL of Google Cloud Storage's JSON API.
  """

  def __init__(self, root: str = '/', metadata: str = METADATA, storage: str = STORAGE):
    self.root, self.storage = pathlib.Path(root), storage
    google = 'Google' in self.read('/sys/class/dmi/id/product_name')
    self.metadata_url = metadata if google or metadata != METADATA else ''

  def path(self, name: str) -> pathlib.Path:
    return self.root / name.lstrip('/')

  def read(self, name: str) -> str:
    """Returns a file's text without surrounding whitespace; '' if it cannot be read."""
    try:
      return self.path(name).read_text(errors='replace').strip()
    except OSError:
      return ''

  def listed(self, folder: str, pattern: str) -> list[str]:
    """Returns the paths in a folder whose names match a regular expression, in order."""
    try:
      names = [entry.name for entry in self.path(folder).iterdir()]
    except OSError:
      return []
    found = [name for name in names if re.fullmatch(pattern, name)]
    return [f'{folder}/{n}' for n in sorted(found, key=lambda n: (len(n), n))]

  def metadata(self, key: str) -> str:
    """Returns a value of the metadata server; '' if there is none."""
    if not self.metadata_url:
      return ''
    request = urllib.request.Request(
      f'{self.metadata_url}/instance/{key}', headers={'Metadata-Flavor': 'Google'}
    )
    try:
      direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
      with direct.open(request, timeout=TIMEOUT_SECONDS) as reply:
        return reply.read().decode().strip()
    except (OSError, ValueError):
      return ''

  def tpu_chips(self) -> list[str]:
    """Returns the device files of TPU chips: /dev/accel* up to v4, /dev/vfio/* since v5."""
    return self.listed('/dev', r'accel\d+') or self.listed('/dev/vfio', r'\d+')

  def holders(self, files: Sequence[str]) -> list[int]:
    """Returns the process ids that have one of the files open, as far as they may be seen."""
    wanted, found = set(files), []
    for process in self.listed('/proc', r'\d+'):
      pid = int(process.rpartition('/')[2])
      for entry in self.listed(f'{process}/fd', r'\d+'):
        try:
          target = os.readlink(str(self.path(entry)))  # noqa: PTH115 - Python 3.9
        except OSError:
          continue
        if target in wanted and pid not in found:
          found.append(pid)
    return found


def python_check(machine: Machine) -> Check:
  """The interpreter that runs this."""
  version = platform.python_version()
  if sys.version_info < MIN_PYTHON:
    return Check(
      'python', FIX,
      f'{version} is too old. Install uv (https://docs.astral.sh/uv), then: uv venv --python '
      f'{BEST_PYTHON} && uv pip install autoresearch_jax',
    )  # fmt: skip
  return Check('python', OK, f'{version} ({sys.executable})')


def kernel_check(machine: Machine) -> Check:
  if sys.platform != 'linux':
    return Check('kernel', FIX, f'{sys.platform}: runs need Linux.')
  return Check('kernel', OK, f'Linux {platform.release()} on {platform.machine()}')


def landlock_check(machine: Machine) -> Check:
  version = landlock_version()
  if version:
    return Check('landlock', OK, f'version {version}')
  modules = machine.read('/sys/kernel/security/lsm')
  if modules and 'landlock' not in modules:
    why = f'it is not enabled ({modules}): add lsm=landlock,{modules} to the kernel command line'
  else:
    why = 'the kernel is older than 5.13, or a container forbids it (gVisor has none)'
  return Check('landlock', NOTE, f'none; {why}. The next line says what the sandbox uses instead.')


def fallback_check(machine: Machine) -> Check:
  """What shuts candidate programs in where Landlock is missing."""
  programs = [name for name in ('bwrap', 'runsc') if shutil.which(name)]
  spaces = user_namespaces(machine)
  found = [*(['user namespaces'] if not spaces else []), *programs]
  if landlock_version():
    return Check('sandbox', OK, 'Landlock; not needed: ' + (', '.join(found) or 'any other'))
  if not spaces:
    return Check(
      'sandbox', NOTE,
      'namespaces instead of Landlock; coding agents can signal other processes of this user.',
    )  # fmt: skip
  return Check(
    'sandbox', FIX,
    f"neither Landlock nor user namespaces ({spaces}). config.limits.isolation='limits' runs "
    'candidates without protection of files and network: only on a machine without secrets.',
  )  # fmt: skip


def user_namespaces(machine: Machine) -> str:
  """Returns why user namespaces cannot be used; '' if they can."""
  if machine.read('/proc/sys/user/max_user_namespaces') in ('', '0'):
    return 'user.max_user_namespaces is 0'
  if os.geteuid() == 0:
    return ''
  if machine.read('/proc/sys/kernel/unprivileged_userns_clone') == '0':
    return 'kernel.unprivileged_userns_clone is 0'
  if machine.read('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') == '1':
    return 'kernel.apparmor_restrict_unprivileged_userns is 1'
  return ''


def seccomp_check(machine: Machine) -> Check:
  if 'Seccomp:' in machine.read('/proc/self/status'):
    return Check('seccomp', OK, 'filters can be installed')
  return Check('seccomp', FIX, 'none: use a kernel with CONFIG_SECCOMP_FILTER.')


def user_check(machine: Machine) -> Check:
  devices = machine.tpu_chips()
  closed = [d for d in devices if not os.access(str(machine.path(d)), os.R_OK | os.W_OK)]
  if closed:
    return Check(
      'user', FIX,
      f'uid {os.getuid()} may not use {closed[0]}: run as a user of the group that owns it (sudo '
      'usermod -aG GROUP USER), or with sudo.',
    )  # fmt: skip
  if os.geteuid() == 0:
    return Check(
      'user', NOTE, 'root: what it leaves (libtpu lock file, caches) is closed to other users.'
    )
  return Check('user', OK, f'uid {os.getuid()}')


def chips_check(machine: Machine) -> Check:
  """TPU chips and GPUs by their device files, and who uses them."""
  chips, gpus = machine.tpu_chips(), machine.listed('/dev', r'nvidia\d+')
  vendors = [machine.read(f'{d}/vendor') for d in machine.listed('/sys/bus/pci/devices', '.+')]
  on_bus = vendors.count(GOOGLE_PCI_VENDOR)
  if not chips and not gpus:
    if on_bus:
      return Check(
        'chips', FIX,
        f'{on_bus} TPU devices on the PCI bus, but none at /dev/accel* or /dev/vfio: the image '
        "has no driver for them. Create the VM with this chip's runtime version (v6e: "
        'v2-alpha-tpuv6e), and never upgrade its kernel.',
      )  # fmt: skip
    return Check('chips', NOTE, 'none: runs train on the CPU.')
  held = machine.holders([*chips, *gpus])
  kind = machine.metadata('attributes/accelerator-type')
  name = f'{len(chips)} TPU chips' if chips else f'{len(gpus)} NVIDIA GPUs'
  name += f' ({kind})' if kind else ''
  if chips and held:
    pids = ', '.join(map(str, held))
    return Check('chips', FIX, f'{name}, in use by process {pids}: end it (kill {held[0]}) first.')
  return Check('chips', OK, f'{name}, idle' if chips else name)


def packages_check(machine: Machine) -> Check:
  """JAX's plugin for the chips, without importing it."""
  from importlib import metadata  # noqa: PLC0415 - absent in old Pythons

  def version(name: str) -> str:
    try:
      return metadata.version(name)
    except metadata.PackageNotFoundError:
      return ''

  jax, chips, gpus = version('jax'), machine.tpu_chips(), machine.listed('/dev', r'nvidia\d+')
  extra = 'tpu' if chips else 'cuda' if gpus else ''
  plugins = {'tpu': ('libtpu',), 'cuda': ('jax-cuda13-plugin', 'jax-cuda12-plugin'), '': ('jax',)}
  plugin = next((f'{name} {version(name)}' for name in plugins[extra] if version(name)), '')
  if not jax or not plugin:
    package = f'autoresearch_jax[{extra}]' if extra else 'autoresearch_jax'
    return Check('packages', FIX, f"missing: uv pip install '{package}'")
  return Check('packages', OK, f'jax {jax}' + (f', {plugin}' if extra else ''))


def hugepages_check(machine: Machine) -> Check:
  file = '/sys/kernel/mm/transparent_hugepage/enabled'
  setting = re.search(r'\[(\w+)\]', machine.read(file))
  mode = setting.group(1) if setting else 'unknown'
  if mode != 'always' and machine.tpu_chips():
    return Check(
      'hugepages', FIX,
      f'{mode}; transfers to TPUs since v5e are much faster with always: sudo sh -c "echo always > '
      f'{file}"',
    )  # fmt: skip
  return Check('hugepages', OK, f'transparent hugepages: {mode}')


def lock_check(machine: Machine) -> Check:
  """The file by which libtpu keeps a second process from the chips."""
  file = machine.path(LOCK_FILE)
  if not file.exists():
    return Check('libtpu lock', OK, 'free')
  held = machine.holders([LOCK_FILE])
  if held:
    return Check(
      'libtpu lock', FIX, f'{LOCK_FILE} is held by process {held[0]}: end it (kill {held[0]}).'
    )
  if not os.access(str(file), os.W_OK):
    return Check(
      'libtpu lock', FIX,
      f'{LOCK_FILE} is left over from a run of another user: sudo rm {LOCK_FILE}',
    )  # fmt: skip
  return Check('libtpu lock', OK, f'{LOCK_FILE} exists, and no process holds it')


def hosts_check(machine: Machine) -> Check:
  """The hosts of the TPU slice."""
  names = os.environ.get('TPU_WORKER_HOSTNAMES')
  names = names or machine.metadata('attributes/worker-network-endpoints')
  count = len([name for name in names.split(',') if name])
  if not count:
    return Check('hosts', OK, 'one machine; no TPU slice was found')
  if count == 1:
    return Check('hosts', OK, 'the slice has one host')
  number = machine.metadata('attributes/agent-worker-number') or os.environ.get('TPU_WORKER_ID')
  return Check(
    'hosts', NOTE,
    f'worker {number or "?"} of {count} hosts. JAX started on one of them waits for the others; '
    'runs treat each host as a machine of its own.',
  )  # fmt: skip


def disk_check(machine: Machine, workdir: str) -> Check:
  folder = pathlib.Path(workdir).absolute()
  while not folder.exists():
    folder = folder.parent
  free = shutil.disk_usage(str(folder)).free / 1e9
  if not os.access(str(folder), os.W_OK):
    return Check('disk', FIX, f'{folder} cannot be written to; choose another --workdir.')
  if free < MIN_DISK_GB:
    return Check(
      'disk', FIX,
      f'{free:.0f} GB free at {folder}, {MIN_DISK_GB} are needed for data and compiled programs: '
      'free some, or set AUTORESEARCH_JAX_CACHE to a larger disk.',
    )  # fmt: skip
  return Check('disk', OK, f'{free:.0f} GB free at {folder}')


def bucket_check(machine: Machine, bucket: str) -> Check:
  """Whether a run's mirror could write to the bucket."""
  scheme, _, rest = bucket.partition('://')
  if not bucket:
    return Check('bucket', NOTE, 'not checked: --bucket=gs://NAME checks the mirror of a run.')
  if scheme == 'file':
    return _folder_check(rest)
  if scheme != 'gs':
    return Check('bucket', NOTE, f'{bucket} is not checked; list it with a client of that store.')
  name = rest.partition('/')[0]
  token = machine.metadata('service-accounts/default/token')
  if not token:
    return Check(
      'bucket', NOTE, f'not checked: no service account here. Try: gcloud storage ls gs://{name}'
    )
  return _google_bucket_check(machine, name, token)


def _google_bucket_check(machine: Machine, name: str, token: str) -> Check:
  query = urllib.parse.urlencode([('permissions', p) for p in BUCKET_PERMISSIONS])
  url = f'{machine.storage}/b/{urllib.parse.quote(name)}/iam/testPermissions?{query}'
  try:
    header = {'Authorization': f'Bearer {json.loads(token)["access_token"]}'}
    with urllib.request.urlopen(
      urllib.request.Request(url, headers=header), timeout=TIMEOUT_SECONDS
    ) as reply:
      allowed = json.load(reply).get('permissions', [])
  except urllib.error.HTTPError as error:
    why = f'gs://{name} does not exist' if error.code == 404 else f'status {error.code}'
    return Check(
      'bucket', FIX, f'{why}. gcloud storage buckets create gs://{name} --location=REGION'
    )
  except (OSError, ValueError, KeyError) as error:
    return Check('bucket', FIX, f'gs://{name} cannot be reached: {error}')
  missing = [p for p in BUCKET_PERMISSIONS if p not in allowed]
  if missing:
    return Check(
      'bucket', FIX,
      f'the service account lacks {", ".join(missing)} on gs://{name}: grant it '
      'roles/storage.objectAdmin, and create the VM with --scopes=cloud-platform.',
    )  # fmt: skip
  return Check('bucket', OK, f'gs://{name} can be read and written')


def _folder_check(folder: str) -> Check:
  try:
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      return Check('bucket', OK, f'{folder} can be written to')
  except OSError as error:
    return Check('bucket', FIX, f'{folder} cannot be written to: {error.strerror}')


def network_check(machine: Machine, hosts: Sequence[str] = HOSTS) -> Check:
  """Whether the hosts can be connected to, or the proxy in front of them."""
  proxy = os.environ.get('HTTPS_PROXY') or os.environ.get('https_proxy')
  addresses: list[tuple[str, int]] = [(host, 443) for host in hosts]
  if proxy:
    url = urllib.parse.urlsplit(proxy)
    addresses = [(url.hostname or '', url.port or 80)]
  failed = []
  for host, port in addresses:
    try:
      socket.create_connection((host, port), timeout=TIMEOUT_SECONDS).close()
    except OSError as error:
      failed.append(f'{host} ({error.strerror or error})')
  if failed:
    return Check(
      'network', NOTE,
      f'no connection to {", ".join(failed)}. Without an external IP, a VM needs Cloud NAT; runs '
      'with prepared data and no language model need no network.',
    )  # fmt: skip
  return Check('network', OK, f'{", ".join(host for host, _ in addresses)} can be reached')


def clock_check(machine: Machine) -> Check:
  buffer = ctypes.create_string_buffer(512)  # struct timex, all zero: read only
  try:
    state = ctypes.CDLL(None).adjtimex(buffer)
  except (OSError, AttributeError):
    return Check('clock', NOTE, 'its synchronisation cannot be read here.')
  if state == _TIME_ERROR:
    return Check(
      'clock', NOTE,
      'not synchronised, so times in records and leases of a mirror may be wrong: sudo timedatectl '
      'set-ntp true',
    )  # fmt: skip
  return Check('clock', OK, 'synchronised')


def landlock_version() -> int:
  """Returns the version of the Landlock ABI; 0 where Landlock is absent or disabled."""
  if sys.platform != 'linux':
    return 0
  libc = ctypes.CDLL(None, use_errno=True)
  return max(0, libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def checks(machine: Machine, bucket: str = '', workdir: str = '.') -> list[Check]:
  """Runs all checks, in the order in which their problems should be fixed."""
  plain: list[Callable[[Machine], Check]] = [
    python_check, packages_check, kernel_check, landlock_check, fallback_check, seccomp_check,
    user_check, chips_check, hugepages_check, lock_check, hosts_check,
  ]  # fmt: skip
  found = [check(machine) for check in plain]
  found += [disk_check(machine, workdir), bucket_check(machine, bucket)]
  return [*found, network_check(machine), clock_check(machine)]


def report(found: Sequence[Check]) -> int:
  """Prints the checks; returns the exit code: 1 if something must be fixed."""
  for check in found:
    print(check)
  problems = [check.name for check in found if check.state == FIX]
  print(f'To fix: {", ".join(problems)}.' if problems else 'Ready.')
  return 1 if problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
  """Checks this machine; returns the exit code."""
  parser = argparse.ArgumentParser(prog='machine_checks.py', description=__doc__)
  parser.add_argument('--bucket', default='', help='URL of the mirror of a run, to check it too.')
  parser.add_argument('--workdir', default='.', help='Folder of the run, for its disk.')
  return report(checks(Machine(), **vars(parser.parse_args(arguments))))


if __name__ == '__main__':
  sys.exit(main())
