"""Which files a command needs: links, interpreters and the libraries beside a program."""

import pathlib

import pytest

from autoresearch_jax.sandbox import command_files


@pytest.fixture
def home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  (tmp_path / 'home').mkdir()
  return tmp_path / 'home'


def program(path, text='#!/bin/sh\n'):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
  path.chmod(0o755)
  return path


def test_a_program_of_its_own_prefix_brings_its_libraries(home):
  path = program(home / '.tool' / 'venv' / 'bin' / 'agent')
  found = command_files.required_files((str(path), '-p'))
  for name in ('bin', 'bin/agent', 'lib', 'pyvenv.cfg'):
    assert str(home / '.tool' / 'venv' / name) in found
  assert str(home / '.tool' / 'venv') not in found
  assert '/bin/sh' in found


def test_a_link_in_a_folder_of_all_sorts_opens_only_where_it_leads(home):
  real = program(home / '.local' / 'share' / 'agent' / 'versions' / '1.0')
  link = home / '.local' / 'bin' / 'agent'
  link.parent.mkdir()
  link.symlink_to(real)
  found = command_files.required_files(('agent',), search_path=str(link.parent))
  ours = {path for path in found if path.startswith(str(home))}
  assert ours == {str(link), str(real)}


def test_an_interpreter_is_looked_up_as_env_does_and_packages_come_whole(home):
  node = program(home / 'node' / 'bin' / 'node')
  packages = home / 'project' / 'node_modules'
  script = program(packages / 'agent' / 'cli.js', '#!/usr/bin/env -S A=1 node --flag\n')
  found = command_files.required_files((str(script),), search_path=str(node.parent))
  assert {str(packages), str(node), str(home / 'node' / 'lib')} <= set(found)
  assert '/usr/bin/env' in found or not pathlib.Path('/usr/bin/env').exists()


def test_a_word_that_names_a_file_belongs_to_the_command(tmp_path, home):
  script = program(tmp_path / 'elsewhere' / 'agent.py', '')
  other = program(tmp_path / 'elsewhere' / 'secret', '')
  found = command_files.required_files(('/bin/sh', str(script), 'secret', str(tmp_path)))
  assert str(script) in found and str(other) not in found and str(tmp_path) not in found


def test_scripts_that_name_each_other_come_to_an_end(tmp_path, home):
  one, two = tmp_path / 'one', tmp_path / 'two'
  program(one, f'#!{two}\n')
  program(two, f'#!{one}\n')
  assert {str(one), str(two)} <= set(command_files.required_files((str(one),)))


def test_what_is_not_there_is_not_found(tmp_path):
  assert command_files.find_program('no-such-program') is None
  assert command_files.find_program(str(tmp_path)) is None
  assert command_files.required_files(('no-such-program',)) == ()
  assert pathlib.Path(command_files.find_program('sh') or '').is_absolute()
