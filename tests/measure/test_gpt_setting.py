"""The formulas for FLOPs and parameters describe the program that is really exported."""

import pytest

from autoresearch_jax.artifact import reader as artifacts
from autoresearch_jax.config import from_config_dict, load
from autoresearch_jax.measure import gpt_setting
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.research.build import build_task


@pytest.fixture(scope='module')
def traced(tmp_path_factory):
  config = from_config_dict(load('gpt_small:gpu'))
  program = starting_program(config)
  out = tmp_path_factory.mktemp('traced') / 'artifact'
  isolation = gpt_setting.trace(config, program, 1, out)
  model = gpt_setting.GptShape.of(program, build_task(config).spec)
  return artifacts.read(out, config.limits), model, isolation


def test_the_gpu_variant_comes_out_of_the_sandbox_with_its_kernels(traced):
  artifact, _, isolation = traced
  assert isolation.files and isolation.network
  calls = [dict(op.attributes).get('call_target_name') for op in artifact.graphs[1].ops()]
  assert calls.count('"__cudnn$fmhaSoftmax"') == calls.count('"__cudnn$fmhaSoftmaxBackward"') > 0


def test_parameters_and_flops_are_those_of_the_module(traced):
  """The module's 16-bit products are the model's; the float32 ones are Muon's."""
  artifact, model, _ = traced
  assert artifact.parameters == model.parameters
  assert artifact.matmul_dtypes['bfloat16'] == pytest.approx(model.needed(), rel=1e-3)
  assert artifact.matmul_dtypes['float32'] < 0.01 * model.needed()


def test_the_original_counts_whole_windows(traced):
  """239 MFLOP a token: what 953 steps in 300 s on an H100 need for the original's 39.8 %."""
  _, model, _ = traced
  second = 300 / gpt_setting.ORIGINAL_STEPS
  mfu = 100 * model.original() / second / 989.5e12
  assert mfu == pytest.approx(gpt_setting.ORIGINAL_MFU, rel=0.02)
  assert model.step_tokens == gpt_setting.ORIGINAL_BATCH_TOKENS
