"""A stand-in for gcloud: refuses flags that gcloud does not document, and plays a cloud.

Its folder, $FAKE_GCLOUD, has `cloud.json`, which a test writes; lists are consumed from the front,
and a last entry stays:

    states: what `describe` says of a VM, in order: WAITING_FOR_RESOURCES, ACTIVE, ...
    reason: why a request FAILED
    create_errors, describe_errors, ssh_errors: stderr of failing calls; '' for one that works
    runs: what `systemctl show` says of the run: active, inactive, failed
    code: exit code of the run

and `calls.jsonl`, the command lines that it got. Standard library only: it starts often.
"""

import io
import json
import os
import pathlib
import re
import sys
import tarfile

FLAGS = json.loads(pathlib.Path(os.environ['FAKE_GCLOUD_FLAGS']).read_text())
FOLDER = pathlib.Path(os.environ['FAKE_GCLOUD'])
FILE = FOLDER / 'cloud.json'


def fail(text, code=1):
  print(text, file=sys.stderr)
  sys.exit(code)


def take(cloud, name, default):
  """The next entry of a list; the last one stays, unless it is one of errors."""
  entries = cloud.get(name) or [default]
  if len(entries) > 1 or name.endswith('_errors'):
    cloud[name] = entries[1:]
  return entries[0]


def main(arguments):
  with (FOLDER / 'calls.jsonl').open('a') as calls:
    calls.write(json.dumps(arguments) + '\n')
  commands = [c for c in FLAGS if arguments[: len(c.split())] == c.split()]
  if not commands:
    fail(f'ERROR: (gcloud) Invalid choice: {arguments[:3]}', 2)
  known = {*FLAGS[commands[0]], *FLAGS['wide']}
  for argument in arguments:
    if argument.startswith('--') and argument.partition('=')[0] not in known:
      fail(f'ERROR: (gcloud) unrecognized arguments: {argument}', 2)
  cloud = json.loads(FILE.read_text())
  try:
    answer(commands[0], arguments[len(commands[0].split()) :], cloud)
  finally:
    FILE.write_text(json.dumps(cloud))


def answer(command, rest, cloud):
  verb = command.split()[-1]
  vms = cloud.setdefault('vms', [])
  name = rest[0]
  kind = 'ssh' if verb == 'scp' else verb
  if error := take(cloud, f'{kind}_errors', ''):
    fail(error)
  if verb == 'create':
    if name in vms:
      fail(f'ERROR: (gcloud) ALREADY_EXISTS: {name}')
    vms.append(name)
  elif verb in ('describe', 'delete') and name not in vms:
    fail(f"ERROR: (gcloud.{command.replace(' ', '.')}) NOT_FOUND: Resource '{name}' was not found")
  elif verb == 'describe':
    describe(command, name, cloud)
  elif verb == 'delete':
    vms.remove(name)
  elif kind == 'ssh':
    remote(rest, cloud)


def describe(command, name, cloud):
  state = take(cloud, 'states', 'ACTIVE')
  if 'instances' in command:
    if state == 'GONE':  # a preempted instance that is deleted by itself
      cloud['vms'].remove(name)
      fail(f"ERROR: (gcloud) The resource '{name}' was not found")
    print(json.dumps({'name': name, 'status': state}))
  else:
    failed = {'failedData': {'error': {'message': cloud.get('reason', '')}}}
    print(json.dumps({'state': {'state': state, **(failed if state == 'FAILED' else {})}}))


def remote(rest, cloud):
  command = next((a.partition('=')[2] for a in rest if a.startswith('--command=')), '')
  if 'systemctl show' in command:
    state = take(cloud, 'runs', 'inactive')
    code = cloud.get('code', 0) if state != 'active' else 0
    print(f'ActiveState={state}\nResult=x\nExecMainStatus={code}')
  elif 'journalctl' in command:
    print('trial 7: keep')
  elif not command:
    source, target = rest[:2]
    if re.match(r'[a-z0-9-]+:', source):
      with tarfile.open(target, 'w:gz') as archive:
        entry = tarfile.TarInfo('results.tsv')
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b'ok'))
    else:
      copies = FOLDER / 'copied'
      copies.mkdir(exist_ok=True)
      (copies / target.rpartition(':')[2]).write_bytes(pathlib.Path(source).read_bytes())


main(sys.argv[1:])
