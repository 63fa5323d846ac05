"""Names of files and modules, and text that wants to be more than text."""

import pytest
from helpers.tiny_language import program

from autoresearch_jax.types import Program, Status


@pytest.mark.parametrize(
  'name', ['../model.py', '/tmp/attack.py', 'a/../../x.py', './x.py', 'a//x.py', 'x/', '..']
)
def test_files_outside_of_the_program(name):
  with pytest.raises(ValueError, match='not a plain relative path inside the program'):
    Program((('model.py', ''), (name, 'text')), 'model.py')


def test_modules_with_the_names_of_libraries(arena):
  """They stand in for libraries in the trace that brought them, and nowhere else."""
  evil = 'raise ImportError("not the library")'
  names = ('jax', 'numpy', 'json', 'os', 'msgspec', 'sitecustomize', 'usercustomize', 'encodings')
  result = arena.attack(program(), **dict.fromkeys(names, evil))
  assert result.status in (Status.OK, Status.INVALID)


def test_control_characters_and_lines_do_not_reach_the_log(arena):
  reason = arena.at_import('raise ValueError("a\\x1b[2J\\x07\\r\\nkeep\\t1.0\\u202e\\u2028b")')
  assert reason.isprintable(), repr(reason)


def test_a_long_message_is_cut(arena):
  assert len(arena.at_import('raise ValueError("x" * 10**7)')) < 2000


def test_an_exception_that_raises(arena):
  code = """
class Odd(Exception):
  def __str__(self): raise self
raise Odd
"""
  arena.at_import(code, 'model.py')


@pytest.mark.parametrize('said', ['{"ok":true}', '{"ok":true}{"ok":true}', '[]', 'x' * 999])
def test_answers_in_place_of_the_tracers(arena, said):
  code = f"""
import os, stat
for number in range(3, 99):
  try:
    if stat.S_ISFIFO(os.fstat(number).st_mode): os.write(number, {said.encode()!r})
  except OSError: pass
os._exit(0)
"""
  reason = arena.at_import(code)
  assert 'artifact is rejected' in reason or "wrote to the tracer's pipe" in reason, reason
