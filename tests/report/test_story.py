"""The story of a run: prose by rules, and no sentence without the trials behind it."""

import dataclasses
import json
import re
import shutil

import pytest
from helpers.synthetic_run import SPEC, run, ticking

from autoresearch_jax.cli import report as command
from autoresearch_jax.cli.report import main
from autoresearch_jax.ledger.events import Ablated, Decided, Finished, Record
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger, read_history, read_records
from autoresearch_jax.proposers.llm.story import NoStory, rewritten, supported
from autoresearch_jax.report.page import RunProjection
from autoresearch_jax.report.samples import ModelText, TextSample, write_samples
from autoresearch_jax.report.story import story
from autoresearch_jax.report.story_text import StoryParagraph, StorySentence, cite, join
from autoresearch_jax.testing import loopback_model as loopback
from autoresearch_jax.types import Cost, Decision, Measurement, Result, Status, Verdict

CITED = re.compile(r'\btrials? ((?:\d+(?:, | and | to )?)+)')


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  run(folder, 40, clock=ticking())
  return folder


def sentences(paragraphs):
  return [sentence for paragraph in paragraphs for sentence in paragraph.sentences]


@pytest.mark.parametrize('events', [5, 12, 30, 60, 10_000])
def test_each_sentence_cites_trials_that_exist_at_any_time_of_the_run(directory, events):
  history = History.of(read_records(directory)[:events])
  for sentence in sentences(story(history)):
    named = [int(n) for part in CITED.findall(sentence.text) for n in re.findall(r'\d+', part)]
    assert named, sentence.text
    assert {*named} <= {*sentence.trials} <= {*history.edits}, sentence.text
    assert sentence.text[0].isupper() and sentence.text.endswith(('.', ':'))
    assert '\n' not in sentence.text and '  ' not in sentence.text


def test_it_says_the_best_the_failures_and_how_sure_that_is_on_a_page(directory):
  history = read_history(directory)
  found = {paragraph.heading: paragraph for paragraph in story(history)}
  best = history.original(history.incumbent.id)
  assert f'trial {best}' in found['What worked'].text
  assert 'baseline' in found['What was tried'].text
  assert 'standard deviation' in found['How sure is it'].text
  failed = {t for t, result in history.results.items() if result.status in ('oom', 'diverged')}
  told = {t for s in found['What did not'].sentences for t in s.trials}
  assert failed and failed <= told
  words = sum(len(paragraph.text.split()) for paragraph in found.values())
  assert 60 < words < 450


def test_there_is_no_story_before_there_is_a_score(directory):
  assert story(History.of(read_records(directory)[:2])) == ()


def test_descriptions_stay_on_one_line_and_are_quoted(directory):
  history = History.of(read_records(directory))
  best = history.original(history.incumbent.id)
  edit = dataclasses.replace(history.edits[best], description='drop\n\nall <b>tables</b> ' * 20)
  history.edits[best] = edit
  (worked,) = [p for p in story(history) if p.heading == 'What worked']
  assert '“drop all <b>tables</b>' in worked.text and len(worked.text) < 1500


def test_edits_of_the_best_program_that_were_not_kept_are_named(directory):
  history = read_history(directory)
  first, *_ = history.lineage(history.original(history.incumbent.id))[1:]
  records = [
    dataclasses.replace(r, event=Decided(first, Verdict(Decision.DISCARD, 'Not better.')))
    if isinstance(r.event, Decided) and r.event.trial == first else r
    for r in read_records(directory)
  ]  # fmt: skip
  worked = next(p for p in story(History.of(records)) if p.heading == 'What worked')
  assert f'not kept itself (trial {first})' in worked.text


def test_it_says_what_the_device_did(directory):
  records = read_records(directory)
  drifted = next(
    i for i, r in enumerate(records) if isinstance(r.event, Decided) and r.event.trial == 5
  )
  verdict = dataclasses.replace(records[drifted].event.verdict, drift=True)
  event = dataclasses.replace(records[drifted].event, verdict=verdict)
  records[drifted] = dataclasses.replace(records[drifted], event=event)
  speeds = {3: 0.75, 4: 1.05}
  for i, record in enumerate(records):
    if isinstance(record.event, Finished):
      result = record.event.result
      cost = Cost(training_seconds=1.0, calibration_seconds=0.25, compile_seconds=2.0,
                  speed=speeds.get(result.trial, 1.0))  # fmt: skip
      runs = tuple(dataclasses.replace(run, cost=cost) for run in result.measurements)
      event = dataclasses.replace(
        record.event, result=dataclasses.replace(result, measurements=runs)
      )
      records[i] = dataclasses.replace(record, event=event)
  history = History.of(records)
  told = next(p for p in story(history) if p.heading == 'What the device did')
  use, speed, drift = told.sentences
  shares = [float(share) for share in re.findall(r'(\d+\.\d)%', use.text)]
  assert len(shares) == 4 and sum(shares) == pytest.approx(100, abs=0.5)  # evaluation took nothing
  assert '0.75 to 1.05' in speed.text and 'slowest in trial 3;' in speed.text
  assert '1 trial trained below 0.9 (trial 3)' in speed.text
  assert 'trial 5' in drift.text and drift.trials == (5,)


def test_it_says_what_an_ablation_found(directory):
  history = read_history(directory)
  best = history.original(history.incumbent.id)
  digest = history.edits[best].program.digest
  values = {digest: 1.0, 'without one': 1.5, 'without another': 1.0}
  index = 1000
  for on_test, name in ((False, 'val_loss'), (True, 'test_loss')):
    for program, value in values.items():
      if on_test and program == 'without one':
        continue
      for seed in range(4):
        metrics = {name: value + 0.01 * seed + 0.001 * (len(program) * seed % 3)}
        result = Result(0, Status.OK, measurements=(Measurement(seed, metrics, Cost()),))
        history.apply(Record(index, 0.0, Ablated(program, seed, on_test, result)))
        index += 1
  sure = next(p for p in story(history) if p.heading == 'How sure is it')
  (sentence,) = [s.text for s in sure.sentences if 'ablation' in s.text]
  assert f'(trial {best})' in sentence and '2 versions' in sentence and '4 paired seeds' in sentence
  assert '1 of 2 is worse' in sentence and 'may carry nothing' in sentence
  assert 'test split' in sentence and 'finalize --ablate' not in sure.text


def test_lists_of_trials():
  assert cite([7]) == 'trial 7' and cite([1, 2]) == 'trials 1 and 2'
  assert cite(range(20)) == 'trials 0, 1, 2, 3, 4, 5, …'
  assert join(['a', 'b', 'c']) == 'a, b and c' and join(['a']) == 'a' and join([]) == ''


def test_the_report_command_begins_with_it_and_json_has_it(directory, capsys):
  assert main([str(directory)]) == 0
  text = capsys.readouterr().out
  assert text.index('What was tried') < text.index('What worked') < text.index('Plot: ')
  assert main([str(directory), '--json']) == 0
  found = json.loads(capsys.readouterr().out)['story']
  assert [p['heading'] for p in found] == [p.heading for p in story(read_history(directory))]
  assert all(s['text'] and s['trials'] for p in found for s in p['sentences'])


def test_a_plot_that_cannot_be_written_does_not_hide_the_summary(directory, tmp_path, capsys):
  run = tmp_path / 'run'
  shutil.copytree(directory, run)
  (run / 'progress.png').unlink(missing_ok=True)
  (run / 'progress.png').mkdir()
  assert main([str(run)]) == 0
  text = capsys.readouterr().out
  assert 'No plot: ' in text and 'Best val_' in text


RULES = (
  StoryParagraph('What worked', (StorySentence('Best is trial 3, by +0.25 ± 0.1.', (3, 0)),)),
  StoryParagraph(
    'What did not', (StorySentence('Trials 1 and 2 diverged (trials 1 and 2).', (1, 2)),)
  ),
)


def answer(*texts):
  found = [{'text': text, 'trials': [3]} for text in texts]
  return json.dumps({'paragraphs': [{'heading': 'In short', 'sentences': found}]})


def test_sentences_of_a_model_without_a_proven_trial_or_with_a_new_number_are_dropped():
  texts = [
    'The winner is trial 3, with +0.25 ± 0.1.',  # fine
    'The winner is great.',  # cites nothing
    'Trial 9 is better (trial 9).',  # does not exist
    'It is trial 3, by +0.75.',  # nobody measured that
    'Both failed: trials 1 and 2.',  # fine
  ]
  wrong = StorySentence('Best is trial 3.', (3, 8))
  told = [StoryParagraph('Short', (*(StorySentence(t, (3,)) for t in texts), wrong))]
  (paragraph,) = supported(told, RULES)
  assert [s.text for s in paragraph.sentences] == [texts[0], texts[4]]
  assert supported([StoryParagraph('Short', (wrong,))], RULES) == ()


@pytest.fixture
def gemini(directory, monkeypatch):
  """A run whose proposer is a model on this machine."""
  monkeypatch.setenv('GEMINI_API_KEY', loopback.KEY)
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  with loopback.serving() as server:
    history = read_history(directory)
    options = {'base_url': server.url, 'attempts': 1, 'models': ('gemini-3.8-flash',)}
    config = dataclasses.replace(history.config, proposer='gemini', proposer_options=options)
    history.__dict__['config'] = config
    yield server, history


def test_a_model_rewrites_the_story(gemini):
  server, history = gemini
  server.script = [loopback.answer(answer('The winner is trial 3, with +0.25.', 'Nothing else.'))]
  calls = []
  (paragraph,) = rewritten(RULES, history, SPEC, calls.append)
  assert [call.state for call in calls] == ['sent', 'answered'] and calls[0].id == calls[1].id
  assert [s.text for s in paragraph.sentences] == ['The winner is trial 3, with +0.25.']
  (turn,) = loopback.turn_texts(server.requests[0])
  assert 'Best is trial 3' in turn and server.requests[0]['key'] == loopback.KEY


@pytest.mark.parametrize(
  ('step', 'words'),
  [
    (loopback.answer('{"paragraphs": []}'), 'all are dropped'),
    (loopback.answer(answer('All is well.')), 'all are dropped'),
    (loopback.answer('no JSON'), 'not rewritten'),
    (loopback.answer('{"paragraphs": [{"heading": 3}]}'), 'not rewritten'),
    (loopback.blocked(), 'not rewritten'),
  ],
)
def test_an_answer_that_cannot_be_used_is_a_sentence(gemini, step, words):
  server, history = gemini
  server.script = [step]
  with pytest.raises(NoStory, match=words):
    rewritten(RULES, history, SPEC, lambda call: None)


def test_the_call_counts_and_a_run_in_progress_is_left_alone(
  gemini, directory, tmp_path, capsys, monkeypatch
):
  server, history = gemini
  copy = shutil.copytree(directory, tmp_path / 'run')
  options = {'proposer': 'gemini', 'proposer_options': history.config.proposer_options}
  records = read_records(copy)
  for name in ('ledger.db', 'ledger.db-wal', 'ledger.db-shm', 'ledger.head'):
    (copy / name).unlink(missing_ok=True)
  with Ledger.open(copy / 'ledger.db') as ledger:
    started = records[0].event
    ledger.append(dataclasses.replace(started, config={**started.config, **options}))
    for record in records[1:]:
      ledger.append(record.event)
  monkeypatch.setattr(command, 'build_task', lambda config: type('Task', (), {'spec': SPEC}))
  before = read_history(copy)
  server.script = [loopback.answer(answer('All is well.'))] * 2
  with Workspace.open(copy):
    assert main([str(copy), '--rewrite']) == 0
  assert 'made by rules' in capsys.readouterr().err and not server.requests
  for calls in (1, 2):
    assert main([str(copy), '--rewrite']) == 0
    after = read_history(copy)
    assert after.spend.calls == before.spend.calls + calls
  assert after.wall_seconds == before.wall_seconds
  assert RunProjection.of(read_records(copy)).stopped
  assert after.spend.tokens > 0


def test_a_run_without_a_model_keeps_the_story_made_by_rules(directory, capsys, monkeypatch):
  with pytest.raises(NoStory, match="'mutate'"):
    rewritten(RULES, read_history(directory), SPEC, lambda call: None)
  task = type('Task', (), {'spec': SPEC})  # the synthetic problem is not registered
  monkeypatch.setattr(command, 'build_task', lambda config: task)
  assert main([str(directory), '--rewrite']) == 0
  shown = capsys.readouterr()
  assert 'made by rules' in shown.err and 'What was tried' in shown.out


def test_the_report_shows_what_the_models_wrote(directory, tmp_path, capsys):
  copy = shutil.copytree(directory, tmp_path / 'run')
  (copy / 'models').mkdir()
  texts = (ModelText('best', 3, 'world'), ModelText('baseline', 0, '<b>wrld'))
  write_samples(copy, (TextSample('Hello ', 7, 0.8, texts),))
  assert main([str(copy), '--html']) == 0
  text = capsys.readouterr().out
  assert '--- best, trial 3\nHello world' in text and 'Hello <b>wrld' in text
  assert main([str(copy), '--json']) == 0
  (sample,) = json.loads(capsys.readouterr().out)['samples']
  assert sample['prompt'] == 'Hello ' and sample['texts'][0]['text'] == 'world'
