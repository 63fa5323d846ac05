"""Calls of the gcloud command, and the sentences for their failures."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

Say = Callable[[str], None]

NOT_FOUND = re.compile(r'NOT_FOUND|was not found|not be found', re.I)
CAPACITY = re.compile(
  r'ZONE_RESOURCE_POOL_EXHAUSTED|does not have enough resources|no more capacity|stockout|'
  r'not enough (resources|capacity)', re.I,
)  # fmt: skip
# What gcloud says -> what to do. The first pattern that matches counts. {message} is gcloud's.
_REMEDIES = (
  (
    r'quota (limit|metric)|quota.{0,60}exceeded|exceeded.{0,60}quota|QUOTA_EXCEEDED',
    'Google refuses more chips: the quota of this project is used up or zero ({message}) Ask for '
    'more at https://console.cloud.google.com/iam-admin/quotas, for this zone and for spot chips '
    '(preemptible) if you use --spot.',
  ),
  (
    r"on 'locations/|unknown zone|zone.{0,60}(does not exist|invalid|not found)|not available in "
    r"zone|Invalid value for field 'zone'|(machine|accelerator) type.{0,80}(not found|unsupported|"
    r'not available|does not exist)',
    'The zone does not exist or does not offer these chips ({message}) List the zones that do: '
    'gcloud compute tpus accelerator-types list --zone=ZONE, or '
    'https://cloud.google.com/tpu/docs/regions-zones.',
  ),
  (
    r'SERVICE_DISABLED|has not been used in project|API .{0,40}not enabled',
    'An interface is not enabled ({message}) Enable it: gcloud services enable tpu.googleapis.com '
    'compute.googleapis.com',
  ),
  (
    r'auth login|credential|UNAUTHENTICATED|do not currently have an active account',
    'gcloud has no account ({message}) Log in: gcloud auth login',
  ),
  (
    r'property \[(core/)?project\]|project.{0,20}not (set|specified)',
    'gcloud does not know the project ({message}) Set it: gcloud config set project PROJECT',
  ),
  (r'PERMISSION_DENIED|permission', 'This account may not do that ({message})'),
)


class GcloudError(Exception):
  """A call failed; the message says what to do.

  Attributes:
    text: What gcloud printed.
    permanent: Whether the same call will fail again until a person does something.
  """

  def __init__(self, sentence: str, text: str = '', permanent: bool = False):
    super().__init__(sentence)
    self.text, self.permanent = text, permanent


def explained(text: str) -> str:
  """Returns a sentence for what gcloud printed, or what a request failed with."""
  lines = [line.strip() for line in text.splitlines() if line.strip()] or ['no message']
  telling = [line for line in lines if line.startswith('ssh:')]
  telling += [line for line in lines if line.startswith('ERROR')] or lines[-1:]
  if telling[0].endswith(':'):
    telling[0] += f' {lines[-1].lstrip("- ")}'
  message = re.sub(r'^ERROR: \([\w.-]+\) ', '', telling[0])[:300].rstrip('.') + '.'
  if remedy := _remedy(text):
    return remedy.format(message=message)
  return f'gcloud failed: {message}'


def _remedy(text: str) -> str:
  """The sentence for a failure that only a person can mend; '' for others."""
  found = (sentence for pattern, sentence in _REMEDIES if re.search(pattern, text, re.I))
  return next(found, '')


class Gcloud:
  """Runs gcloud.

  Args:
    project: Project of Google Cloud; '' for gcloud's own setting.
    say: Receives messages.
  """

  dry = False

  def __init__(self, project: str = '', say: Say = print):
    self._project, self.say = project, say

  def command(self, *arguments: str) -> list[str]:
    """Returns the complete command line."""
    wide = [f'--project={self._project}'] if self._project else []
    return ['gcloud', *arguments, *wide, '--quiet']

  def run(self, *arguments: str, timeout: float = 1800.0) -> str:
    """Returns what the call prints to stdout. Raises GcloudError."""
    command = self.command(*arguments)
    try:
      done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL,
      )  # fmt: skip
    except FileNotFoundError:
      raise GcloudError(
        'gcloud is not installed: https://cloud.google.com/sdk/docs/install', permanent=True
      ) from None
    except subprocess.TimeoutExpired:
      raise GcloudError(f'gcloud did not end within {timeout:g} s: {shlex.join(command)}') from None
    if done.returncode:
      text = done.stderr.strip() or done.stdout.strip()
      raise GcloudError(explained(text), text, bool(_remedy(text)))
    return done.stdout

  def describe(self, *arguments: str) -> dict[str, Any] | None:
    """Returns what a `describe` call prints, as JSON; None if there is no such resource."""
    try:
      return json.loads(self.run(*arguments, '--format=json'))
    except GcloudError as error:
      if NOT_FOUND.search(error.text):
        return None
      raise


class DryRun(Gcloud):
  """Prints each call instead of making it, and answers as in a night in which all goes well."""

  dry = True

  def __init__(self, project: str = '', say: Say = print):
    super().__init__(project, say)
    self._existing: set[str] = set()

  def run(self, *arguments: str, timeout: float = 1800.0) -> str:
    self.say(shlex.join(self.command(*arguments)))
    if 'create' in arguments:
      self._existing.add(arguments[arguments.index('create') + 1])
    if 'delete' in arguments:
      self._existing.discard(arguments[arguments.index('delete') + 1])
    if any('systemctl show' in argument for argument in arguments):
      return 'ActiveState=inactive\nResult=success\nExecMainStatus=0\n'
    return ''

  def describe(self, *arguments: str) -> dict[str, Any] | None:
    self.run(*arguments, '--format=json')
    if arguments[arguments.index('describe') + 1] not in self._existing:
      return None
    return {'state': {'state': 'ACTIVE'}, 'status': 'RUNNING'}
