"""The process in which candidates are played: `python -m autoresearch_jax.meta.player`.

Trusted: it knows the instances and runs no candidate's Python. An executor starts it, so that the
controller holds no instance, and may kill it at any time.

Protocol, JSON lines. First {"setup": PlayerSetup}, answered by {"ready": true}. Then each
{"play": PlayRequest} is answered by any number of {"progress": ...} and {"run": ...}, one for each
seed, and one {"done": PlayReply}.
"""

import os
import pathlib
import sys
from typing import Any

import msgspec

from autoresearch_jax.config import Limits
from autoresearch_jax.meta.client import ServerError, StrategyError
from autoresearch_jax.meta.play import Player
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.types import Isolation, Program, Status


class PlayerSetup(msgspec.Struct, frozen=True):
  """What a player needs to know before the first program.

  Attributes:
    options: Options of the problem `meta`.
    folder: Folder with the secret.
    limits: Limits of a candidate.
    hidden: Paths that candidates must never read.
    scratch: Folder for temporary files.
  """

  options: dict[str, Any]
  folder: str
  limits: Limits
  hidden: tuple[str, ...]
  scratch: str


class PlayRequest(msgspec.Struct, frozen=True):
  """A program to play.

  Attributes:
    program: The program.
    seeds: Training seeds.
    budget: Of a game, in training runs.
    on_test: Whether to play the held-out landscapes.
    known: Fingerprints of earlier programs and their trials; those are not played again.
  """

  program: Program
  seeds: tuple[int, ...]
  budget: float
  on_test: bool = False
  known: dict[str, int] = {}


class PlayReply(msgspec.Struct, frozen=True):
  """How a program's games ended.

  Attributes:
    status: `ok`, or why there are no measurements.
    reason: A sentence, '' when ok.
    fingerprint: Of the program.
    isolation: What the sandbox enforced.
    machine: Whether the machine is the cause.
  """

  status: Status
  reason: str = ''
  fingerprint: str = ''
  isolation: Isolation | None = None
  machine: bool = False


def main() -> None:
  """Serves requests on stdin with replies on stdout."""
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)

  def write(message: dict[str, Any]) -> None:
    replies.write(msgspec.json.encode(message).decode() + '\n')
    replies.flush()

  setup = msgspec.convert(msgspec.json.decode(sys.stdin.readline())['setup'], PlayerSetup)
  player = Player(
    PROBLEMS.make('meta', setup.options),
    pathlib.Path(setup.folder),
    setup.limits,
    tuple(map(pathlib.Path, setup.hidden)),
    pathlib.Path(setup.scratch),
  )
  write({'ready': True})
  try:
    for line in sys.stdin:
      request = msgspec.convert(msgspec.json.decode(line)['play'], PlayRequest)
      write({'done': _play(player, request, write)})
  finally:
    player.close()


def _play(player: Player, request: PlayRequest, write: Any) -> PlayReply:
  program, isolation, digest = request.program, None, ''
  try:
    with player.written(program) as folder:
      write({'progress': {'seed': 0, 'fraction': 0.0, 'phase': 'trace'}})
      isolation, digest = player.check(program, folder)
      if digest in request.known:
        return PlayReply(Status.DUPLICATE, '', digest, isolation)
      for seed in request.seeds:
        measurement = player.measure(
          program, folder, seed, request.budget, request.on_test,
          lambda share, seed=seed: write({'progress': {'seed': seed, 'fraction': share}}),
        )  # fmt: skip
        write({'run': measurement, 'fingerprint': digest})
  except StrategyError as error:
    return PlayReply(error.status, str(error), digest, isolation)
  except ServerError as error:
    return PlayReply(Status.CRASH, str(error), digest, isolation, machine=True)
  return PlayReply(Status.OK, '', digest, isolation)


if __name__ == '__main__':
  main()
