"""Plays a candidate strategy on instances and scores it by its regret.

Instances, randomness, acceptance and score are in this process, the candidate's Python is not. The
seeds of instances are derived from a secret, so that a candidate which knows the code of a
landscape still cannot compute its optimum.
"""

import ast
import contextlib
import dataclasses
import hashlib
import pathlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.benchmark.regret import areas
from autoresearch_jax.benchmark.runners.simulate import SimulatedRun, SimulationError, simulate
from autoresearch_jax.benchmark.simulations import SIMULATIONS, Instance
from autoresearch_jax.config import Limits
from autoresearch_jax.meta import contract
from autoresearch_jax.meta.client import (
  SandboxedStrategy,
  StrategyError,
  StrategyServer,
  replay,
)
from autoresearch_jax.problems.meta import LANDSCAPES, SECRET, MetaSearch
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import Cost, Isolation, Measurement, Program, test_metric

HASH_SEEDS = (1, 2)  # PYTHONHASHSEED where candidates are played, and where calls are repeated
REFERENCE_PLAYS = 4  # of each instance
MIN_REFERENCE = 1e-9  # a reference that finds the optimum at once cannot be divided by
CHECK_SEED, CHECK_RUNS = -1, 60.0  # of the games behind a fingerprint
SEED_BYTES = 7  # of an instance's seed
REPLAYED_AT_ONCE = 48  # calls in one process, whose limits are those of one game
TRAINING_RUNS_AT_LEAST = 2.0  # of a game: the baseline and one trial


@dataclasses.dataclass(frozen=True)
class Game:
  """One instance that a candidate is played on.

  Attributes:
    landscape: Label of its landscape.
    instance_seed: Seed of the instance.
    root_seed: Seed of the strategy's and the proposer's randomness.
  """

  landscape: str
  instance_seed: int
  root_seed: int


class Player:
  """Plays candidates; one program at a time.

  Args:
    problem: Names the landscapes.
    folder: Holds the secret.
    limits: Limits of a candidate.
    hidden: Paths that candidates must never read.
    scratch: Folder for the files of the program.
  """

  def __init__(
    self,
    problem: MetaSearch,
    folder: pathlib.Path,
    limits: Limits,
    hidden: tuple[pathlib.Path, ...],
    scratch: pathlib.Path,
  ):
    self.problem = problem
    self._reference: Strategy = STRATEGIES.make(problem.reference)
    self._fingerprints: dict[str, str] = {}  # by the digest of the text
    self._references: dict[tuple[Game, float], float] = {}  # its regret on a game of a budget
    self._secret = (folder / SECRET).read_text(encoding='utf-8')
    self._servers = [StrategyServer(limits, (*hidden, folder), seed) for seed in HASH_SEEDS]
    scratch.mkdir(parents=True, exist_ok=True)
    self._scratch = pathlib.Path(tempfile.mkdtemp(prefix='play-', dir=scratch)).resolve()

  def close(self) -> None:
    """Ends the servers and removes the files."""
    for server in self._servers:
      server.close()
    shutil.rmtree(self._scratch, ignore_errors=True)

  @contextlib.contextmanager
  def written(self, program: Program) -> Iterator[pathlib.Path]:
    """Writes a program's files for the duration of a `with` block. Raises StrategyError."""
    folder = self._scratch / secrets.token_hex(4)
    folder.mkdir()
    try:
      try:
        program.write(folder)
      except ValueError as error:  # text that is not Unicode
        raise StrategyError(f'The program cannot be written to files: {error}.') from None
      yield folder
    finally:
      shutil.rmtree(folder, ignore_errors=True)

  def check(self, program: Program, folder: pathlib.Path) -> tuple[Isolation, str]:
    """Checks the contract, and plays the games that fingerprints are made of.

    Returns:
      What the sandbox enforces, and the fingerprint, which is equal for programs that propose the
      same in these games, on which no program is scored.

    Raises:
      StrategyError: The program breaks it.
      ServerError: The sandbox does not work here.
    """
    with contextlib.ExitStack() as stack:
      process, other = (
        stack.enter_context(server.start(folder, program.entry)) for server in self._servers
      )
      contract.check(process, other)
      isolation = process.isolation
    text = _text_digest(program)
    if text not in self._fingerprints:
      digest, rng = hashlib.sha256(), np.random.default_rng(secrets.randbits(128))
      for game in self._games(CHECK_SEED, on_test=False):
        strategy = self._play(program, folder, game, CHECK_RUNS, rng)[1]
        digest.update(strategy.proposals.digest())
      self._fingerprints[text] = digest.hexdigest()
    return isolation, self._fingerprints[text]

  def measure(
    self,
    program: Program,
    folder: pathlib.Path,
    seed: int,
    budget: float,
    on_test: bool,
    on_progress: Callable[[float], object],
  ) -> Measurement:
    """Plays a program on the instances of a seed.

    Args:
      program: The program.
      folder: Its files.
      seed: Training seed; programs with the same one play the same games.
      budget: Of a game, in training runs.
      on_test: Whether to play the held-out landscapes.
      on_progress: Called with the share of the games that were played.

    Raises:
      StrategyError: It breaks the contract.
      ServerError: The sandbox does not work here.
    """
    began, budget = time.monotonic(), max(budget, TRAINING_RUNS_AT_LEAST)
    games = self._games(seed, on_test)
    scores: dict[str, list[tuple[float, float, float]]] = {}
    sample: list[tuple[bytes, bytes]] = []
    rng = np.random.default_rng(secrets.randbits(128))
    for number, game in enumerate(games):
      on_progress(number / len(games))
      run, strategy = self._play(program, folder, game, budget, rng)
      score = (_area(run, budget), run.curve.regret[-1], self._reference_regret(game, budget))
      scores.setdefault(game.landscape, []).append(score)
      sample += strategy.sample
    order = rng.permutation(len(sample))
    for first in range(0, len(order), REPLAYED_AT_ONCE):
      with self._servers[1].start(folder, program.entry) as other:
        replay(other, [sample[i] for i in order[first : first + REPLAYED_AT_ONCE]])
    metrics = _metrics(scores)
    if on_test:
      metrics = {test_metric(name): value for name, value in metrics.items()}
    seconds = time.monotonic() - began
    steps = round(budget * len(games))
    return Measurement(seed, metrics, Cost(seconds, total_seconds=seconds, steps=steps))

  def _games(self, seed: int, on_test: bool) -> list[Game]:
    labels = self.problem.held_out if on_test else self.problem.tuning
    return [
      Game(label, *(self._drawn(on_test, label, seed, i, what) for what in ('instance', 'root')))
      for label in labels
      for i in range(self.problem.instances)
    ]

  def _reference_regret(self, game: Game, budget: float) -> float:
    """Returns the mean regret of the reference on a game's instance, which it plays once.

    With other random numbers than the candidates have: a candidate that does what the reference
    does would otherwise have no noise, by which the acceptance rule judges all others.
    """
    key = game, budget
    if key not in self._references:
      with _instance(game) as instance:
        runs = [
          simulate(
            self._reference, ACCEPTANCE.make('strict'), instance,
            self._drawn('reference', game.instance_seed, number), budget,
          )
          for number in range(REFERENCE_PLAYS)
        ]  # fmt: skip
      self._references[key] = float(np.mean([_area(run, budget) for run in runs]))
    return self._references[key]

  def _drawn(self, *parts: Any) -> int:
    """Returns a seed that only the secret's owner can compute."""
    text = repr((self._secret, *parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:SEED_BYTES], 'big')

  def _play(
    self,
    program: Program,
    folder: pathlib.Path,
    game: Game,
    budget: float,
    rng: np.random.Generator,
  ) -> tuple[SimulatedRun, SandboxedStrategy]:
    with (
      _instance(game) as instance,
      self._servers[0].start(folder, program.entry) as process,
    ):
      strategy = SandboxedStrategy(process, rng)
      try:
        run = simulate(strategy, ACCEPTANCE.make('strict'), instance, game.root_seed, budget)
      except SimulationError as error:
        raise strategy.failure or StrategyError(f'{program.entry}: {error}') from error
      return run, strategy


@contextlib.contextmanager
def _instance(game: Game) -> Iterator[Instance]:
  simulation, options = LANDSCAPES[game.landscape]
  with contextlib.closing(
    SIMULATIONS.make(simulation, options).instance(game.instance_seed)
  ) as instance:
    yield instance


def _area(run: SimulatedRun, budget: float) -> float:
  return areas(run.curve, budget, run.run_seconds).runs


def _metrics(scores: dict[str, list[tuple[float, float, float]]]) -> dict[str, float]:
  """Returns the metrics; each landscape counts the same.

  Args:
    scores: By landscape, the regret of each game, its final regret, and the reference's regret.
  """
  means = {label: np.mean(triples, axis=0) for label, triples in scores.items()}
  area, final, reference = np.mean(list(means.values()), axis=0)
  return {
    'relative_regret': float(area / max(reference, MIN_REFERENCE)),
    'regret': float(area),
    'final_regret': float(final),
    **{f'regret_{label}': float(triple[0]) for label, triple in means.items()},
  }


def _text_digest(program: Program) -> str:
  """Returns a digest of a program that comments, docstrings and formatting do not change."""
  digest = hashlib.sha256(program.entry.encode())
  for name, text in program.files:
    digest.update(f'\0{name}\0{_normalized(text)}'.encode())
  return digest.hexdigest()


def _normalized(text: str) -> str:
  """Returns a dump of the syntax tree without docstrings; the text if it is not valid Python."""
  try:
    tree = ast.parse(text)
    for node in ast.walk(tree):
      body = getattr(node, 'body', None)
      if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
        body[:1] = [] if isinstance(body[0].value, ast.Constant) else body[:1]
    return ast.dump(tree)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return text
