"""Hostile strategies: what each appends to the packaged greedy one, and how it is to end.

An ending is a word of the refusal, or PLAYS: then what it did had no effect, and it scores exactly
what greedy does.
"""

PLAYS = ''
# Word of the refusal -> code that runs at each call of `ask`.
BEFORE_ASK = {
  'read a file': ('refused access', "open('/etc/passwd').read()"),
  'list a folder': ('refused access', "__import__('os').listdir('/')"),
  'list the home': ('refused access', "__import__('os').listdir('/root')"),
  'write beside the program': ('refused access', "open('note.txt', 'w').write('x')"),
  'import the instances': ('refused access', 'import autoresearch_jax.benchmark.simulations'),
  'read the code of an instance': (
    'refused access',
    "import autoresearch_jax as a; open(a.__path__[0] + '/benchmark/simulations/nk.py').read()",
  ),
  "read the parent's memory": (
    'refused access',
    "import os; open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
  ),
  "read the parent's environment": (
    'refused access',
    "import os; open(f'/proc/{os.getppid()}/environ', 'rb').read()",
  ),
  "copy the parent's memory": (
    PLAYS,
    'import ctypes, os; c = ctypes.CDLL(None); '
    'assert c.process_vm_readv(os.getppid(), None, 0, None, 0, 0) == -1',
  ),
  'trace the parent': (
    PLAYS,
    'import ctypes, os; assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == -1',
  ),
  'look for instances in memory': (
    PLAYS,
    'import gc; assert not [o for o in gc.get_objects() if type(o).__name__.endswith("Instance")]',
  ),
  'look for frames of the player': (
    PLAYS,
    'import sys; f = sys._getframe()\n'
    '  while f: assert "meta/play" not in f.f_code.co_filename; f = f.f_back',
  ),
  'connect': ('refused a network socket', "__import__('socket').socket()"),
  'fork': ('refused', "__import__('os').fork()"),
  'fork bomb': ('refused', 'import os\n  while True: os.fork()'),
  'start a program': ('refused', "__import__('subprocess').run(['/bin/true'])"),
  'kill the parent': ('refused', 'import os; os.kill(os.getppid(), 9)'),
  'use much memory': ('GiB of memory', 'x = bytearray(2**34)'),
  'keep much': ('KiB', "state['kept'] = 'x' * 2**21"),
  'print much': (PLAYS, "print('x' * 10**7)"),
  'exit': ('exit', "__import__('sys').exit(0)"),
  'exit at once': ('ended its process', "__import__('os')._exit(0)"),
  'crash': ('SIGSEGV', 'import ctypes; ctypes.string_at(0)'),
  'return a clock': ('not pure', "import time; state['seen'] = time.perf_counter_ns()"),
  'return entropy': ('not pure', "import os; state['seen'] = list(os.urandom(4))"),
  'count its calls': ('not pure', "global N; N = globals().get('N', 0) + 1; state['n'] = N"),
  'use a global generator': (
    'not pure',
    "import numpy; state['seen'] = float(numpy.random.random())",
  ),
  'use the order of sets': ('not pure', "state['seen'] = list({'ab', 'cd', 'ef', 'gh', 'ij'})"),
  'use an address': ('not pure', "state['seen'] = id(object())"),
  'use its process id': ('not pure', "import os; state['seen'] = os.getpid()"),
  'be pure in the check only': (
    'not pure',
    "import time\n  if state['metric'] != 'val_loss': state['seen'] = time.perf_counter_ns()",
  ),
  'replace the generator': (
    PLAYS,
    'import numpy; numpy.random.default_rng = lambda seed: None',
  ),
  'replace the reply': (
    'no proposal or state',
    "import sys; m = sys.modules['__main__']; m._write = lambda fd, message: m.os.write(fd, "
    'b\'{"regret": 0.0}\\n\')',
  ),
  'reply with broken text': (
    'no',
    "import sys; m = sys.modules['__main__']; m._write = lambda fd, message: m.os.write(fd, "
    'b\'{"state": "\\xff"}\\n\')',
  ),
  'write between the calls': (
    'the strategy',
    'import os, threading\n'
    '  def write():\n    while True:\n      for fd in range(3, 64):\n'
    '        try: os.write(fd, b" ")\n        except OSError: pass\n'
    '  threading.Thread(target=write, daemon=True).start()',
  ),
  'reply twice': (
    'more than one reply',
    "import os\n  for fd in range(3, 64):\n    try: os.write(fd, b'{}\\n{}\\n')\n"
    '    except OSError: pass',
  ),
}
# Word of the refusal -> code that changes the pair that `ask` returns.
AFTER_ASK = {
  'a parent of the future': ('not finished', '{**p, "parents": (99,)}'),
  'a context that does not exist': ('not finished', '{**p, "context": (-1,)}'),
  'a tiny budget': ('fidelity', '{**p, "fidelity": 1e-6}'),
  'a huge budget': ('fidelity', '{**p, "fidelity": 1e6}'),
  'no number as a budget': ('no proposal or state', '{**p, "fidelity": float("nan")}'),
  'many seeds': ('seeds', '{**p, "seeds": tuple(range(1000))}'),
  'a negative seed': ('seed', '{**p, "seeds": (-1,)}'),
  'an unknown operation': ('no proposal or state', '{**p, "operation": "win"}'),
  'an unknown guidance': ('guidance', '{**p, "guidance": "the optimum"}'),
  'nothing': ('no Proposal', 'None'),
  'an edit of its own': (
    'edit of its own',
    '{**p, "edit": {"program": {"files": [["model.py", "B0 = 1"]], "entry": "model.py"}, '
    '"description": "x", "hypothesis": {"claim": "x"}}}',
  ),
}
# Word of the refusal -> code that runs at each call of `tell`.
BEFORE_TELL = {
  'forge what it is told': (
    PLAYS,
    'object.__setattr__(trial.result, "status", trial.result.status); trial.__dict__.get("regret")',
  ),
  'fail late': ('too late', 'assert trial.id < 14, "too late"'),
  'forget the state': ('KeyError', 'state.clear()'),
}
# Those that only a limit on time ends.
SLOW = {
  'sleep': "__import__('time').sleep(1000)",
  'compute for ever': 'while True: pass',
  'compute in threads': (
    'import threading\n  def spin():\n    while True: pass\n'
    '  for _ in range(4): threading.Thread(target=spin, daemon=True).start()'
  ),
}


def before_ask(greedy: str, code: str) -> str:
  """Returns the strategy with code at the beginning of each call of `ask`."""
  return f'{greedy}\n\n_ask = ask\n\n\ndef ask(state, rng):\n  {code}\n  return _ask(state, rng)\n'


def after_ask(greedy: str, code: str) -> str:
  """Returns the strategy with another proposal `code`, in which `p` has its fields."""
  return (
    f'{greedy}\n\n_ask = ask\n\n\ndef ask(state, rng):\n  proposal, new = _ask(state, rng)\n'
    f'  p = dict(vars(proposal))\n  return {code}, new\n'
  )


def before_tell(greedy: str, code: str) -> str:
  """Returns the strategy with code at the beginning of each call of `tell`."""
  return (
    f'{greedy}\n\n_tell = tell\n\n\ndef tell(state, trial):\n  {code}\n'
    '  return _tell(state, trial)\n'
  )
