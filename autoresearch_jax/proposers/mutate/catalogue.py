"""Changes of structure that `mutate` tries, as data: what may stand where, and why.

Most fit the GPT program, some any program with a function `activation`, a schedule or an optax
optimizer. Weights: high where small models trained for a short time are known to gain (token
shifts, gating, schedules), low where a change mostly costs quality for speed.
"""

from autoresearch_jax.proposers.mutate.structure import (
  Alternative,
  Alternatives,
  Belief,
  Line,
  Swap,
  Toggle,
)

ACTIVATION = Alternatives(
  'activation',
  'activation',
  'return',
  (
    Alternative(
      'jnp.square(jax.nn.relu(x))',
      'squared ReLU',
      'Squared ReLU is sparse and steep, which was best in the search behind Primer.',
    ),
    Alternative('jax.nn.gelu(x)', 'GELU', 'GELU lets small negative inputs through.'),
    Alternative('jax.nn.silu(x)', 'SiLU', 'SiLU is smooth, so that larger steps stay stable.'),
    Alternative('jax.nn.relu(x)', 'ReLU', 'ReLU is the cheapest, and keeps the scale of x.'),
    Alternative(
      'jnp.square(jax.nn.leaky_relu(x, 0.5))',
      'squared leaky ReLU',
      'Units that are off still learn, and the output stays steep.',
    ),
    Alternative(
      'x * jax.nn.relu(x) + 0.1 * x',
      'squared ReLU with a linear leak',
      'A linear path through every unit carries gradients early on.',
    ),
    Alternative('jnp.tanh(x)', 'tanh', 'A bounded activation bears higher rates.', 0.3),
  ),
  Belief(('activation', 'mlp'), weight=0.5, effect=(0.0, 0.01)),
)

SCHEDULES = (
  Alternative(
    'jnp.minimum(left, 1.0)', 'linear', 'A linear way down needs no tuning and ends at nothing.'
  ),
  Alternative(
    '(0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(left, 1.0)))',
    'cosine',
    'A cosine spends longer at high and at low rates than a line does.',
  ),
  Alternative(
    '(1 - jnp.sqrt(1 - jnp.minimum(left, 1.0)))',
    '1 - sqrt',
    'A steep start of the way down and a long tail suit short cool-downs (arXiv 2405.18392).',
  ),
  Alternative(
    'jnp.square(jnp.minimum(left, 1.0))',
    'square',
    'Low rates for longer average more of the noise away.',
  ),
  Alternative(
    'jnp.sqrt(jnp.minimum(left, 1.0))',
    'square root',
    'High rates for longer get farther before the end.',
  ),
)

NORMALISED = 'rotate(norm(q), rotary), rotate(norm(k), rotary)'

GENERAL = (
  ACTIVATION,
  Alternatives(
    'schedule',
    'schedule',
    '',
    SCHEDULES,
    Belief(('schedule',), weight=0.6, effect=(0.001, 0.005)),
    needs=('WARMDOWN_RATIO',),
  ),
  Alternatives(
    'AdamW',
    'make_optimizer',
    '',
    (
      Alternative('optax.adamw', 'AdamW', 'Plain AdamW is the safe choice.'),
      Alternative('optax.nadamw', 'NAdamW', 'Looking one step ahead speeds short runs up.'),
      Alternative('optax.lion', 'Lion', 'Steps of equal size need no second moment.', 0.3),
    ),
    Belief(('optimizer',), weight=0.8, effect=(0.005, 0.03)),
  ),
  Alternatives(
    'Adam',
    'make_optimizer',
    'adam =',
    (
      Alternative(
        'optax.scale_by_adam(ADAM_BETA1, ADAM_BETA2, ADAM_EPS)',
        'Adam',
        'Plain Adam is the safe choice.',
      ),
      Alternative(
        'optax.scale_by_adam(ADAM_BETA1, ADAM_BETA2, ADAM_EPS, nesterov=True)',
        'NAdam',
        'Looking one step ahead speeds short runs up.',
      ),
      Alternative(
        'optax.scale_by_belief(ADAM_BETA1, ADAM_BETA2, ADAM_EPS)',
        'AdaBelief',
        'Steps adapt to how gradients surprise.',
        0.5,
      ),
    ),
    Belief(('optimizer',), weight=0.4, effect=(0.001, 0.005)),
  ),
)

MLP_PROGRAM = (
  Alternatives(
    'hidden layers',
    'MLP.__call__',
    'x =',
    (
      Alternative('activation(layer(x))', 'plain', 'Layers of their own are all it takes.'),
      Alternative(
        'activation(layer(x)) + (x if i else 0)',
        'residual',
        'A path around each layer carries the gradients to the first one.',
      ),
      Alternative(
        'activation(jax.nn.standardize(layer(x)))',
        'layer norm before the activation',
        'Normed inputs keep all units in use and bear higher rates.',
      ),
    ),
    Belief(('residual', 'norm'), weight=1.0, effect=(0.01, 0.05)),
  ),
  Alternatives(
    'initial weights',
    'Linear.__init__',
    '',
    (
      Alternative('(2 / inputs) ** 0.5', 'He', 'He keeps the scale of activations under ReLU.'),
      Alternative('(1 / inputs) ** 0.5', 'LeCun', 'Smaller weights start simpler.'),
      Alternative('(4 / inputs) ** 0.5', 'twice He', 'Larger weights tell inputs apart sooner.'),
    ),
    Belief(('initialisation',), weight=0.5, effect=(0.0, 0.03)),
  ),
  Toggle(
    'input noise',
    (
      Swap(
        'train_step',
        'jax.value_and_grad(mean_loss)(state.model, batch, dropout_key)',
        'jax.value_and_grad(mean_loss)(state.model, {**batch, '
        "'inputs': batch['inputs'] + 0.1 * jax.random.normal(key, batch['inputs'].shape)}, "
        'dropout_key)',
      ),
    ),
    'Noise on the inputs makes more examples out of few.',
    'Noise on the inputs hides what tells the classes apart.',
    Belief(('regularisation', 'data'), weight=0.6, effect=(0.01, 0.04)),
  ),
)

PACKING_PROGRAM = (
  Alternatives(
    'growth of the penalty',
    'penalty',
    'return',
    (
      Alternative(
        'PENALTY_START * (PENALTY_END / PENALTY_START) ** progress',
        'geometric',
        'A penalty that grows by a factor leaves the circles free for long.',
      ),
      Alternative(
        'PENALTY_START + (PENALTY_END - PENALTY_START) * progress',
        'linear',
        'Circles that may not overlap early on settle sooner.',
      ),
      Alternative(
        'PENALTY_START * (PENALTY_END / PENALTY_START) ** jnp.minimum(2 * progress, 1.0)',
        'geometric, over the first half',
        'A penalty that stands still lets the last steps finish the work.',
      ),
    ),
    Belief(('penalty', 'schedule'), weight=1.0, effect=(0.0, 0.01)),
  ),
  Alternatives(
    'cost of an overlap',
    'cost',
    'return',
    (
      Alternative('jnp.square(overlap)', 'square', 'Squares are smooth where circles touch.'),
      Alternative(
        'overlap ** 1.5', 'power 1.5', 'Small overlaps that cost more leave less to shrink.'
      ),
      Alternative(
        'overlap * jnp.minimum(overlap, 0.02)',
        'square, then linear',
        'Circles pass through each other when deep overlaps do not push harder.',
      ),
    ),
    Belief(('penalty', 'loss'), weight=1.0, effect=(0.0, 0.01)),
  ),
  Alternatives(
    'starting centres',
    'start_centres',
    'return',
    (
      Alternative(
        'jax.random.uniform(key, shape, minval=START_MARGIN, maxval=1 - START_MARGIN)',
        'uniform',
        'Uniform starts favour nothing.',
      ),
      Alternative(
        'START_MARGIN + (1 - 2 * START_MARGIN) * jax.random.beta(key, 0.7, 0.7, shape)',
        'denser at the sides',
        'Good packings have many circles along the sides.',
      ),
    ),
    Belief(('initialisation',), weight=0.6, effect=(0.0, 0.01)),
  ),
  Alternatives(
    'optimizer of the circles',
    'make_optimizer',
    'return',
    (
      Alternative('optax.adam(LEARNING_RATE, *ADAM_BETAS)', 'Adam', 'Adam is the safe choice.'),
      Alternative(
        'optax.nadam(LEARNING_RATE, *ADAM_BETAS)',
        'NAdam',
        'Looking one step ahead speeds short runs up.',
      ),
      Alternative(
        'optax.adabelief(LEARNING_RATE, *ADAM_BETAS)',
        'AdaBelief',
        'Steps shrink where gradients surprise, as they do where circles meet.',
      ),
    ),
    Belief(('optimizer',), weight=0.8, effect=(0.0, 0.01)),
  ),
)

GPT_BLOCK = (
  Alternatives(
    'block',
    'Block.__call__',
    'return',
    (
      Alternative('x + self.mlp(norm(x))', 'norm before the MLP', 'Pre-norm trains most stably.'),
      Alternative(
        'norm(x + self.mlp(x))',
        'norm after the MLP',
        'Normed outputs keep the stream from growing over depth.',
      ),
      Alternative(
        'x + norm(self.mlp(norm(x)))',
        'norm before and after the MLP',
        'Blocks that all add the same length share the work (Gemma 2).',
        0.5,
      ),
    ),
    Belief(('norm', 'mlp'), weight=0.3, effect=(-0.005, 0.01)),
  ),
  Toggle(
    'parallel attention and MLP',
    (
      Swap(
        'Block.__call__',
        'x + self.attention(norm(x), value, rotary, window, platform)',
        'x + self.attention(norm(x), value, rotary, window, platform) + self.mlp(norm(x))',
        'x =',
      ),
      Swap('Block.__call__', 'x + self.mlp(norm(x))', 'x', 'return'),
    ),
    'Attention and MLP of one input need one norm and can run side by side (GPT-J).',
    'The MLP should see what attention found.',
    Belief(('norm', 'mlp', 'attention'), weight=0.3, effect=(-0.003, 0.008)),
  ),
  Alternatives(
    'norm of the embedding',
    'GPT.__call__',
    'x =',
    (
      Alternative(
        'norm(look_up(self.embedding[...], tokens_BxT).astype(dtype))',
        'on',
        'Tokens enter the stream at one length.',
      ),
      Alternative(
        'look_up(self.embedding[...], tokens_BxT).astype(dtype)',
        'off',
        'The length of an embedding can say how much a token matters.',
      ),
    ),
    Belief(('norm', 'embedding'), weight=0.2, effect=(-0.002, 0.006)),
  ),
  Alternatives(
    'norm',
    'norm',
    'wide =',
    (
      Alternative('x.astype(jnp.float32)', 'RMS', 'The mean carries information.'),
      Alternative(
        'x.astype(jnp.float32) - jnp.mean(x.astype(jnp.float32), axis=-1, keepdims=True)',
        'centred',
        'Without its mean, a vector is all difference (layer norm).',
      ),
    ),
    Belief(('norm',), weight=0.15, effect=(-0.002, 0.004)),
  ),
  Alternatives(
    'embedding that enters every block',
    'GPT.__call__',
    'first =',
    (
      Alternative('x', "the token's own", 'Blocks can find the previous token by themselves.'),
      Alternative(
        'x.at[:, 1:].add(0.5 * x[:, :-1])',
        'with half of the previous one',
        'A token that brings its predecessor along saves the first layer a bigram head.',
      ),
    ),
    Belief(('embedding', 'token shift'), weight=1.2, effect=(0.005, 0.01)),
  ),
)

GPT_ATTENTION = (
  Alternatives(
    'norm of queries and keys',
    'Attention.__call__',
    'q, k =',
    (
      Alternative(NORMALISED, 'on', 'Scores of bounded size bear high rates.'),
      Alternative(
        '1.2 * rotate(norm(q), rotary), 1.2 * rotate(norm(k), rotary)',
        'times 1.2',
        'Normed queries and keys make attention too flat; a factor sharpens it.',
        2.0,
      ),
      Alternative(
        '1.5 * rotate(norm(q), rotary), rotate(norm(k), rotary)',
        'queries times 1.5',
        'Normed queries and keys make attention too flat; a factor sharpens it.',
      ),
      Alternative(
        'rotate(q, rotary), rotate(k, rotary)',
        'off',
        'Attention should choose its own sharpness.',
        0.5,
      ),
    ),
    Belief(('attention', 'norm'), weight=0.5, effect=(0.001, 0.005)),
  ),
  Toggle(
    'a share of the previous position in keys',
    (Line('Attention.__call__', 'q, k', 'k = k.at[:, 1:].add(0.5 * k[:, :-1])'),),
    'Keys that know what came before make induction possible in one layer.',
    'Keys should stand for their own position alone.',
    Belief(('attention', 'token shift'), weight=1.5, effect=(0.005, 0.01)),
  ),
  Toggle(
    'an output gate a head',
    (
      Line(
        'Attention.__init__',
        'self.out',
        'self.gate = nnx.Param(jnp.zeros((*qkv.shape[1:3], qkv.shape[3] // HEAD_DIM)))',
      ),
      Line(
        'Attention.__call__',
        'y',
        'y = y * (2 * jax.nn.sigmoid(linear(x, self.gate[...])))[..., None]',
      ),
    ),
    'A gate lets a head say nothing, which softmax cannot (arXiv 2505.06708).',
    'Gates cost time, and the value embeddings are gated already.',
    Belief(('attention', 'gating'), weight=1.0, effect=(0.003, 0.008)),
  ),
  Alternatives(
    'short window',
    'window_of',
    '',
    (
      Alternative('sequence_length // 2', 'half', 'Half the context is short enough.'),
      Alternative(
        'sequence_length // 4',
        'a quarter',
        'What a layer needs is near, and near is cheap.',
      ),
      Alternative(
        'sequence_length // 8',
        'an eighth',
        'What a layer needs is near, and near is cheap.',
      ),
    ),
    Belief(('attention', 'window'), weight=0.6, effect=(0.001, 0.005)),
  ),
  Alternatives(
    'attention output weights at the start',
    'Attention.__init__',
    'self.out =',
    (
      Alternative(
        'nnx.Param(jnp.zeros(qkv.shape[1:]))', 'zero', 'Blocks that start silent disturb nothing.'
      ),
      Alternative(
        'nnx.Param(0.1 * qkv[0].swapaxes(1, 2))',
        'small',
        'With weights that are not zero, queries and keys learn from the first step.',
      ),
    ),
    Belief(('attention', 'initialisation'), weight=0.3, effect=(0.0, 0.005)),
  ),
)

GPT_MLP = (
  Toggle(
    'a gate in the MLP',
    (
      Line(
        'MLP.__init__',
        'self.up',
        # As good as drawn anew: no two numbers of one row or column are the same in both.
        'self.gate = nnx.Param(up[:, ::-1])',
      ),
      Swap(
        'MLP.__call__',
        'activation(linear(x, self.up[...]))',
        'activation(linear(x, self.up[...])) * linear(x, self.gate[...])',
      ),
    ),
    'A gated MLP multiplies features, at the same number of parameters (arXiv 2002.05202).',
    'Fewer and larger matrix products are faster.',
    Belief(('mlp', 'gating'), weight=0.6, effect=(0.0, 0.01)),
    values=(('MLP_RATIO', 0.67),),
  ),
  Alternatives(
    'MLP output weights at the start',
    'MLP.__init__',
    'self.down =',
    (
      Alternative(
        'nnx.Param(jnp.zeros(up.swapaxes(1, 2).shape))',
        'zero',
        'Blocks that start silent disturb nothing.',
      ),
      Alternative(
        'nnx.Param(0.1 * up.swapaxes(1, 2))',
        'small',
        'With weights that are not zero, the first layer learns from the first step.',
      ),
    ),
    Belief(('mlp', 'initialisation'), weight=0.3, effect=(0.0, 0.005)),
  ),
)

GPT_EMBEDDINGS = (
  Alternatives(
    'layers with value embeddings',
    'has_value_embedding',
    'return',
    (
      Alternative(
        'layer % 2 == (DEPTH - 1) % 2', 'every other', 'Every other layer is a fair price.'
      ),
      Alternative('layer < DEPTH', 'all', 'What helps in half the layers helps in all.'),
      Alternative('layer == DEPTH - 1', 'the last', 'One table is cheaper to learn than many.'),
      Alternative(
        'layer in (0, DEPTH - 1)', 'first and last', 'The ends of the network need tokens most.'
      ),
    ),
    Belief(('value embeddings',), weight=0.6, effect=(0.002, 0.008)),
  ),
  Alternatives(
    'gate of value embeddings',
    'gated',
    'return',
    (
      Alternative(
        'weights_BxTxH[..., None] * split_heads(embedding_BxTxD)',
        'on',
        'Not every position wants its own token in the values.',
      ),
      Alternative('split_heads(embedding_BxTxD)', 'off', 'Gates cost time and start at 1 anyway.'),
    ),
    Belief(('value embeddings', 'gating'), weight=0.2, effect=(0.0, 0.004)),
  ),
  Toggle(
    'tied embeddings',
    (
      Swap('predict', 'model.head[...]', '(model.embedding[...].T / model.width)'),
      Swap('mean_loss', 'model.head[...]', '(model.embedding[...].T / model.width)'),
    ),
    'One table for input and output learns from both, in few steps.',
    'Input and output ask different things of a token.',
    Belief(('embedding', 'head', 'tying'), weight=0.3, effect=(-0.005, 0.02)),
  ),
)

GPT_OPTIMIZER = (
  Alternatives(
    'Nesterov momentum',
    'muon.update_fn',
    'directions =',
    (
      Alternative(
        'jax.tree.map(orthogonalize, mix(first, gradients))',
        'on',
        'Looking one step ahead speeds short runs up.',
      ),
      Alternative(
        'jax.tree.map(orthogonalize, first)',
        'off',
        'Plain momentum averages more of the noise.',
      ),
    ),
    Belief(('optimizer', 'momentum'), weight=0.4, effect=(-0.001, 0.004)),
  ),
  Alternatives(
    'NorMuon',
    'muon.update_fn',
    'moved =',
    (
      Alternative(
        'jax.tree.map(normuon, directions, state.squares)',
        'on',
        'Rows of equal size in every update let no neuron lag behind.',
      ),
      Alternative(
        'jax.tree.map(lambda direction, square: (direction, square), directions, state.squares)',
        'off',
        'Orthogonal updates are balanced enough, and cheaper.',
      ),
    ),
    Belief(('optimizer',), weight=0.5, effect=(0.0, 0.004)),
  ),
  Alternatives(
    'cautious decay',
    'muon.update_fn.finish',
    'shrink =',
    (
      Alternative(
        'jnp.where(direction * param >= 0, decay * param, 0.0)',
        'on',
        'Decay should not fight the step.',
      ),
      Alternative('decay * param', 'off', 'Decay that always acts keeps all of the matrix small.'),
    ),
    Belief(('optimizer', 'regularisation'), weight=0.4, effect=(0.0, 0.003)),
    needs=('WEIGHT_DECAY',),
  ),
  Alternatives(
    'weight decay over progress',
    'weight_decay',
    'return',
    (
      Alternative(
        'WEIGHT_DECAY * (1 - progress)', 'linear to 0', 'The last steps should only learn.'
      ),
      Alternative(
        'WEIGHT_DECAY * jnp.ones_like(progress)', 'constant', 'Decay helps to the last step.'
      ),
      Alternative(
        'WEIGHT_DECAY * jnp.square(1 - progress)',
        'square to 0',
        'Decay is of use early, while the matrices find their directions.',
      ),
    ),
    Belief(('regularisation', 'schedule'), weight=0.3, effect=(0.0, 0.002)),
    needs=('WEIGHT_DECAY',),
  ),
  Alternatives(
    'rate by the shape of a matrix',
    'muon.update_fn.finish',
    '',
    (
      Alternative('max(1, columns / rows) ** 0.5', 'square root', 'Wide matrices bear more.'),
      Alternative('max(1, columns / rows)', 'ratio', 'Wide matrices lag behind.'),
      Alternative('1.0', 'none', 'Orthogonal updates have the same size in all shapes.'),
    ),
    Belief(('optimizer', 'learning rate'), weight=0.2, effect=(0.0, 0.004)),
  ),
)

CATALOGUE = (
  *GENERAL,
  *MLP_PROGRAM,
  *PACKING_PROGRAM,
  *GPT_BLOCK,
  *GPT_ATTENTION,
  *GPT_MLP,
  *GPT_EMBEDDINGS,
  *GPT_OPTIMIZER,
)
