"""nanochat's depth dial: width, batch, learning rates, decay and tokens all follow from the depth.

  autoresearch prepare --vocab_size=32768 --shards=100
  python -m autoresearch_jax.main --config=configs/nanochat.py:d12
  python -m autoresearch_jax.main --config=configs/nanochat.py:d4     # on a CPU: a small setting

Variants: `d4`, `d6`, ... `d26`, every even depth; `d12` is the default. They are for the platform
that JAX finds, or for that of their end, as in `d12_tpu` (also _gpu, _cpu). On a CPU the vocabulary
is 4096, the text the one that ships with Python, a batch 16 rows of 512 tokens, to which rates and
decay are scaled as well, and a trial trains for 60 seconds.

Source: https://github.com/karpathy/nanochat/discussions/481 and scripts/base_train.py (January to
March 2026). Width 64 · depth, heads of 128, vocabulary 32,768. Scaling parameters are those of the
blocks' matrices and the head; a model trains on 10.5 tokens for each. At depth 12 a batch has 2^19
tokens; others have them to the power 0.383 of the ratio of training tokens, rounded to a power of
2. Rates follow the square root of the batch, and decay that and the inverse of the tokens (T_epoch,
arXiv 2405.13698).
Published: 286,262,424 parameters at depth 12 and 1,384,124,976 at depth 24; 4.945e9 FLOPs per token
there.
Hardware: cpu two cores; gpu an H100 (80 GB); tpu a v6e or v5e.
Time: d12 trains for 40 minutes on an H100 (published: 5 minutes on eight).
"""

import math

from ml_collections import ConfigDict

from autoresearch_jax.executors import probe

DEPTHS = (4, *range(6, 27, 2))
VOCABULARY, SEQUENCE = 32_768, 2048
CPU_ROWS, CPU_SEQUENCE = 16, 512  # of a batch
WIDTH_PER_LAYER = 64
REFERENCE_DEPTH, REFERENCE_BATCH = 12, 2**19  # at which rates and decay were tuned; tokens
TOKENS_PER_PARAMETER = 10.5


def scaling_parameters(depth: int) -> int:
  """Parameters of the blocks' matrices, with the gates of value embeddings, and the head."""
  width = WIDTH_PER_LAYER * depth
  heads = math.ceil(width / 128)
  return depth * 12 * (heads * 128) ** 2 + depth // 2 * 32 * heads + VOCABULARY * heads * 128


def get_config(variant: str = 'd12') -> ConfigDict:  # noqa: PLR0915 - one statement per field
  """Returns the config of a run; the module's docstring describes the variants."""
  variant, _, platform = (variant or 'd12').partition('_')
  platform = platform or probe.platform()
  if variant not in [f'd{depth}' for depth in DEPTHS] or platform not in ('cpu', 'gpu', 'tpu'):
    names = ', '.join(f'd{depth}' for depth in DEPTHS)
    raise ValueError(
      f'There is no variant {variant!r} for {platform!r}; there are: {names}, with _cpu, _gpu or '
      '_tpu after it or without.'
    )
  depth = int(variant[1:])
  cpu = platform == 'cpu'
  tokens = int(TOKENS_PER_PARAMETER * scaling_parameters(depth))
  relative = scaling_parameters(depth) / scaling_parameters(REFERENCE_DEPTH)
  batch = 2 ** round(math.log2(REFERENCE_BATCH * relative**0.383))  # tokens
  batch = CPU_ROWS * CPU_SEQUENCE if cpu else batch
  rate = math.sqrt(batch / REFERENCE_BATCH)
  c = ConfigDict()

  c.name = f'nanochat_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = platform  # asserted: a run never silently falls back to another platform
  c.seed = 0  # root seed of the search; the training seeds are part of each proposal

  c.metric = 'val_bpb'  # bits per byte on the validation split; or val_loss, nats per token
  c.constraints = ConfigDict()  # such as {'parameters': '<= 300_000_000'}

  c.program = 'gpt'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = 'model.py'  # the file that defines init, train_step and predict
  c.editable = ('model.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants
  c.constants.DEPTH = depth  # transformer blocks; width = 64 * DEPTH
  c.constants.BATCH_SIZE = CPU_ROWS if cpu else batch // SEQUENCE  # sequences per train step
  if not cpu:
    c.constants.MICRO_BATCH_SIZE = 32 if platform == 'gpu' else 4  # determines the memory
  # Rates before the square root of width / 768, which the program applies to those of Adam.
  c.constants.EMBEDDING_LR = 0.3 * rate
  c.constants.UNEMBEDDING_LR = 0.004 * rate
  c.constants.MATRIX_LR = 0.02 * rate
  c.constants.SCALAR_LR = 0.5 * rate
  c.constants.WEIGHT_DECAY = 0.2 * rate / relative

  # Training budget of a trial; compilation does not count.
  c.budget = ConfigDict()
  c.budget.amount = 60.0 if cpu else float(tokens // batch * batch)  # in the unit below
  c.budget.unit = 'seconds' if cpu else 'tokens'

  c.problem = 'language_model'
  c.data = ConfigDict()
  c.data.corpus = 'python' if cpu else 'climbmix'  # nanochat's since March 2026
  c.data.vocab_size = 4096 if cpu else VOCABULARY
  c.data.sequence_length = CPU_SEQUENCE if cpu else SEQUENCE
  c.data.validation_tokens = 2**15 if cpu else 40 * 2**19  # scored after each training run
  c.data.test_tokens = 2**15 if cpu else 10 * 2**19  # scored in the final evaluation only
  c.data.evaluation_batch = 8 if cpu else 32  # rows per call of predict
  c.data.shards = 100  # training shards of climbmix

  c.search = ConfigDict()
  c.search.strategy = 'speculative'  # wraps tree; greedy is the original's
  c.search.options = ConfigDict()
  c.search.max_trials = 0  # trials, including the baseline; 0: until stopped
  c.search.prefetch = 1  # trials prepared while others run

  c.proposer = 'auto'  # a language model if a key is set, else mutate
  c.proposer_options = ConfigDict()

  c.acceptance = 'paired'  # runs promising programs and the incumbent in turns
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 3  # training runs of the baseline
  c.acceptance_options.min_gain = 1.0  # smaller gains, in seed deviations, end a test

  c.executor = 'local'  # on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 0 if platform == 'gpu' else 1  # 0: one trial per device
  c.executor_options.compile_ahead = platform == 'tpu'  # compile the next program meanwhile

  c.final_seeds = 2  # training runs per program in the final evaluation

  c.limits = ConfigDict()
  c.limits.trace_seconds = 300.0  # wall-clock time of a trace
  c.limits.compile_seconds = 900.0
  c.limits.step_seconds = 120.0  # longest time without a message: one step, or a batch of predict
  return c.lock()
