"""Writing where others read: packages, caches, the run's folder, its git repository and hooks."""

import pathlib
import sysconfig

import autoresearch_jax


def test_nothing_can_be_written_changed_or_removed(arena):
  house, scratch = str(arena.house), str(arena.executor.scratch)
  packages = sysconfig.get_path('purelib')
  package = str(pathlib.Path(autoresearch_jax.__file__).parent)
  made = [
    f'{packages}/attack.pth',
    f'{packages}/sitecustomize.py',
    f'{package}/attack.py',
    f'{package}/runner/__pycache__/server.cpython-311.pyc',
    f'{house}/repo/.git/hooks/pre-commit',
    f'{arena.executor.cache}/xla/attack',
    f'{scratch}/artifacts/attack.artifact',
    '/tmp/attack',
    '/etc/ld.so.preload',
  ]
  changed = [
    f'{house}/ledger.db',
    f'{house}/results.tsv',
    f'{house}/config.py',
    f'{house}/repo/.git/config',
    f'{house}/repo/.git/hooks/post-commit',
    f'{package}/runner/evaluate.py',
    arena.validation,
  ]
  attempts = {f'make {path}': f'open({path!r}, "xb")' for path in made}
  attempts |= {f'open {path}': f'open({path!r}, "r+b")' for path in changed}
  attempts |= {f'empty {path}': f'import os; os.truncate({path!r}, 9)' for path in changed}
  attempts |= {f'remove {path}': f'import os; os.rename({path!r}, "x")' for path in changed}
  attempts |= {f'mode {path}': f'import os; os.chmod({path!r}, 0o777)' for path in changed}
  attempts |= {f'times {path}': f'import os; os.utime({path!r})' for path in changed}
  attempts |= {f'owner {path}': f'import os; os.chown({path!r}, 0, 0)' for path in changed}
  attempts |= {f'tag {p}': f'import os; os.setxattr({p!r}, "user.x", b"")' for p in changed}
  came = {}
  for kind in dict.fromkeys(name.partition(' ')[0] for name in attempts):
    some = {name: code for name, code in attempts.items() if name.startswith(f'{kind} ')}
    came |= arena.done(some)
  came.pop(f'make {package}/runner/__pycache__/server.cpython-311.pyc')  # is there, or is not
  assert {n: how for n, how in came.items() if how not in ('EACCES', 'EPERM', 'EXDEV')} == {}
  assert not any(pathlib.Path(path).exists() for path in made if '__pycache__' not in path)


def test_its_own_folder_can_not_be_written_either(arena):
  came = arena.done(
    {
      'itself': 'open(__file__, "a")',
      'a module': 'open("layers.py", "w")',
      'a folder': 'import os; os.mkdir("x")',
      'a pipe': 'import os; os.mkfifo("x")',
      'removed': 'import os; os.remove(__file__)',
    }
  )
  assert set(came.values()) <= {'EACCES', 'EPERM'}, came
