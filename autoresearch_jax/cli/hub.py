"""`autoresearch hub`: serves findings to several machines over HTTP."""

import contextlib
import importlib.util
import pathlib
import sys
from collections.abc import Sequence

from autoresearch_jax.cli.command import Command, CommandLine, Option
from autoresearch_jax.findings.finding import FindingError
from autoresearch_jax.findings.hub_store import TOKEN_VARIABLE
from autoresearch_jax.messages import say
from autoresearch_jax.service.hub_database import HubDatabase, HubQuotas

FIRST_TOKEN = 'first'
COMMAND = Command(
  'hub',
  'Serve findings to several machines over HTTP.',
  """
  Keeps findings in FOLDER/hub.db and serves them to `autoresearch share` and `autoresearch learn`.
  Findings are only added, never changed or removed. What is added is checked for form, signature
  and digests, and nothing of it is executed or believed.

  Every request needs a token. The first one is printed when the hub is started for the first time;
  the hub stores digests only. There is no encryption: on other interfaces than the loopback, put
  it behind a proxy with TLS, or use ssh -L.
  """,
  (
    Option('port', 'The port; 0 for any that is free.', 8740, minimum=0, maximum=65535),
    Option('host', 'The interface: its name or address, 0.0.0.0 for all.', '127.0.0.1'),
    Option('open_reading', 'Reading needs no token.', False),
    Option('findings_a_day', 'How many a key, and a token, may add.', HubQuotas.findings, minimum=1,
           value='N'),
    Option('megabytes_a_day', 'How much a token may add, in MiB.', HubQuotas.megabytes, minimum=1,
           value='N'),
    Option('add_token', 'Make and print a token of this name, and end.', '', value='NAME'),
    Option('revoke_token', 'Make the token of this name void, and end.', '', value='NAME'),
  ),
  operand='FOLDER',
  examples={
    'autoresearch hub hub': 'On this machine.',
    'autoresearch hub hub --add_token=lab': 'A token for somebody else.',
    'autoresearch learn http://localhost:8740': f'Reads it, with {TOKEN_VARIABLE} set.',
  },
  exit_codes={
    '0': 'Done, or stopped by Ctrl-C.',
    '2': 'Invalid input, the port is taken, or a package is missing.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_hub, arguments, (FindingError, OSError))


def _hub(line: CommandLine) -> int:
  folder = pathlib.Path(line.operand)
  quotas = HubQuotas(line['findings_a_day'], line['megabytes_a_day'])
  with contextlib.closing(HubDatabase(folder, quotas)) as database:
    if line['add_token']:
      say(database.add_token(line['add_token']))
      return 0
    if line['revoke_token']:
      database.revoke_token(line['revoke_token'])
      return 0
    if not all(map(importlib.util.find_spec, ('starlette', 'uvicorn'))):
      raise FindingError(
        "The hub needs packages that are not installed: pip install 'autoresearch_jax[hub]'. A "
        'folder or a git repository can be a store without them.'
      )
    from autoresearch_jax.service.hub import serve_hub  # noqa: PLC0415 - needs an extra

    if not database.token_names():
      token = database.add_token(FIRST_TOKEN)
      say(f'Token {FIRST_TOKEN!r}, shown only now: export {TOKEN_VARIABLE}={token}')
    with contextlib.suppress(KeyboardInterrupt):
      serve_hub(
        database, line['host'], line['port'], line['open_reading'], lambda a: say(f'Hub: {a}')
      )
    say('The hub is closed.')
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
