"""The nodes of a Ray cluster, which `ray.cluster_utils` starts on this machine."""

import importlib.util
import pathlib

import pytest
from helpers import machines
from helpers.executor_contract import ExecutorContract, as_program, make_executor
from helpers.tiny_language import STEPS, program

from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.types import Progress, Result, Status, TrialRequest

pytestmark = [
  pytest.mark.slow,
  pytest.mark.filterwarnings('ignore'),
  pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='needs the extra cluster'),
]
SLOW = 'gradient = jax.lax.fori_loop(0, 1000, lambda i, g: g + 1e-9 * jnp.sin(g @ g), gradient)'
OPTIONS = {'resource': 'trials'}


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
  """A head that takes no trials, and two nodes that do, with token authentication."""
  folder = tmp_path_factory.mktemp('ray')
  machines.install_problem(folder / 'site')
  tests = pathlib.Path(__file__).parents[1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('PYTHONPATH', f'{folder / "site"}:{tests}')
    patch.setenv('AUTORESEARCH_JAX_CACHE', str(folder / 'cache'))
    patch.setenv('RAY_AUTH_MODE', 'token')
    patch.setenv('RAY_AUTH_TOKEN', 'a' * 32)
    patch.setenv('RAY_DISABLE_IMPORT_WARNING', '1')
    from ray import cluster_utils  # noqa: PLC0415 - it reads the environment when it is imported

    made = cluster_utils.Cluster(
      initialize_head=True,
      head_node_args={'num_cpus': 0, 'include_dashboard': False, 'object_store_memory': 100 << 20},
    )
    for _ in range(2):
      add_node(made)
    yield made
    made.shutdown()


def add_node(cluster):
  return cluster.add_node(num_cpus=1, resources={'trials': 1}, object_store_memory=100 << 20)


@pytest.fixture(scope='module')
def executor(cluster, tmp_path_factory):
  folder = tmp_path_factory.mktemp('executor')
  made = make_executor('ray', {'address': cluster.address, **OPTIONS}, folder)
  yield made
  made.close()


class TestContract(ExecutorContract):
  pass


def test_a_node_that_is_killed_while_it_trains_costs_that_trial_nothing(cluster, executor):
  """Stays the last test of this file, since it changes the cluster."""
  assert executor.slots == 2
  node = add_node(cluster)
  events, deadline = [], 240

  def until(condition):
    nonlocal deadline
    while not condition():
      events.extend(executor.wait(1.0))
      deadline -= 1
      assert deadline

  until(lambda: executor.slots == 3)
  for trial in range(3):
    text = program(step=SLOW, scale=0.1 + 0.01 * trial)
    executor.submit(TrialRequest(trial, as_program(text), (0,), STEPS))
  until(lambda: {e.trial for e in events if isinstance(e, Progress) and e.phase == 'train'})
  cluster.remove_node(node, allow_graceful=False)
  until(lambda: sum(isinstance(e, Result) for e in events) == 3)
  until(lambda: executor.slots == 2)
  assert {e.status for e in events if isinstance(e, Result)} == {Status.OK}


def test_a_cluster_without_token_authentication_is_refused(monkeypatch):
  monkeypatch.delenv('RAY_AUTH_MODE', raising=False)
  executor = EXECUTORS.get('ray')
  with pytest.raises(ValueError, match='token'):
    executor.require_options('cpu', {})
  executor.require_options('cpu', {'require_token': False})
