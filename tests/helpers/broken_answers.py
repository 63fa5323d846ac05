"""Answers as models give them to 'improve programs/gpt/model.py', most of them broken somehow.

`ANSWERS` has (name, text, outcome): 'applied', or a regular expression that the sentence which
goes back to the model must match. Other tests may send them through a proposer.
"""

import json

from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.types import Program

FILE = 'model.py'
PROGRAM = Program.read(PROGRAMS / 'gpt', (FILE,), FILE)
TEXT = PROGRAM.text()
DEPTH = ('DEPTH = 8  # transformer blocks', 'DEPTH = 10  # transformer blocks')
APPLIED = 'applied'

NORM = '''def norm(x: jax.Array) -> jax.Array:
  """RMS norm over the last axis, no weights; computed in float32."""
  wide = x.astype(jnp.float32)
  square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
  return (wide * jax.lax.rsqrt(square + jnp.finfo(jnp.float32).eps)).astype(x.dtype)
'''
ACTIVATION = '''def activation(x: jax.Array) -> jax.Array:
  """Squared ReLU (Primer, arXiv 2109.08668)."""
  return jnp.square(jax.nn.relu(x))
'''
GELU = '''def activation(x: jax.Array) -> jax.Array:
  """GELU (arXiv 1606.08415)."""
  return jax.nn.gelu(x)
'''
SCHEDULE = TEXT[TEXT.index('def schedule') : TEXT.index('def weight_decay')].rstrip() + '\n'
STEP = TEXT[TEXT.index('def train_step') : TEXT.index('def predict')].rstrip() + '\n'


def line(part):
  """Number of the line where `part` first is."""
  return TEXT.count('\n', 0, TEXT.index(part)) + 1


def fields(*blocks, files=(), **changed):
  """An answer as the schema asks; `changed` replaces fields, or those of the hypothesis."""
  hypothesis = {
    'claim': 'A deeper model makes better use of the same number of tokens.',
    'mechanisms': ['depth', 'architecture'],
    'predicted_change': -0.012,
    'uncertainty': 0.008,
  }
  hypothesis |= {name: changed.pop(name) for name in list(changed) if name in hypothesis}
  return {
    'description': 'raise DEPTH from 8 to 10',
    'hypothesis': hypothesis,
    'edits': [{'file': FILE, 'search': old, 'replace': new} for old, new in blocks],
    'files': [{'file': FILE, 'text': text} for text in files],
    **changed,
  }


def answer(*blocks, **changed):
  return json.dumps(fields(*blocks, **changed), indent=2, ensure_ascii=False)


def without(name, inside=None):
  found = fields(DEPTH)
  del (found[inside] if inside else found)[name]
  return json.dumps(found)


def of_file(name, search=DEPTH[0], replace=DEPTH[1]):
  return answer(edits=[{'file': name, 'search': search, 'replace': replace}])


GOOD = answer(DEPTH)
WHOLE = answer(files=[TEXT.replace(*DEPTH)])
GOOD_LINE = json.dumps(fields(DEPTH))

WRAPPED = [
  ('as asked', GOOD, APPLIED),
  ('prose before', f'I would try a deeper model first.\n\n{GOOD}', APPLIED),
  ('prose after', f'{GOOD}\n\nLet me know how it goes!', APPLIED),
  ('prose with braces before', f'train_step returns {{"loss": loss}} now.\n{GOOD}', APPLIED),
  ('fenced', f'```json\n{GOOD}\n```', APPLIED),
  ('fenced without a language', f'Here it is:\n```\n{GOOD}\n```\nDone.', APPLIED),
  ('inside a list', f'[{GOOD}]', APPLIED),
  ('inside another object', f'{{"answer": {GOOD}}}', APPLIED),
  ('byte order mark', f'\ufeff{GOOD}', APPLIED),
  ('windows line ends', GOOD.replace('\n', '\r\n'), APPLIED),
  ('the schema, then the answer', f'{{"type": "object", "properties": {{}}}}\n{GOOD}', APPLIED),
  ('an unusable draft, then the answer', without('hypothesis') + '\n' + GOOD, APPLIED),
  ('trailing commas', GOOD_LINE.replace('}]', '},]').replace('[]}', '[],}'), APPLIED),
  ('line breaks in strings', answer((NORM, NORM + '\n')).replace('\\n', '\n'), APPLIED),
  ('an unknown field', answer(DEPTH, confidence='high', reasoning='Scaling laws.'), APPLIED),
  ('single block instead of a list', answer(edits=fields(DEPTH)['edits'][0]), APPLIED),
  ('no files field', without('files'), APPLIED),
]

NOT_READ = [
  ('empty', '', r'The answer is empty'),
  ('white space', ' \n\t\n', r'The answer is empty'),
  ('refusal', "I'm sorry, but I can't help with that.", r'no JSON object.*can\'t help with that'),
  ('code only', f'```python\n{ACTIVATION}```', r'no JSON object'),
  ('a diff', '--- a/model.py\n+++ b/model.py\n@@\n-DEPTH = 8\n+DEPTH = 10', r'no JSON object'),
  ('another object', '{"name": "model", "parameters": {"depth": 10}}', r'no JSON object'),
  ('python quotes', str(fields(DEPTH)), r'no JSON object.*double quotes'),
  ('null', 'null', r'no JSON object'),
  ('cut in a string', GOOD[: GOOD.index('blocks')], r'ends in the middle.*answer shorter'),
  ('cut between fields', GOOD[: GOOD.index('"edits"')], r'ends in the middle.*answer shorter'),
  ('cut in a whole file', WHOLE[: len(WHOLE) // 2], r'ends in the middle.*edits instead of whole'),
  ('cut, then fenced', f'```json\n{GOOD[:300]}\n```', r'ends in the middle'),
  ('last bracket missing', GOOD_LINE[:-1], r'ends in the middle'),
  (
    'quotes not escaped',
    GOOD.replace('deeper', '"deeper"'),
    r'broken at line 4, near .*"deeper".*write \\" for a quote',
  ),
  ('comma missing', GOOD.replace('10",', '10"'), r'broken at line 3.*Expecting \',\''),
  ('comment in the JSON', GOOD.replace('"edits"', '// the edit\n"edits"'), r'broken at line 12'),
  ('backslash not escaped', GOOD.replace('deeper', r'\deeper'), r'broken at line 4.*backslash'),
  (
    'field given twice',
    GOOD.replace('"files"', '"edits": [],\n"files"'),
    r'"edits" occurs twice',
  ),
  ('nested without end', '{"description":' * 50_000, r'nested too deep'),
  ('too long', answer(DEPTH, claim='very ' * 300_000), r'characters, more than 1,000,000'),
]

FIELDS = [
  ('no description', without('description'), r'field description is missing'),
  ('blank description', answer(DEPTH, description=' \n\x00'), r'field description is empty'),
  ('description is a list', answer(DEPTH, description=['raise']), r'description is a list; give a'),
  ('no hypothesis', without('hypothesis'), r'field hypothesis is missing'),
  ('hypothesis is text', answer(DEPTH, hypothesis='deeper is better'), r'hypothesis is a string'),
  ('no claim', without('claim', 'hypothesis'), r'field hypothesis\.claim is missing'),
  ('control characters', answer(DEPTH, description='raise\tDEPTH\x1b[2J\n'), APPLIED),
  ('half a character in the claim', answer(DEPTH, claim='deeper \ud83d'), APPLIED),
  ('no prediction', without('predicted_change', 'hypothesis'), APPLIED),
  ('prediction null', answer(DEPTH, predicted_change=None, uncertainty=None), APPLIED),
  ('prediction as text', answer(DEPTH, predicted_change='-0.01', uncertainty='0.01'), APPLIED),
  ('prediction whole', answer(DEPTH, predicted_change=-1), APPLIED),
  ('negative uncertainty', answer(DEPTH, uncertainty=-0.01), APPLIED),
  ('mechanisms as text', answer(DEPTH, mechanisms='depth, width'), APPLIED),
  (
    'prediction in words',
    answer(DEPTH, predicted_change='about 1 %'),
    r'"about 1 %"\); give a num',
  ),
  ('prediction NaN', answer(DEPTH, predicted_change=float('nan')), r'predicted_change is nan'),
  (
    'prediction infinite',
    answer(DEPTH, predicted_change=float('-inf')),
    r'predicted_change is -inf',
  ),
  ('prediction huge', GOOD.replace('-0.012', '-1' + '0' * 5000), r'predicted_change is -inf'),
  ('prediction true', answer(DEPTH, predicted_change=True), r'predicted_change is a boolean'),
  ('uncertainty a list', answer(DEPTH, uncertainty=[0.1]), r'hypothesis\.uncertainty is a list'),
  (
    'mechanisms numbers',
    answer(DEPTH, mechanisms=[1]),
    r'mechanisms is a list; give a list of str',
  ),
  ('no edits, no files', answer(), r'edits and files are both empty'),
  ('edits null', answer(edits=None), r'edits and files are both empty'),
  ('edits as text', answer(edits='DEPTH = 10'), r'edits is a string.*give a list of objects'),
  ('edits of text', answer(edits=['DEPTH = 10']), r'edits\[0\] is a string.*give an object'),
  (
    'replace missing',
    answer(edits=[{'file': FILE, 'search': 'DEPTH = 8'}]),
    r'edits\[0\]\.replace is missing',
  ),
  ('replace null', of_file(FILE, replace=None), r'edits\[0\]\.replace is null; give a string'),
  ('search as lines', of_file(FILE, search=['a', 'b']), r'edits\[0\]\.search is a list'),
  ('text missing', answer(files=[None]), r'files\[0\]\.text is null'),
  ('a hundred edits', answer(*[DEPTH] * 100), r'100 edits and files, more than 64'),
  ('NUL in code', answer((DEPTH[0], 'DEPTH = 10\x00')), r'replace holds the character U\+0000'),
  (
    'half a character in code',
    answer((DEPTH[0], 'DEPTH = 10  # \ud83d')).replace('\ud83d', '\\ud83d'),
    r'replace holds the character U\+D83D at its line 1',
  ),
]

BLOCKS = [
  ('deletes a comment', answer(('# The model.\n', '')), APPLIED),
  ('two blocks', answer(DEPTH, (ACTIVATION, GELU)), APPLIED),
  ('each on the one before', answer(DEPTH, (DEPTH[1], 'DEPTH = 12')), APPLIED),
  ('part of a line', answer(('MLP_RATIO = 4', 'MLP_RATIO = 5')), APPLIED),
  (
    'CRLF block',
    answer((NORM.replace('\n', '\r\n'), NORM.replace('\n', '\r\n') + '\r\n')),
    APPLIED,
  ),
  ('space at line ends', answer((ACTIVATION.replace('\n', '  \n'), GELU)), APPLIED),
  ('last line break forgotten', answer((ACTIVATION, GELU.rstrip())), APPLIED),
  (
    'misremembered constant',
    answer(('MATRIX_LR = 0.02', 'MATRIX_LR = 0.03')),
    r'edits\[0\]\.search does not occur in model\.py: its line 1 is "MATRIX_LR = 0\.02".*'
    rf'line {line("MATRIX_LR")}: "MATRIX_LR = 0\.04  # Muon: every matrix in the blocks"',
  ),
  (
    'four spaces for two',
    answer((NORM.replace('\n  ', '\n    '), NORM)),
    r'its line 2 is "    \\"\\"\\"RMS.*'
    rf'line {line("RMS norm")}: "  \\"\\"\\"RMS.*with their indentation',
  ),
  (
    'line numbers copied',
    answer(('31: DEPTH = 8  # transformer blocks', '31: DEPTH = 10')),
    rf'line {line("DEPTH = 8")}: "DEPTH = 8  # transformer blocks"',
  ),
  (
    'elided search',
    answer((ACTIVATION.replace('  """Squared ReLU', '  # ...\n  """Squared ReLU'), GELU)),
    rf'line {line("def activation")}: "def activation\(.*'
    rf'line {line("Squared ReLU (")}: "  \\"\\"\\"Squared ReLU',
  ),
  (
    'code of another project',
    answer(('class CausalSelfAttention(nn.Module):', 'class Attention(nn.Module):')),
    r'does not occur in model\.py',
  ),
  (
    'nothing like it',
    answer(('torch.compile(net, dynamic=False)', '')),
    r'no line of the file is similar',
  ),
  (
    'twice',
    answer(('  model: Any', '  net: Any')),
    rf'occurs 2 times in model\.py, at lines {line("  model: Any")}, '
    rf'{line("  model: Any =")}; add lines before or after',
  ),
  ('many times', answer(('x', 'y')), r'occurs over 8 times in model\.py, at lines \d+, \d+, '),
  (
    'twice but for white space',
    answer(('  model = state.model \n', '  net = state.model\n')),
    r'occurs 2 times in model\.py, at lines',
  ),
  (
    'second block gone by the first',
    answer(DEPTH, (DEPTH[0], 'DEPTH = 12')),
    r'edits\[1\]\.search does not occur in model\.py.*"DEPTH = 10  # transformer blocks"',
  ),
  ('empty search', answer(('', 'import math\n')), r'edits\[0\]\.search is empty; copy the lines'),
  ('same text', answer((DEPTH[0], DEPTH[0])), r'edits\[0\] replaces a block with itself'),
  ('there and back', answer(DEPTH, DEPTH[::-1]), r'leaves the program exactly as it is'),
]

FILES = [
  ('whole file', WHOLE, APPLIED),
  ('whole file fenced', answer(files=[f'```python\n{TEXT.replace(*DEPTH)}```']), APPLIED),
  ('whole file CRLF', answer(files=[TEXT.replace(*DEPTH).replace('\n', '\r\n')]), APPLIED),
  ('other file', of_file('train.py'), r'"train\.py", not a file of.*only model\.py may be'),
  ('full path', of_file('autoresearch_jax/programs/gpt/model.py'), r'not a file of the program'),
  ('parent folder', of_file('../../trial/runner.py'), r'path outside of the program; only model'),
  ('absolute', of_file('/etc/passwd'), r'path outside of the program'),
  ('windows path', of_file('C:\\model.py'), r'path outside of the program'),
  ('back into the program', of_file('../gpt/model.py'), r'path outside of the program'),
  ('no name', of_file(''), r'not a file of the program'),
  ('name with escapes', of_file('model\x1b[31m.py'), r'"model\\u001b\[31m\.py", not a file'),
  (
    'new file',
    answer(files=[]).replace('"files": []', '"files": [{"file": "b.py", "text": "1"}]'),
    r'files\[0\] is for "b\.py", not a file',
  ),
  (
    'block and whole file',
    answer(DEPTH, files=[TEXT]),
    r'edits\[0\] changes model\.py, which files',
  ),
  ('file given twice', answer(files=[TEXT, TEXT]), r'files has model\.py more than once'),
  ('unchanged file', answer(files=[TEXT]), r'leaves the program exactly as it is'),
  ('empty file', answer(files=[' \n']), r'files\[0\]\.text is empty'),
  (
    'first half of the file',
    answer(files=[TEXT[: TEXT.index('# The optimizer.')]]),
    r'still uses group_of, learning_rates, make_optimizer.* It has \d+ lines '
    rf'where it had {len(TEXT.splitlines())}: a whole file must be whole',
  ),
  (
    'second half of the file',
    answer(files=[TEXT[TEXT.index('# The model.') :]]),
    r'init, train_step, predict, BATCH_SIZE are no longer defined.*whole file must be whole',
  ),
  (
    'cut in a function',
    answer(files=[TEXT[:9000]]),
    r'not valid Python: line \d+: .*a whole file must be whole',
  ),
  (
    'rest unchanged',
    answer(files=[TEXT[: TEXT.index('# Batch.')] + '# ... rest of the file unchanged ...\n']),
    r'Line \d+ of model\.py is "# \.\.\. rest of the file.*omitted code.*must be whole',
  ),
  (
    'rest unchanged, in words',
    answer(
      files=[TEXT[: TEXT.index('# The optimizer.')] + '# The rest of the code stays the same']
    ),
    r'omitted code.*must be whole',
  ),
  ('ends in dots', answer(files=[TEXT[: TEXT.index('def momentum')] + '...']), r'omitted code'),
  (
    'only the changed function',
    answer(files=[GELU]),
    r'init, train_step, predict, BATCH_SIZE are no longer.*3 lines where it had \d+',
  ),
]

PROGRAMS_BROKEN = [
  ('another activation', answer((ACTIVATION, GELU)), APPLIED),
  (
    'new function',
    answer((ACTIVATION, GELU + '\n\ndef relu(x: jax.Array) -> jax.Array:\n  return x\n')),
    APPLIED,
  ),
  (
    'unbalanced bracket',
    answer(('return jnp.square(jax.nn.relu(x))', 'return jnp.square(jax.nn.relu(x)')),
    rf"model\.py is not valid Python: line {line('  return jnp.square(jax')}: '\(' was never closed"
    r', "  return jnp\.square',
  ),
  (
    'indentation lost',
    answer(('  return jnp.square(jax.nn.relu(x))', 'return jax.nn.gelu(x)')),
    rf'not valid Python: line {line("  return jnp.square(jax")}: .*outside function',
  ),
  (
    'fence in a block',
    answer((ACTIVATION, f'```python\n{GELU}```\n')),
    rf'not valid Python: line {line("def activation")}',
  ),
  (
    'conflict marks',
    answer((DEPTH[0], f'<<<<<<<\n{DEPTH[0]}\n=======')),
    rf'not valid Python: line {line("DEPTH = 8")}',
  ),
  (
    'renamed function',
    answer(('def train_step(state', 'def training_step(state')),
    r'^train_step is no longer defined at the top level of model\.py',
  ),
  ('renamed init', answer(('def init(key', 'def initialize(key')), r'^init is no longer defined'),
  (
    'deleted predict',
    answer((TEXT[TEXT.index('def predict') : TEXT.index('def loss_and')], '')),
    r'^predict is no longer defined',
  ),
  (
    'renamed batch size',
    answer(('BATCH_SIZE = 256', 'TRAIN_BATCH_SIZE = 256')),
    r'^BATCH_SIZE is no longer defined',
  ),
  (
    'function made a method',
    answer((STEP, 'class Trainer:\n' + ''.join(f'  {s}\n' for s in STEP.splitlines()))),
    r'^train_step is no longer defined at the top level',
  ),
  (
    'helper deleted but used',
    answer((SCHEDULE, '')),
    r'still uses schedule but no longer defines it',
  ),
  (
    'constant renamed in one place',
    answer(('LOGIT_CAP = 15.0', 'SOFTCAP = 15.0')),
    r'still uses LOGIT_CAP but no longer defines it',
  ),
  (
    'existing code left out of a block',
    answer((STEP, STEP.splitlines()[0] + '\n  # ... existing code ...\n  return state, {}\n')),
    r'Line 2 of edits\[0\]\.replace is "# \.\.\. existing code.*every line of the block',
  ),
  (
    'body left out of a block',
    answer((SCHEDULE, 'def schedule(progress: jax.Array) -> jax.Array: ...\n')),
    r'body of schedule in model\.py was replaced',
  ),
]

ANSWERS = [*WRAPPED, *NOT_READ, *FIELDS, *BLOCKS, *FILES, *PROGRAMS_BROKEN]
