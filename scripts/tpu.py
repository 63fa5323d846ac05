r"""Runs a night on Cloud TPU VMs, from a laptop with gcloud; see docs/tpu.md.

    python scripts/tpu.py night --type=v6e-8 --spot --zone=us-east5-b --bucket=gs://my-bucket \
      --config=configs/gpt_small.py --hours=12 --max_dollars=100

`night` creates the VMs, installs the run, watches and replaces what was preempted, fetches the
results and deletes the VMs. The other commands are its parts, for the night in --folder. Every
command prints what it would do with --dry-run. Arguments after `--` go to `autoresearch run`.
"""

import argparse
import os
import pathlib
import re
import shlex
import sys
import time
from collections.abc import Sequence

from cloud import machine_types
from cloud.backends import BACKENDS
from cloud.gcloud import DryRun, Gcloud, GcloudError
from cloud.night import (
  LeftoverError,
  Night,
  NightError,
  NightRecord,
  VmRecord,
  data_name,
  environment_values,
)

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130  # exit codes
JOURNAL = 'journalctl --unit=autoresearch --no-pager --lines=200'
VERBS = {
  'night': 'create, install, watch, replace, fetch and delete',
  'up': 'ask for the VMs',
  'watch': 'go on with a night that was left: as night, for VMs that were asked for',
  'ssh': 'open a shell on a VM',
  'logs': "print the end of a run's journal",
  'fetch': 'copy results to the local folder',
  'down': 'delete the VMs',
  'cost': 'print what was spent',
}
VM_NAME = re.compile(r'[a-z][a-z0-9-]{0,50}')


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Returns the options, and the arguments after `--`."""
  parser = argparse.ArgumentParser(
    prog='tpu.py', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('verb', choices=VERBS, help='; '.join(f'{v}: {t}' for v, t in VERBS.items()))
  new = parser.add_argument_group('options of night and up')
  new.add_argument('--type', help=f'kind of VM: {", ".join(machine_types.MACHINE_TYPES)}')
  new.add_argument('--zone', help='zone of Google Cloud')
  new.add_argument('--bucket', help='gs://BUCKET for mirrors of runs and prepared data')
  new.add_argument('--config', help='config of the run')
  new.add_argument('--hosts', type=int, default=1, help='VMs; each is a run with its own seed')
  new.add_argument('--spot', action='store_true', help='cheaper VMs that may be preempted')
  new.add_argument('--hours', type=float, default=12.0, help='time after which VMs are deleted')
  new.add_argument('--max_dollars', type=float, default=100.0, help='spending limit')
  new.add_argument('--dollars_per_chip_hour', type=float, help='price, if not the list price')
  new.add_argument('--backend', choices=tuple(BACKENDS), help="Google's interface")
  new.add_argument('--project', default='', help="project; default: gcloud's")
  every = parser.add_argument_group('options of all')
  every.add_argument('--name', help='name of the night and its VMs; default: that of the config')
  every.add_argument('--folder', help='local folder of the night; default: runs/NAME')
  every.add_argument('--env', action='append', default=[], help='variable to pass to the runs')
  every.add_argument('--host', type=int, default=0, help='index of the VM, for ssh and logs')
  every.add_argument('--tunnel', action='store_true', help='ssh through IAP')
  every.add_argument('--keep', action='store_true', help='leave the VMs up at the end')
  every.add_argument('--poll_seconds', type=float, default=60.0, help='between looks at the VMs')
  every.add_argument('--dry-run', action='store_true', help='print the gcloud calls, make none')
  at = arguments.index('--') if '--' in arguments else len(arguments)
  return parser.parse_args(arguments[:at]), list(arguments[at + 1 :])


def folder_of(options: argparse.Namespace) -> pathlib.Path:
  """Returns the local folder of the night. Raises NightError."""
  if options.folder:
    return pathlib.Path(options.folder)
  if not (options.name or options.config):
    raise NightError('Name the night: --name=NAME, --folder=FOLDER or --config=CONFIG.')
  return pathlib.Path('runs', name_of(options))


def name_of(options: argparse.Namespace) -> str:
  """Returns the name of the night. Raises NightError for one that Google does not accept."""
  name = options.name or data_name(options.config).replace('_', '-').lower()
  if not VM_NAME.fullmatch(name):
    raise NightError(
      f'--name={name} cannot name a VM: use lower-case letters, digits and hyphens, at most 51, '
      'with a letter first.'
    )
  return name


def new_record(options: argparse.Namespace, flags: Sequence[str]) -> NightRecord:
  """Returns the record of a new night. Raises NightError for options that do not fit."""
  for option in ('type', 'zone', 'bucket', 'config'):
    if not getattr(options, option):
      raise NightError(f'Say --{option}=...; see `tpu.py --help`.')
  try:
    machine = machine_types.machine_type(options.type)
  except ValueError as error:
    raise NightError(str(error)) from None
  backend = options.backend or machine.backends[0]
  if backend not in machine.backends:
    raise NightError(
      f'{machine.name} is not offered by {backend}, only by {", ".join(machine.backends)}.'
    )
  if not re.fullmatch(r'gs://[^/]+(/.*[^/])?', options.bucket):
    raise NightError(f'--bucket={options.bucket} must be gs://BUCKET or gs://BUCKET/FOLDER.')
  if options.hosts < 1 or options.hours <= 0 or options.max_dollars <= 0:
    raise NightError('--hosts, --hours and --max_dollars must be positive.')
  price = options.dollars_per_chip_hour
  per_hour = machine.chips * (machine.dollars_per_chip_hour if price is None else price)
  name = name_of(options)
  names = [name if options.hosts == 1 else f'{name}-{i}' for i in range(options.hosts)]
  return NightRecord(
    options.type, backend, options.zone, options.project, options.bucket, options.config,
    list(flags), options.env, options.spot, time.time() + 3600 * options.hours, per_hour,
    options.max_dollars, [VmRecord(vm) for vm in names],
  )  # fmt: skip


def make_night(options: argparse.Namespace, flags: Sequence[str]) -> Night:
  """Returns the night of a command: the one on record in its folder, or a new one.

  Raises:
    NightError: There is none, or the options do not fit.
  """
  folder = folder_of(options)
  file = folder / 'night.json'
  starts = options.verb in ('night', 'up')
  if starts and (not file.exists() or NightRecord.read(file).is_over):
    record = new_record(options, flags)
  else:
    record = NightRecord.read(file)
    if starts:
      print(f'Going on with the night in {folder}: {record.type} in {record.zone}.')
  gcloud = (DryRun if options.dry_run else Gcloud)(record.project)
  machine = machine_types.machine_type(record.type)
  backend = BACKENDS[record.backend](gcloud, machine, record.zone, options.tunnel)
  return Night(record, folder, backend, poll_seconds=options.poll_seconds)


def announce(night: Night) -> None:
  """Prints what the night may cost, and when it ends by itself."""
  record = night.record
  hours = max(0.0, record.deadline - time.time()) / 3600
  per_hour = len(record.vms) * record.dollars_per_hour
  print(
    f'{len(record.vms)} x {record.type} in {record.zone}: at most ${per_hour:.2f} an hour (list '
    f'price{"; spot costs less" if record.spot else ""}), and for {hours:.1f} h at most '
    f'${min(per_hour * hours, record.max_dollars):.2f}. VMs delete themselves then.'
  )


def whole_night(night: Night, keep: bool) -> int:
  """Runs a night to its end, from its first request or from where it was left.

  Returns:
    The exit code.

  Raises:
    LeftoverError: VMs are left that could not be deleted.
  """
  code = 0
  try:
    night.up()
    night.watch()
    night.stop()
    night.fetch()
  except (NightError, GcloudError) as error:
    print(error, file=sys.stderr)
    code = FAILED
  if not keep:
    night.down()
  return code or (FAILED if any(vm.code for vm in night.record.vms) else 0)


def cost(night: Night) -> None:
  """Prints what the night has cost."""
  record = night.record
  for vm in record.vms:
    print(f'{vm.name}: {vm.active_seconds / 3600:.2f} h active, {vm.requests} requests.')
  print(f'At most ${record.dollars:.2f} of ${record.max_dollars:g} are spent.')


def run(options: argparse.Namespace, flags: Sequence[str]) -> int:
  """Runs one command; returns its exit code. Raises NightError and GcloudError."""
  night = make_night(options, flags)
  backend, vms = night.backend, night.record.vms
  if options.verb in ('night', 'up', 'watch'):
    environment_values(night.record.variables)  # before anything costs money
  if options.verb in ('ssh', 'logs') and not 0 <= options.host < len(vms):
    raise NightError(f'--host={options.host}: the VMs are numbered from 0 to {len(vms) - 1}.')
  match options.verb:
    case 'night' | 'watch':
      announce(night)
      return whole_night(night, options.keep)
    case 'up':
      announce(night)
      night.save()
      night.up()
    case 'ssh':
      command = backend.gcloud.command(*backend.ssh_arguments(vms[options.host].name))
      if options.dry_run:
        print(shlex.join(command))
      else:
        os.execvp(command[0], command)
    case 'logs':
      print(backend.ssh(vms[options.host].name, JOURNAL))
    case 'fetch':
      night.fetch()
    case 'down':
      night.down()
    case 'cost':
      cost(night)
  return 0


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  options, flags = parse(arguments)
  try:
    return run(options, flags)
  except NightError as error:
    print(error, file=sys.stderr)
    return FAILED if isinstance(error, LeftoverError) else BAD_INPUT
  except GcloudError as error:
    print(error, file=sys.stderr)
    return FAILED
  except KeyboardInterrupt:
    print(
      'Stopped watching; the VMs go on and cost money until their runs or the time end. The same '
      'command goes on watching, `tpu.py down` with the same --name or --folder deletes them.',
      file=sys.stderr,
    )
    return INTERRUPTED


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
