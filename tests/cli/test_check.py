"""`autoresearch check`: a program that traces, one that does not, and what is missing."""

import pytest

from autoresearch_jax import __main__ as front


@pytest.fixture
def program(tmp_path):
  folder = tmp_path / 'program'
  assert front.main(['start', '--config=digits', f'--out={folder}']) == 0
  return folder


@pytest.mark.slow
def test_it_says_what_is_wrong(program, capsys):
  arguments = ['check', str(program), '--config=digits', '--config.limits.isolation=limits']
  capsys.readouterr()
  assert front.main(arguments) == 0
  assert capsys.readouterr().out.startswith('ok: the program traces')
  path = program / 'model.py'
  path.write_text(path.read_text() + 'raise KeyError(4711)\n')
  assert front.main(arguments) == 1
  output = capsys.readouterr().out
  assert output.startswith('invalid: model.py:') and '4711' in output


@pytest.mark.parametrize(
  ('arguments', 'sentence'),
  [
    (['check'], 'FOLDER'),
    (['check', '/nowhere', '--config=digits'], "'/nowhere'"),
    (['check', '.'], '--config=digits'),
    (['check', '.', '--config=dgits'], 'Did you mean digits?'),
  ],
)
def test_invalid_input_is_one_sentence(arguments, sentence, capsys, monkeypatch):
  monkeypatch.delenv('AUTORESEARCH_TASK', raising=False)
  assert front.main(arguments) == 2
  captured = capsys.readouterr()
  assert sentence in captured.err and len(captured.err.strip().splitlines()) == 1
