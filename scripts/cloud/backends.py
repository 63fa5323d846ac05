"""Google's two interfaces for TPU VMs: queued resources, and Compute Engine instances.

The Cloud TPU API (queued resources) serves v4, v5e and v6e; a request waits in a queue until there
are chips. Compute Engine serves v5p, v6e and TPU7x; a request that finds no chips fails, and is
repeated. In both, a preempted spot VM cannot be started again: it is deleted and created anew.
"""

import dataclasses
import enum
import pathlib
from typing import Any, ClassVar

from cloud.gcloud import CAPACITY, Gcloud, GcloudError, explained
from cloud.machine_types import INSTANCES, QUEUED_RESOURCES, MachineType

IMAGE_PROJECT = 'ubuntu-os-accelerator-images'
DISK_GB = 200
DEAD_MAN = pathlib.Path(__file__).resolve().parent / 'vm' / 'dead_man.sh'


class VmState(enum.Enum):
  """What a VM is doing."""

  ABSENT = 'absent'
  WAITING = 'waiting for chips'
  ACTIVE = 'active'
  LEAVING = 'being deleted'
  PREEMPTED = 'preempted'
  FAILED = 'failed'


@dataclasses.dataclass(frozen=True)
class VmRequest:
  """A VM to be created.

  Attributes:
    name: Its name.
    seconds: Time after which it must not exist.
    deadline: That time, in seconds since the epoch.
    spot: Whether it may be preempted.
  """

  name: str
  seconds: int
  deadline: int
  spot: bool


class Backend:
  """One of the interfaces.

  Args:
    gcloud: Makes the calls.
    machine: The kind of VM.
    zone: The zone.
    tunnel: Whether ssh goes through Google's proxy, for VMs without an external address.
  """

  name: ClassVar[str]
  group: ClassVar[tuple[str, ...]]  # of describe and delete
  ssh_group: ClassVar[tuple[str, ...]]
  states: ClassVar[dict[str, VmState]]  # what describe says -> state
  delete_flags: ClassVar[tuple[str, ...]] = ()
  ssh_flags: ClassVar[tuple[str, ...]] = ()

  def __init__(self, gcloud: Gcloud, machine: MachineType, zone: str, tunnel: bool = False):
    self.gcloud, self.machine, self.zone = gcloud, machine, zone
    self._tunnel = ('--tunnel-through-iap',) if tunnel else ()

  def create(self, request: VmRequest) -> bool:
    """Asks for a VM; returns False if there are no chips now. Raises GcloudError."""
    try:
      self.gcloud.run(*self.create_arguments(request))
    except GcloudError as error:
      if CAPACITY.search(error.text):
        return False
      raise
    return True

  def create_arguments(self, request: VmRequest) -> tuple[str, ...]:
    raise NotImplementedError

  def state(self, name: str) -> tuple[VmState, str]:
    """Returns the state of a VM, and for a failed one a sentence. Raises GcloudError."""
    found = self.gcloud.describe(*self.group, 'describe', name, f'--zone={self.zone}')
    if found is None:
      return VmState.ABSENT, ''
    state, reason = self.state_of(found)
    return state, explained(reason) if reason else ''

  def state_of(self, found: dict[str, Any]) -> tuple[VmState, str]:
    """Returns the state in an answer of describe, and why it failed; '' if it did not."""
    raise NotImplementedError

  def delete(self, name: str) -> None:
    """Deletes a VM and its request. Raises GcloudError."""
    self.gcloud.run(*self.group, 'delete', name, f'--zone={self.zone}', *self.delete_flags)

  def ssh_arguments(self, name: str) -> tuple[str, ...]:
    """Returns the arguments that open a shell on a VM."""
    return (*self.ssh_group, 'ssh', name, f'--zone={self.zone}', *self.ssh_flags, *self._tunnel)

  def ssh(self, name: str, command: str, timeout: float = 1800.0) -> str:
    """Returns what a command prints on a VM. Raises GcloudError."""
    return self.gcloud.run(*self.ssh_arguments(name), f'--command={command}', timeout=timeout)

  def copy(self, source: str, target: str) -> None:
    """Copies a file; one of the two is NAME:PATH. Raises GcloudError."""
    self.gcloud.run(
      *self.ssh_group, 'scp', source, target, f'--zone={self.zone}', *self.ssh_flags, *self._tunnel
    )

  def metadata_flags(self, request: VmRequest) -> tuple[str, ...]:
    """Returns the flags that install the dead man's switch when the VM starts."""
    values = {
      'autoresearch-backend': self.name,
      'autoresearch-deadline': request.deadline,
      'autoresearch-name': request.name,
      'autoresearch-zone': self.zone,
    }
    listed = ','.join(f'{key}={value}' for key, value in values.items())
    return f'--metadata={listed}', f'--metadata-from-file=startup-script={DEAD_MAN}'


class QueuedResources(Backend):
  """The Cloud TPU API."""

  name = QUEUED_RESOURCES
  group = ('compute', 'tpus', 'queued-resources')
  ssh_group = ('compute', 'tpus', 'tpu-vm')
  delete_flags = ('--force',)  # deletes the VM too
  ssh_flags = ('--worker=0',)
  states: ClassVar = {
    'CREATING': VmState.WAITING,
    'ACCEPTED': VmState.WAITING,
    'WAITING_FOR_RESOURCES': VmState.WAITING,
    'PROVISIONING': VmState.WAITING,
    'ACTIVE': VmState.ACTIVE,
    'DELETING': VmState.LEAVING,
    'SUSPENDING': VmState.LEAVING,
    'SUSPENDED': VmState.PREEMPTED,
    'FAILED': VmState.FAILED,
  }

  def create_arguments(self, request: VmRequest) -> tuple[str, ...]:
    return (
      *self.group, 'create', request.name,
      f'--node-id={request.name}',
      f'--zone={self.zone}',
      f'--accelerator-type={self.machine.accelerator_type}',
      f'--runtime-version={self.machine.runtime_version}',
      *(['--spot'] if request.spot else []),
      f'--valid-until-duration={request.seconds}s',
      '--scopes=https://www.googleapis.com/auth/cloud-platform',
      '--labels=autoresearch=night',
      *self.metadata_flags(request),
    )  # fmt: skip

  def state_of(self, found: dict[str, Any]) -> tuple[VmState, str]:
    state = found.get('state', {})
    name = state.get('state', '')
    reason = ''
    if name == 'FAILED':
      reason = state.get('failedData', {}).get('error', {}).get('message', 'no reason was given')
    return self.states.get(name, VmState.WAITING), reason


class Instances(Backend):
  """Compute Engine."""

  name = INSTANCES
  group = ('compute', 'instances')
  ssh_group = ('compute',)
  states: ClassVar = {
    'PROVISIONING': VmState.WAITING,
    'STAGING': VmState.WAITING,
    'RUNNING': VmState.ACTIVE,
    'REPAIRING': VmState.ACTIVE,
    'PENDING_STOP': VmState.LEAVING,
    'STOPPING': VmState.LEAVING,
    'SUSPENDING': VmState.LEAVING,
    'SUSPENDED': VmState.PREEMPTED,
    'TERMINATED': VmState.PREEMPTED,
  }

  def create_arguments(self, request: VmRequest) -> tuple[str, ...]:
    disk = self.machine.disk_type
    return (
      *self.group, 'create', request.name,
      f'--zone={self.zone}',
      f'--machine-type={self.machine.machine_type}',
      f'--image-family={self.machine.image_family}',
      f'--image-project={IMAGE_PROJECT}',
      f'--boot-disk-size={DISK_GB}GB',
      *([f'--boot-disk-type={disk}'] if disk else []),
      '--maintenance-policy=TERMINATE',
      f'--provisioning-model={"SPOT" if request.spot else "STANDARD"}',
      '--instance-termination-action=DELETE',
      f'--max-run-duration={request.seconds}s',
      '--scopes=cloud-platform',
      '--labels=autoresearch=night',
      *self.metadata_flags(request),
    )  # fmt: skip

  def state_of(self, found: dict[str, Any]) -> tuple[VmState, str]:
    return self.states.get(found.get('status', ''), VmState.WAITING), ''


BACKENDS = {backend.name: backend for backend in (QueuedResources, Instances)}
