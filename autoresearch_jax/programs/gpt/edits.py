"""Structural edits of the GPT program, by the part of the model that they change.

Weights are high where small models trained for a short time are known to gain (token shifts,
gating), low where an edit mostly trades quality for speed.
"""

from autoresearch_jax.programs.structural_edits import (
  Alternative,
  Alternatives,
  EditPrior,
  InsertedLine,
  Replacement,
  Toggle,
)

NORMALISED = 'rotate(norm(q), rotary), rotate(norm(k), rotary)'

BLOCK = (
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
    EditPrior(('norm', 'mlp'), weight=0.3, effect=(-0.005, 0.01)),
  ),
  Toggle(
    'parallel attention and MLP',
    (
      Replacement(
        'Block.__call__',
        'x + self.attention(norm(x), value, rotary, window, platform)',
        'x + self.attention(norm(x), value, rotary, window, platform) + self.mlp(norm(x))',
        'x =',
      ),
      Replacement('Block.__call__', 'x + self.mlp(norm(x))', 'x', 'return'),
    ),
    'Attention and MLP of one input need one norm and can run side by side (GPT-J).',
    'The MLP should see what attention found.',
    EditPrior(('norm', 'mlp', 'attention'), weight=0.3, effect=(-0.003, 0.008)),
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
    EditPrior(('norm', 'embedding'), weight=0.2, effect=(-0.002, 0.006)),
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
    EditPrior(('norm',), weight=0.15, effect=(-0.002, 0.004)),
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
    EditPrior(('embedding', 'token shift'), weight=1.2, effect=(0.005, 0.01)),
  ),
)

ATTENTION = (
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
    EditPrior(('attention', 'norm'), weight=0.5, effect=(0.001, 0.005)),
  ),
  Toggle(
    'a share of the previous position in keys',
    (InsertedLine('Attention.__call__', 'q, k', 'k = k.at[:, 1:].add(0.5 * k[:, :-1])'),),
    'Keys that know what came before make induction possible in one layer.',
    'Keys should stand for their own position alone.',
    EditPrior(('attention', 'token shift'), weight=1.5, effect=(0.005, 0.01)),
  ),
  Toggle(
    'an output gate a head',
    (
      InsertedLine(
        'Attention.__init__',
        'self.out',
        'self.gate = nnx.Param(jnp.zeros((*qkv.shape[1:3], qkv.shape[3] // HEAD_DIM)))',
      ),
      InsertedLine(
        'Attention.__call__',
        'y',
        'y = y * (2 * jax.nn.sigmoid(linear(x, self.gate[...])))[..., None]',
      ),
    ),
    'A gate lets a head say nothing, which softmax cannot (arXiv 2505.06708).',
    'Gates cost time, and the value embeddings are gated already.',
    EditPrior(('attention', 'gating'), weight=1.0, effect=(0.003, 0.008)),
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
    EditPrior(('attention', 'window'), weight=0.6, effect=(0.001, 0.005)),
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
    EditPrior(('attention', 'initialisation'), weight=0.3, effect=(0.0, 0.005)),
  ),
)

MLP = (
  Toggle(
    'a gate in the MLP',
    (
      InsertedLine(
        'MLP.__init__',
        'self.up',
        # As good as drawn anew: no two numbers of one row or column are the same in both.
        'self.gate = nnx.Param(up[:, ::-1])',
      ),
      Replacement(
        'MLP.__call__',
        'activation(linear(x, self.up[...]))',
        'activation(linear(x, self.up[...])) * linear(x, self.gate[...])',
      ),
    ),
    'A gated MLP multiplies features, at the same number of parameters (arXiv 2002.05202).',
    'Fewer and larger matrix products are faster.',
    EditPrior(('mlp', 'gating'), weight=0.6, effect=(0.0, 0.01)),
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
    EditPrior(('mlp', 'initialisation'), weight=0.3, effect=(0.0, 0.005)),
  ),
)

EMBEDDINGS = (
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
    EditPrior(('value embeddings',), weight=0.6, effect=(0.002, 0.008)),
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
    EditPrior(('value embeddings', 'gating'), weight=0.2, effect=(0.0, 0.004)),
  ),
  Toggle(
    'tied embeddings',
    (
      Replacement('predict', 'model.head[...]', '(model.embedding[...].T / model.width)'),
      Replacement('mean_loss', 'model.head[...]', '(model.embedding[...].T / model.width)'),
    ),
    'One table for input and output learns from both, in few steps.',
    'Input and output ask different things of a token.',
    EditPrior(('embedding', 'head', 'tying'), weight=0.3, effect=(-0.005, 0.02)),
  ),
)

OPTIMIZER = (
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
    EditPrior(('optimizer', 'momentum'), weight=0.4, effect=(-0.001, 0.004)),
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
    EditPrior(('optimizer',), weight=0.5, effect=(0.0, 0.004)),
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
    EditPrior(('optimizer', 'regularisation'), weight=0.4, effect=(0.0, 0.003)),
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
    EditPrior(('regularisation', 'schedule'), weight=0.3, effect=(0.0, 0.002)),
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
    EditPrior(('optimizer', 'learning rate'), weight=0.2, effect=(0.0, 0.004)),
  ),
)

EDITS = (*BLOCK, *ATTENTION, *MLP, *EMBEDDINGS, *OPTIMIZER)
