"""What a coding agent finds in its sandbox besides the program: Python with jax, git, the network.

The agent runs this process's Python: `python`, `pip list`, `import jax` (on the CPU) and
`python -m autoresearch_jax check FOLDER`, which traces a program as the loop does. git has an
identity. Proxies and certificates are those of this process.
"""

import dataclasses
import os
import pathlib
import shutil
import sys

from autoresearch_jax.programs.check_task import TASK_VARIABLE
from autoresearch_jax.sandbox import command_files, tracer_policy

PROGRAMS = ('python', 'python3', 'pip', 'pip3', 'git')
PROXY_VARIABLES = tuple(
  written
  for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy')
  for written in (name, name.upper())
)
# Paths of certificates, as OpenSSL, requests, curl, node, git and pip name them.
CERTIFICATE_VARIABLES = (
  'SSL_CERT_FILE', 'SSL_CERT_DIR', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS',
  'GIT_SSL_CAINFO', 'PIP_CERT',
)  # fmt: skip
GIT_NAME, GIT_EMAIL = 'Coding agent', 'agent@localhost'
FIXED = {
  'JAX_PLATFORMS': 'cpu',  # the device belongs to the trials
  'PYTHONDONTWRITEBYTECODE': '1',  # most folders are read-only
  'PIP_DISABLE_PIP_VERSION_CHECK': '1',
  'GIT_CONFIG_NOSYSTEM': '1',
  'GIT_AUTHOR_NAME': GIT_NAME,
  'GIT_AUTHOR_EMAIL': GIT_EMAIL,
  'GIT_COMMITTER_NAME': GIT_NAME,
  'GIT_COMMITTER_EMAIL': GIT_EMAIL,
}


@dataclasses.dataclass(frozen=True)
class Toolbox:
  """Environment variables and readable paths of an agent.

  Attributes:
    environment: The variables.
    readable: The paths.
  """

  environment: dict[str, str]
  readable: tuple[str, ...]


def toolbox(packages: pathlib.Path, task: pathlib.Path, network: bool) -> Toolbox:
  """Returns what an agent needs for Python, jax, git and `autoresearch check`.

  Args:
    packages: A folder that the agent can read, where this library is linked to.
    task: File that describes the problem, for `autoresearch check`.
    network: Whether the agent has network access.
  """
  package = pathlib.Path(__file__).resolve().parents[2]
  link = packages / package.name
  packages.mkdir(exist_ok=True)
  if not link.is_symlink():
    link.symlink_to(package)
  python = str(pathlib.Path(sys.executable).parent)
  path = os.pathsep.join(filter(None, [python, os.environ.get('PATH', '')]))
  environment = {
    **FIXED,
    'PATH': path,
    'PYTHONPATH': str(packages),
    TASK_VARIABLE: str(task),
    **(_set(PROXY_VARIABLES) if network else {}),
    **_set(CERTIFICATE_VARIABLES),
  }
  programs = [name for name in PROGRAMS if shutil.which(name, path=path)]
  readable = {
    *command_files.required_files((sys.executable,)),
    *(file for name in programs for file in command_files.required_files((name,), path)),
    *tracer_policy.python_installation(),
    sys.prefix,
    str(package),
    *_set(CERTIFICATE_VARIABLES).values(),
  }
  return Toolbox(environment, tuple(sorted(readable)))


def secret_variables() -> dict[str, str]:
  """Returns the proxy variables that contain a user name or a password."""
  return {name: value for name, value in _set(PROXY_VARIABLES).items() if '@' in value}


def require_readable(files: tuple[str, ...]) -> None:
  """Raises ValueError for files of the option home_files that do not exist or cannot be read."""
  for path in map(os.path.expanduser, files):
    if not os.access(path, os.R_OK):
      raise ValueError(f'home_files names {path!r}, which does not exist or cannot be read.')


def seed_home(home: pathlib.Path, files: tuple[str, ...]) -> None:
  """Copies files and folders into an agent's home, at their place below the user's own.

  Raises:
    OSError: One cannot be copied.
  """
  own = pathlib.Path.home()
  for name in files:
    source = pathlib.Path(name).expanduser()
    inside = source.is_absolute() and source.is_relative_to(own)
    target = home / (source.relative_to(own) if inside else source.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
      shutil.copytree(source, target, dirs_exist_ok=True)
    else:
      shutil.copy(source, target)


def _set(names: tuple[str, ...]) -> dict[str, str]:
  return {name: os.environ[name] for name in names if os.environ.get(name)}
