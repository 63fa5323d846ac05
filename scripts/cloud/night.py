"""A night: VMs that are created, set up, watched, replaced when preempted, fetched and deleted.

The record, `night.json` in the night's local folder, has what the laptop must know to go on: the
same command continues a night whose laptop was closed. Results are safe in the bucket, where each
run keeps its mirror. A VM deletes itself at the deadline (vm/dead_man.sh).
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

from cloud.backends import Backend, VmRequest, VmState
from cloud.gcloud import GcloudError, Say

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETUP = pathlib.Path(__file__).resolve().parent / 'vm' / 'setup.sh'
REQUIREMENTS = 'requirements_tpu.txt'
MAX_SSH_FAILURES = 10  # in a row, before the first success on a VM
MAX_FAILED_REQUESTS = 3  # in a row
GRACE_SECONDS = 900  # after the deadline: to fetch results before a VM deletes itself
MAX_CALL_FAILURES = 60  # in a row, for reasons that may pass
UNIT = 'autoresearch.service'
STATUS = f'systemctl show {UNIT} --property=ActiveState --property=Result --property=ExecMainStatus'
STOP = f'sudo systemctl stop {UNIT}'
PACK = 'tar --create --gzip --file night.tar.gz --exclude=scratch --directory night .'


class NightError(Exception):
  """A night cannot go on; the message says why and what to do."""


class LeftoverError(NightError):
  """VMs could not be deleted."""


@dataclasses.dataclass
class VmRecord:
  """What is known of one VM.

  Attributes:
    name: Its name.
    requests: How often it was asked for.
    installed: Whether the run was started on the present VM.
    active_seconds: Billed time of all its incarnations so far.
    seen: When it was last seen active, in seconds since the epoch; 0 if it is not.
    ssh_failures: Calls that failed in a row.
    failed_requests: Requests that failed in a row.
    call_failures: Calls of gcloud that failed in a row.
    ended: How the run ended; '' while it goes on.
    code: Its exit code then.
  """

  name: str
  requests: int = 0
  installed: bool = False
  active_seconds: float = 0.0
  seen: float = 0.0
  ssh_failures: int = 0
  failed_requests: int = 0
  call_failures: int = 0
  ended: str = ''
  code: int = 0


@dataclasses.dataclass
class NightRecord:
  """What is known of a night; stored as `night.json`.

  Attributes:
    type: Name of the kind of VM.
    backend: Name of the interface.
    zone: The zone.
    project: Project of Google Cloud; '' for gcloud's own setting.
    bucket: gs://BUCKET or gs://BUCKET/FOLDER.
    config: Config of the runs.
    flags: Further arguments of `autoresearch run`.
    variables: Names of environment variables that the runs get from the laptop.
    spot: Whether the VMs may be preempted.
    deadline: When the night ends, in seconds since the epoch. VMs that still exist then delete
      themselves GRACE_SECONDS later.
    dollars_per_hour: Price of one VM.
    max_dollars: Spending limit of the night.
    vms: The VMs.
  """

  type: str
  backend: str
  zone: str
  project: str
  bucket: str
  config: str
  flags: list[str]
  variables: list[str]
  spot: bool
  deadline: float
  dollars_per_hour: float
  max_dollars: float
  vms: list[VmRecord]

  @property
  def is_over(self) -> bool:
    """Whether all runs have ended, or time or money is used up."""
    used_up = time.time() >= self.deadline or self.dollars >= self.max_dollars
    return used_up or all(vm.ended for vm in self.vms)

  @property
  def dollars(self) -> float:
    """Spent so far, at most."""
    return self.dollars_per_hour * sum(vm.active_seconds for vm in self.vms) / 3600

  def mirror(self, index: int) -> str:
    """Returns the URL of the mirror of a VM's run."""
    return f'{self.bucket}/{self.vms[index].name}'

  def arguments(self, index: int) -> list[str]:
    """Returns the arguments of `autoresearch run` on a VM; several VMs have different seeds."""
    seed = [] if len(self.vms) == 1 else [f'--config.seed={index}']
    place = ['--workdir=../night', f'--config.mirror={self.mirror(index)}']
    return [f'--config={self.config}', *place, *seed, *self.flags]

  @classmethod
  def read(cls, file: pathlib.Path) -> 'NightRecord':
    """Raises NightError if there is no readable record."""
    try:
      values = json.loads(file.read_text())
      return cls(**{**values, 'vms': [VmRecord(**vm) for vm in values['vms']]})
    except OSError:
      raise NightError(f'There is no night in {file.parent}; start one with `tpu.py up`.') from None
    except (ValueError, TypeError, KeyError) as error:
      raise NightError(f'{file} cannot be read: {error}') from None

  def write(self, file: pathlib.Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f'{file.name}.part')
    part.write_text(json.dumps(dataclasses.asdict(self), indent=2))
    part.replace(file)


class Night:
  """Drives the VMs of a night.

  Args:
    record: What is known of it.
    folder: Its local folder.
    backend: Google's interface.
    say: Receives messages.
    poll_seconds: Between two looks at the VMs.
  """

  def __init__(
    self,
    record: NightRecord,
    folder: pathlib.Path,
    backend: Backend,
    say: Say = print,
    poll_seconds: float = 60.0,
  ):
    self.record, self.folder, self.backend = record, folder, backend
    self._say, self._poll_seconds = say, poll_seconds
    self._dry = backend.gcloud.dry
    self._last_state: dict[str, VmState] = {}

  def save(self) -> None:
    if not self._dry:
      self.record.write(self.folder / 'night.json')

  def up(self) -> None:
    """Asks for the VMs that do not exist. Raises GcloudError."""
    for vm in self.record.vms:
      if not vm.ended and self.backend.state(vm.name)[0] == VmState.ABSENT:
        self._create(vm)

  def watch(self) -> None:
    """Looks after the VMs until all runs have ended, or time or money is used up.

    Raises:
      NightError: The night cannot go on.
      GcloudError: Google refuses a request.
    """
    while not all(vm.ended for vm in self.record.vms):
      for vm in self.record.vms:
        if not vm.ended:
          self._look_and_act(vm)
      if limit := self._limit():
        self._say(limit)
        return
      if not all(vm.ended for vm in self.record.vms):
        time.sleep(self._poll_seconds)

  def fetch(self) -> None:
    """Copies results: from VMs that exist, else from the bucket. Raises GcloudError."""
    for index, vm in enumerate(self.record.vms):
      target = self.folder / vm.name
      if not self._dry:
        target.mkdir(parents=True, exist_ok=True)
      if vm.installed and self._is_active(vm):
        try:
          self._fetch_from_vm(vm, target)
          continue
        except GcloudError as error:
          self._say(f'{vm.name}: {error} Its results are taken from the bucket instead.')
      mirror = self.record.mirror(index)
      self.backend.gcloud.run('storage', 'rsync', mirror, str(target / 'mirror'), '--recursive')
      self._say(f'{vm.name}: {target}/mirror is a copy of {mirror}.')

  def stop(self) -> None:
    """Ends the runs in good order, where their VMs can be reached."""
    for vm in self.record.vms:
      if vm.installed and not vm.ended and self._is_active(vm):
        try:
          self.backend.ssh(vm.name, STOP, timeout=120.0)
        except GcloudError as error:
          self._say(f'{vm.name}: the run could not be stopped in good order: {error}')

  def down(self) -> None:
    """Deletes all VMs, and looks whether they are gone.

    Raises:
      LeftoverError: Some are left; the message has the command that deletes them.
    """
    left = []
    for vm in self.record.vms:
      if not (vm.requests or vm.seen):
        continue  # it was never asked for
      try:
        state, _ = self.backend.state(vm.name)
        if state not in (VmState.ABSENT, VmState.LEAVING):
          self.backend.delete(vm.name)
        self._bill(vm, VmState.LEAVING)
        vm.installed = False
        if self.backend.state(vm.name)[0] not in (VmState.ABSENT, VmState.LEAVING):
          left.append(f'{vm.name} still exists')
      except GcloudError as error:
        left.append(f'{vm.name}: {error}')
    self.save()
    if left:
      raise LeftoverError(
        f'Not everything is deleted, and it may cost money: {"; ".join(left)}. Repeat `tpu.py down '
        f'--folder={self.folder}`, or see https://console.cloud.google.com/compute/tpus.'
      )
    self._say(f'All VMs are deleted. Spent at most ${self.record.dollars:.2f}.')

  def _look_and_act(self, vm: VmRecord) -> None:
    """Looks after a VM; a failure that may pass, such as one of the laptop's network, is said."""
    try:
      self._look_after(vm)
      vm.call_failures = 0
    except GcloudError as error:
      vm.call_failures += 1
      if error.permanent or vm.call_failures >= MAX_CALL_FAILURES:
        raise
      self._say(f'{vm.name}: {error} Trying again.')

  def _look_after(self, vm: VmRecord) -> None:
    """One look at one VM, and what follows from it."""
    state, reason = self.backend.state(vm.name)
    self._bill(vm, state)
    if self._last_state.get(vm.name) != state:
      self._say(f'{vm.name}: {state.value}.{f" {reason}" if reason else ""}')
      self._last_state[vm.name] = state
    match state:
      case VmState.ABSENT:
        if vm.installed:
          self._say(f'{vm.name}: its VM is gone; asking for another.')
        self._create(vm)
      case VmState.PREEMPTED | VmState.FAILED:
        if state == VmState.FAILED:
          self._count_failure(vm, reason)
        self.backend.delete(vm.name)
        vm.installed = False
      case VmState.ACTIVE if not vm.installed:
        self._try(vm, self._install)
      case VmState.ACTIVE:
        self._try(vm, self._read_status)
    self.save()

  def _create(self, vm: VmRecord) -> None:
    seconds = int(max(0.0, self._seconds_left())) + GRACE_SECONDS
    deadline = int(self.record.deadline) + GRACE_SECONDS
    request = VmRequest(vm.name, seconds, deadline, self.record.spot)
    vm.installed, vm.requests = False, vm.requests + 1
    self.save()  # before the call: a VM must not exist without a record
    if not self.backend.create(request):
      self._say(f'{vm.name}: no chips now; asking again in {self._poll_seconds:g} s.')

  def _count_failure(self, vm: VmRecord, reason: str) -> None:
    vm.failed_requests += 1
    hopeless = 'quota' in reason or 'zone' in reason
    if hopeless or vm.failed_requests >= MAX_FAILED_REQUESTS:
      raise NightError(f'{vm.name}: the request failed {vm.failed_requests} times. {reason}')

  def _try(self, vm: VmRecord, action: Callable[[VmRecord], None]) -> None:
    """Does something on a VM that may not answer yet, or no longer."""
    try:
      action(vm)
    except GcloudError as error:
      vm.ssh_failures += 1
      self._say(f'{vm.name}: no answer ({error})')
      if not vm.installed and vm.ssh_failures >= MAX_SSH_FAILURES:
        raise NightError(
          f'{vm.name} is active, but {vm.ssh_failures} attempts to install the run failed: '
          f'{error} Allow ssh: gcloud compute firewall-rules create allow-ssh --allow=tcp:22. For '
          'VMs without an external address, add --tunnel.'
        ) from None
    else:
      vm.ssh_failures = vm.failed_requests = 0

  def _install(self, vm: VmRecord) -> None:
    """Copies sources and settings to a VM, and starts the run."""
    index = self.record.vms.index(vm)
    with tempfile.TemporaryDirectory() as made:
      files = {
        'autoresearch.args': ''.join(f'{a}\n' for a in self.record.arguments(index)),
        'autoresearch.env': environment_file(
          {
            **environment_values(self.record.variables),
            'DATA_URL': f'{self.record.bucket}/data/{data_name(self.record.config)}',
            'HOST_INDEX': str(index),
          }
        ),
      }
      for name, text in files.items():
        path = pathlib.Path(made, name)
        path.touch(mode=0o600)  # keys stand in it
        path.write_text(text)
        self.backend.copy(self._shown(path), f'{vm.name}:{name}')
      sources = pathlib.Path(made, 'autoresearch.tar.gz')
      if not self._dry:
        pack_sources(sources)
      self.backend.copy(self._shown(sources), f'{vm.name}:{sources.name}')
    self.backend.copy(str(SETUP), f'{vm.name}:setup.sh')
    self.backend.ssh(vm.name, f'bash setup.sh {REQUIREMENTS}')
    vm.installed = True
    self._say(f'{vm.name}: the run has started.')

  def _shown(self, path: pathlib.Path) -> str:
    return path.name if self._dry else str(path)  # the same text in every dry run

  def _read_status(self, vm: VmRecord) -> None:
    """Sees whether the run goes on."""
    output = self.backend.ssh(vm.name, STATUS, timeout=120.0)
    values = dict(line.split('=', 1) for line in output.splitlines() if '=' in line)
    if values.get('ActiveState') == 'inactive':
      vm.ended, vm.code = 'done', int(values.get('ExecMainStatus') or 0)
    elif values.get('ActiveState') == 'failed':
      vm.code = int(values.get('ExecMainStatus') or 1) or 1
      vm.ended = f'failed with code {vm.code}; `tpu.py logs` has its last words in the journal'
    if vm.ended:
      self._say(f'{vm.name}: the run has ended: {vm.ended}.')

  def _is_active(self, vm: VmRecord) -> bool:
    return self.backend.state(vm.name)[0] == VmState.ACTIVE

  def _fetch_from_vm(self, vm: VmRecord, target: pathlib.Path) -> None:
    self.backend.ssh(vm.name, PACK)
    packed = self.folder / f'{vm.name}.tar.gz'
    self.backend.copy(f'{vm.name}:night.tar.gz', str(packed))
    if not self._dry:
      with tarfile.open(packed) as archive:
        archive.extractall(target, filter='data')
      packed.unlink()
    self._say(f'{vm.name}: results are in {target}.')

  def _bill(self, vm: VmRecord, state: VmState) -> None:
    now = time.time()
    if vm.seen:
      vm.active_seconds += max(0.0, now - vm.seen)
    vm.seen = now if state == VmState.ACTIVE else 0.0

  def _seconds_left(self) -> float:
    return self.record.deadline - time.time()

  def _limit(self) -> str:
    """Why the night must end now; '' if it may go on."""
    if self.record.dollars >= self.record.max_dollars:
      return f'The spending limit of ${self.record.max_dollars:g} is reached (--max_dollars).'
    if self._seconds_left() <= 0:
      return 'The time is over (--hours).'
    return ''


def environment_values(names: Sequence[str]) -> dict[str, str]:
  """Returns the values of environment variables. Raises NightError for one that is not set."""
  missing = [name for name in names if name not in os.environ]
  if missing:
    raise NightError(f'--env={missing[0]}: this variable is not set here.')
  return {name: os.environ[name] for name in names}


def data_name(config: str) -> str:
  """Returns the name of the folder for a config's data: configs/a.py:tpu gives a-tpu."""
  path, _, variant = config.partition(':')
  return '-'.join(filter(None, (pathlib.PurePath(path).stem, variant)))


def environment_file(values: Mapping[str, str]) -> str:
  """Returns the text of an environment file of systemd. Raises NightError for a line break."""
  lines = []
  for name, value in values.items():
    if '\n' in value:
      raise NightError(f'The variable {name} has a line break, which a VM cannot be given.')
    escaped = value.replace('\\', '\\\\').replace('"', '\\"')
    lines.append(f'{name}="{escaped}"\n')
  return ''.join(lines)


def pack_sources(target: pathlib.Path) -> None:
  """Packs this checkout, with uncommitted changes and without ignored files.

  Raises:
    NightError: It is no git checkout.
  """
  listed = subprocess.run(
    ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    cwd=ROOT, capture_output=True, check=False,
  )  # fmt: skip
  if listed.returncode:
    raise NightError(f'{ROOT} is no git checkout, so there are no sources to copy to a VM.')
  with tarfile.open(target, 'w:gz') as archive:
    for name in sorted(set(listed.stdout.decode().split('\0')) - {''}):
      if (ROOT / name).is_file():
        archive.add(ROOT / name, name)
