"""`autoresearch doctor`: each problem of a machine is found, and its line says what to do."""

import ast
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest

from autoresearch_jax.cli import doctor, machine_checks
from autoresearch_jax.cli.machine_checks import FIX, NOTE, OK, Machine

FILE = pathlib.Path(machine_checks.__file__)


@pytest.fixture
def root(tmp_path):
  """The root of a file system in which a test places files."""

  def write(name, text=''):
    path = tmp_path / name.lstrip('/')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

  write('/proc/self/status', 'Seccomp:\t2\n')
  write.root = str(tmp_path)
  return write


@pytest.fixture
def google():
  """A server of metadata and of storage: path -> text, or a status."""
  pages = {}

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      page = pages.get(self.path.partition('?')[0], 404)
      self.send_response(page if isinstance(page, int) else 200)
      self.end_headers()
      if not isinstance(page, int):
        self.wfile.write(page.encode())

    def log_message(self, *_):
      pass

  with http.server.HTTPServer(('127.0.0.1', 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pages['url'] = f'http://127.0.0.1:{server.server_port}'
    yield pages
    server.shutdown()


def machine(root, google=None):
  url = google['url'] if google else ''
  return Machine(root.root, url, url) if url else Machine(root.root)


def hold(root, pid, file):
  folder = pathlib.Path(root.root, f'proc/{pid}/fd')
  folder.mkdir(parents=True)
  (folder / '9').symlink_to(file)


def test_the_command_prints_a_line_for_each_check(capsys):
  code = doctor.main(['--bucket=file:///tmp'])
  lines = capsys.readouterr().out.splitlines()
  names = 'python packages kernel landlock sandbox seccomp user chips hugepages libtpu hosts disk'
  assert [line.split()[1] for line in lines[:-1]] == [*names.split(), 'bucket', 'network', 'clock']
  assert all(line.split()[0] in (OK, NOTE, FIX) for line in lines[:-1])
  assert code == int(any(line.startswith(FIX) for line in lines))


def test_the_checks_need_the_standard_library_alone_and_an_old_python():
  tree = ast.parse(FILE.read_text(), feature_version=(3, 8))
  imported = {
    name.split('.')[0]
    for node in ast.walk(tree)
    for name in (
      [alias.name for alias in node.names]
      if isinstance(node, ast.Import)
      else [node.module]
      if isinstance(node, ast.ImportFrom)
      else []
    )
  }
  assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize('version', ['3.8', '3.10'])
def test_an_old_python_runs_the_file_and_is_told_to_get_a_new_one(version, tmp_path):
  pyenv = sorted(pathlib.Path.home().glob(f'.pyenv/versions/{version}.*/bin/python'))
  python = pyenv[0] if pyenv else shutil.which(f'python{version}')
  if not python:
    pytest.skip(f'Python {version} is not installed')
  copy = shutil.copy(FILE, tmp_path)
  done = subprocess.run([python, copy], capture_output=True, text=True, check=False)
  assert done.returncode == 1 and not done.stderr
  assert done.stdout.startswith(FIX) and 'uv venv --python 3.12' in done.stdout


@pytest.mark.parametrize('files', [['/dev/accel0', '/dev/accel1'], ['/dev/vfio/0', '/dev/vfio/1']])
def test_chips_of_all_generations_are_counted(root, files):
  root('/dev/vfio/vfio')
  for file in files:
    root(file)
  found = machine_checks.chips_check(machine(root))
  assert found.state == OK and '2 TPU chips' in found.text


def test_chips_in_use_name_the_process(root):
  root('/dev/accel0')
  hold(root, 4242, '/dev/accel0')
  found = machine_checks.chips_check(machine(root))
  assert found.state == FIX and '4242' in found.text


def test_chips_without_a_driver_are_a_wrong_image(root):
  root('/sys/bus/pci/devices/0000:00:05.0/vendor', '0x1ae0\n')
  found = machine_checks.chips_check(machine(root))
  assert found.state == FIX and 'runtime version' in found.text


def test_huge_pages_matter_on_tpus_only(root):
  root('/sys/kernel/mm/transparent_hugepage/enabled', 'always [madvise] never')
  assert machine_checks.hugepages_check(machine(root)).state == OK
  root('/dev/vfio/0')
  found = machine_checks.hugepages_check(machine(root))
  assert found.state == FIX and 'echo always' in found.text


def test_a_lock_is_free_left_over_or_held(root):
  assert machine_checks.lock_check(machine(root)).state == OK
  root('/tmp/libtpu_lockfile')
  assert machine_checks.lock_check(machine(root)).state == OK
  hold(root, 77, '/tmp/libtpu_lockfile')
  found = machine_checks.lock_check(machine(root))
  assert found.state == FIX and 'kill 77' in found.text


def test_a_slice_of_hosts_is_counted(root, google, monkeypatch):
  monkeypatch.delenv('TPU_WORKER_HOSTNAMES', raising=False)
  assert 'one machine' in machine_checks.hosts_check(machine(root)).text
  google['/instance/attributes/worker-network-endpoints'] = 'a:b:10.0.0.1,a:b:10.0.0.2'
  google['/instance/attributes/agent-worker-number'] = '1'
  found = machine_checks.hosts_check(machine(root, google))
  assert found.state == NOTE and 'worker 1 of 2 hosts' in found.text
  monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'localhost')
  assert machine_checks.hosts_check(machine(root)).state == OK


def test_a_bucket_is_ok_closed_missing_or_out_of_reach(root, google):
  def check():
    return machine_checks.bucket_check(machine(root, google), 'gs://b/night')

  assert 'not checked' in check().text
  google['/instance/service-accounts/default/token'] = json.dumps({'access_token': 'x'})
  found = check()
  assert found.state == FIX and 'does not exist' in found.text
  page = '/b/b/iam/testPermissions'
  google[page] = json.dumps({'permissions': ['storage.objects.get', 'storage.objects.list']})
  found = check()
  assert found.state == FIX and 'storage.objects.create' in found.text
  google[page] = json.dumps({'permissions': list(machine_checks.BUCKET_PERMISSIONS)})
  assert check().state == OK
  google['url'] = 'http://127.0.0.1:9'  # nothing listens
  assert check().state == NOTE


def test_a_network_that_cannot_be_reached_is_named(root, monkeypatch):
  monkeypatch.setenv('HTTPS_PROXY', 'http://127.0.0.1:9')
  found = machine_checks.network_check(machine(root))
  assert found.state == NOTE and '127.0.0.1' in found.text and 'Cloud NAT' in found.text


def test_a_full_disk_names_the_variable(root, monkeypatch, tmp_path):
  monkeypatch.setattr(machine_checks, 'MIN_DISK_GB', 10**9)
  found = machine_checks.disk_check(machine(root), str(tmp_path / 'not' / 'yet'))
  assert found.state == FIX and 'AUTORESEARCH_JAX_CACHE' in found.text


@pytest.mark.parametrize(
  ('setting', 'value'),
  [
    ('user/max_user_namespaces', '0'),
    ('kernel/unprivileged_userns_clone', '0'),
    ('kernel/apparmor_restrict_unprivileged_userns', '1'),
  ],
)
def test_a_machine_without_any_sandbox_is_told_what_it_would_accept(
  root, monkeypatch, setting, value
):
  monkeypatch.setattr(machine_checks, 'landlock_version', lambda: 0)
  monkeypatch.setattr(os, 'geteuid', lambda: 1000)
  root('/proc/sys/user/max_user_namespaces', '1000')
  found = machine_checks.fallback_check(machine(root))
  assert found.state == NOTE and 'namespaces instead of Landlock' in found.text
  root(f'/proc/sys/{setting}', value)
  found = machine_checks.fallback_check(machine(root))
  assert found.state == FIX and "isolation='limits'" in found.text
  assert setting.rpartition('/')[2] in found.text
