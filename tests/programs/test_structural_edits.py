"""Changes of structure: found by what stands there, made, and taken back."""

import numpy as np
import pytest

from autoresearch_jax.programs.catalogue import listed, own, packaged
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.programs.structural_edits import Toggle, available

CATALOGUE = packaged()
GPT, MLP, PACKING = (
  (PROGRAMS / name / 'model.py').read_text() for name in ('gpt', 'mlp', 'packing')
)
KERNELS = [path.read_text() for path in sorted(PROGRAMS.glob('kernels/*/model.py'))]
RNG = np.random.default_rng(0)
# Constants that some changes need to be above 0.
NEEDED = {'WARMDOWN_RATIO = 0.0': 'WARMDOWN_RATIO = 0.5'}


def moves(text, catalogue=CATALOGUE):
  return {m.key: m for m in available(Source(text), catalogue)}


def made(text, key):
  rewrite = moves(text)[key].make(RNG)
  assert rewrite is not None
  return rewrite


@pytest.mark.parametrize('entry', CATALOGUE, ids=lambda entry: entry.key)
def test_every_change_fits_one_of_the_programs(entry):
  mlp = MLP
  for old, new in NEEDED.items():
    mlp = mlp.replace(old, new)
  assert any(moves(text, [entry]) for text in (GPT, mlp, PACKING, *KERNELS))


@pytest.mark.parametrize(
  'text',
  [
    pytest.param(GPT, id='gpt', marks=pytest.mark.slow),
    pytest.param(MLP, id='mlp'),
    pytest.param(PACKING, id='packing'),
  ],
)
def test_every_change_can_be_taken_back(text):
  toggles = {e.key for e in CATALOGUE if isinstance(e, Toggle)}
  source, count = Source(text), 0
  for entry in CATALOGUE:
    for move in available(source, [entry]):
      count += 1
      changed = move.make(RNG).text
      assert changed != text
      back = [m.make(RNG).text for m in moves(changed, [entry]).values()]
      if entry.key in toggles or 'site' not in vars(entry) or entry.site != 'return':
        assert text in back, move.key
      else:  # the one line that describes the function has changed with it
        assert back, move.key
  assert count


def test_alternatives_replace_the_expression_and_the_line_about_it():
  rewrite = made(MLP, 'activation GELU')
  assert rewrite.text == MLP.replace('return jax.nn.relu(x)', 'return jax.nn.gelu(x)')
  assert rewrite.description == 'activation: ReLU -> GELU'
  changed = made(GPT, 'activation GELU').text
  assert '  """Activation: GELU."""\n  return jax.nn.gelu(x)\n' in changed
  assert 'Squared ReLU (Primer' not in changed


def test_a_change_with_several_parts_is_made_whole():
  changed = made(GPT, 'a gate in the MLP up').text
  assert changed.count('self.gate') == 2
  assert 'MLP_RATIO = 3 ' in changed
  assert 'a gate in the MLP up' not in moves(changed)
  assert made(changed, 'a gate in the MLP down').text == GPT


def test_a_change_of_which_one_part_does_not_fit_is_not_offered():
  text = GPT.replace('activation(linear(x, self.up[...]))', 'activation(x @ self.up[...])')
  assert text != GPT
  assert not [key for key in moves(text) if 'gate in the MLP' in key]


def test_a_program_without_the_pattern_is_offered_nothing():
  assert moves('def activation(x):\n  return my_own(x)\n') == {}
  assert moves('') == {}


def test_names_that_a_change_needs_must_be_there():
  text = MLP.replace('import jax.numpy as jnp\n', 'import jax.numpy\n')
  assert 'activation GELU' in moves(text)
  assert 'activation squared ReLU' not in moves(text)


def test_the_schedule_changes_only_where_there_is_one():
  assert 'schedule cosine' in moves(GPT)
  assert 'schedule cosine' not in moves(MLP)  # its warm-down is 0


def test_a_folder_of_the_users_brings_its_own_edits(tmp_path):
  """Adding a program with its structural edits is one folder."""
  (tmp_path / 'model.py').write_text('def slope():\n  return 1.0\n')
  assert own(str(tmp_path)) == () and own('gpt') == ()
  brought = tmp_path / 'mine'
  brought.mkdir()
  (brought / 'edits.py').write_text(
    'from autoresearch_jax.programs.structural_edits import Alternative, Alternatives, EditPrior\n'
    "EDITS = (Alternatives('slope', 'slope', 'return', (Alternative('1.0', 'one', 'As it is.'), "
    "Alternative('2.0', 'two', 'Steeper.')), EditPrior(('slope',))),)\n"
  )
  (move,) = available(Source('def slope():\n  return 1.0\n'), own(str(brought)))
  assert move.make(RNG).text == 'def slope():\n  return 2.0\n'


def test_a_folder_whose_edits_are_none_is_refused_with_its_path(tmp_path):
  (tmp_path / 'edits.py').write_text('EDITS = 3\n')
  with pytest.raises(ValueError, match=r'edits\.py must define EDITS'):
    listed(tmp_path)
