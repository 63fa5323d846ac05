"""A speedrun, as in modded-nanogpt: the training time until the validation loss reaches a target.

  autoresearch prepare --corpus=fineweb --shards=40
  python -m autoresearch_jax.main --config=configs/speedrun.py         # to 3.28 on FineWeb
  python -m autoresearch_jax.main --config=configs/speedrun.py:cpu     # a small model, on two cores

Variants: `cpu`, `gpu`, `tpu`; `auto` (default) is the platform that JAX finds. A trial trains until
the loss on the whole validation split is at most the target, and has failed if the budget is used
up before. Checks are 1 % of the budget apart and stop the clock. `progress` is the used part of the
budget, so when a schedule should end is a constant like others (WARMDOWN_RATIO).

Source: https://github.com/KellerJordan/modded-nanogpt (2024): 124M parameters of GPT-2's shape, the
first 10,485,760 validation tokens of FineWeb, loss 3.28. Its clock excludes evaluation, too. The
starting program is this library's GPT at that depth and width, not one of its records.
Data: gpu and tpu need the tokens of FineWeb, 200 MB a shard; cpu uses the text that ships with
Python, so its figures only compare for one version of Python.
Hardware: cpu two cores; gpu eight H100, which share a batch; tpu a v6e-8 or v5e-8.
Time: cpu 15 s a training run; not run on accelerators here.
"""

from ml_collections import ConfigDict

from autoresearch_jax.executors import probe

BATCH_TOKENS, SEQUENCE = 2**19, 1024


def get_config(variant: str = 'auto') -> ConfigDict:  # noqa: PLR0915 - one statement per field
  """Returns the config of a run; the module's docstring describes the variants."""
  variant = probe.platform() if variant in ('auto', '') else variant
  if variant not in ('cpu', 'gpu', 'tpu'):
    raise ValueError(f'There is no variant {variant!r}; there are: auto, cpu, gpu, tpu.')
  cpu = variant == 'cpu'
  c = ConfigDict()

  c.name = f'speedrun_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = variant  # asserted: a run never silently falls back to another platform
  c.seed = 0  # root seed of the search; the training seeds are part of each proposal

  # What it takes to reach the target below; or steps, tokens, flops, which no clock disturbs.
  c.metric = 'training_seconds'
  c.constraints = ConfigDict()  # such as {'parameters': '<= 200_000_000'}

  c.budget = ConfigDict()
  c.budget.target_loss = 4.0 if cpu else 3.28  # val_loss, in nats per token
  c.budget.amount = 30.0 if cpu else 7200.0  # after which a trial has failed, in the unit below
  c.budget.unit = 'seconds'  # or steps, tokens, flops

  c.program = 'gpt'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants
  c.constants.DEPTH = 2 if cpu else 12  # transformer blocks
  c.constants.ASPECT_RATIO = 64  # width = DEPTH * ASPECT_RATIO
  c.constants.HEAD_DIM = 64 if cpu else 128
  c.constants.BATCH_SIZE = 8 if cpu else BATCH_TOKENS // SEQUENCE  # sequences per train step
  if not cpu:
    c.constants.MICRO_BATCH_SIZE = 256 if variant == 'gpu' else 32  # determines the memory

  c.problem = 'language_model' if cpu else 'fineweb'
  c.data = ConfigDict()
  if cpu:
    c.data.corpus = 'python'  # the text that ships with Python
    c.data.vocab_size = 1024  # byte-pair tokens, including the four special ones
  else:
    c.data.shards = 40  # training shards of 100 million tokens
  c.data.sequence_length = 256 if cpu else SEQUENCE  # tokens per row
  c.data.validation_tokens = 2**14 if cpu else 20 * BATCH_TOKENS
  c.data.test_tokens = 2**15 if cpu else 10 * BATCH_TOKENS  # scored in the final evaluation only
  c.data.evaluation_batch = 16 if cpu else 64  # rows per call of predict

  c.search = ConfigDict()
  c.search.strategy = 'speculative'  # wraps tree; greedy is the original's
  c.search.options = ConfigDict()
  c.search.max_trials = 0  # trials, including the baseline; 0: until stopped
  c.search.prefetch = 1  # trials prepared while others run

  c.proposer = 'auto'  # a language model if a key is set, else mutate
  c.proposer_options = ConfigDict()

  c.acceptance = 'paired'  # runs promising programs and the incumbent in turns, as seconds drift
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 5 if cpu else 3  # training runs of the baseline
  c.acceptance_options.min_gain = 1.0  # smaller gains, in seed deviations, end a test

  c.pruning = False  # compares equal parts of the budget, which a fast program does not train

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 1  # all devices share a batch, as in the original

  c.final_seeds = 4 if cpu else 2  # training runs per program in the final evaluation

  c.limits = ConfigDict()
  c.limits.trace_seconds = 60.0 if cpu else 300.0  # wall-clock time of a trace
  c.limits.compile_seconds = 300.0 if cpu else 900.0
  c.limits.step_seconds = 60.0 if cpu else 120.0  # longest time without a message
  return c.lock()
