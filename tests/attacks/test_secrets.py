"""Keys in the environment of the run: by the environment, by /proc, by what lies in memory."""


def test_the_environment_has_no_key(arena):
  assert arena.told('[n for n in os.environ if "KEY" in n]', 'import os') == '[]'
  code = f"""
import os
secret = {arena.secret[:9]!r} + {arena.secret[9:]!r}
found = [name for name, value in os.environ.items() if secret in value]
"""
  assert arena.told('found', code) == '[]'


def test_proc_gives_no_environment(arena):
  runner = arena.executor.pids()['runner']
  came = arena.done(
    {
      'own': 'open("/proc/self/environ", "rb")',
      'parent': 'import os; open(f"/proc/{os.getppid()}/environ", "rb")',
      'runner': f'open("/proc/{runner}/environ", "rb")',
      'command': f'open("/proc/{runner}/cmdline", "rb")',
      'home': 'import os; os.listdir("/root")',
      'passwords': 'open("/etc/shadow")',
    }
  )
  assert set(came.values()) <= {'EACCES', 'EPERM'}, came


def test_its_memory_has_no_key(arena):
  """Heap and stack, where the environment is. The key comes in halves, so that no text has it."""
  code = f"""
import ctypes
first, second = {arena.secret[:9]!r}.encode(), {arena.secret[9:]!r}.encode()
found, seen = 0, 0
for line in open('/proc/self/maps'):
  place, mode, *_ = line.split()
  if not mode.startswith('rw') or not line.rstrip().endswith(('[heap]', '[stack]')): continue
  start, end = (int(x, 16) for x in place.split('-'))
  text = ctypes.string_at(start, min(end - start, 2**28))
  seen += b'JAX_PLATFORMS=cpu' in text
  at = text.find(first)
  while at >= 0:
    found += text[at + len(first):].startswith(second)
    at = text.find(first, at + 1)
"""
  found, seen = arena.told('f"{found} {seen}"', code).split()
  assert found == '0' and int(seen) > 0, 'the scan must see an environment'
