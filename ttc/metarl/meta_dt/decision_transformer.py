r"""A decision transformer that is told a task's code (2410.11448, section 4.2).

An episode is the sequence :math:`\hat R_0, s_0 \oplus z_0, a_0, \hat R_1,
\dots` of returns to go, states with the world model's code of the task, and
actions; an action is read off its state's token (Chen et al., 2106.01345). A
prompt, a few steps of an earlier episode, may stand in front, in embeddings of
its own and without codes.

The transformer is `ttc.models.transformer`, fed embeddings. Two things differ
from the paper's GPT-2: it has rotary positions beside the embedding of time,
and no dropout. Costs a forward pass over `3 (P + K)` tokens.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc import models
from ttc.types import Params


class Steps(NamedTuple):
  """What the transformer reads of steps in a row.

  Attributes:
    return_to_go: scaled.
    state: measured by its scale.
    context: the code of the task; `Z = 0` in a prompt.
    action: that was taken.
    time: of the episode.
    mask: which steps are real; those that are not stand behind.
  """

  return_to_go: Float[Array, '*B K']
  state: Float[Array, '*B K S']
  context: Float[Array, '*B K Z']
  action: Float[Array, '*B K A']
  time: Int[Array, '*B K']
  mask: Bool[Array, '*B K']


class DecisionTransformer(NamedTuple):
  """Pure functions.

  Attributes:
    init: `key -> params`.
    apply: `(params, steps [B, K], prompt [B, P] or None) -> actions
      [B, K, A]`; each depends on the prompt, on earlier steps, and on the
      return to go, the state and the code of its own.
    horizon: largest `K`.
    prompt_length: `P`.
    max_steps: of an episode.
  """

  init: Callable[[PRNGKeyArray], Params]
  apply: Callable[[Params, Steps, Steps | None], Float[Array, 'B K A']]
  horizon: int
  prompt_length: int
  max_steps: int


# The paper's: three layers of width 128 with one head.
TRANSFORMER = models.TransformerConfig(
  vocab_size=1,  # embeddings are all that it reads
  num_layers=3,
  embed_dim=128,
  mlp_dim=341,  # as many parameters as two matrices to width 512 and back
  num_heads=1,
  num_kv_heads=1,
  head_dim=128,
  max_length=1024,
)


def decision_transformer(
  state_dim: int,
  action_dim: int,
  context_dim: int = 16,
  *,
  horizon: int = 20,
  prompt_length: int = 5,
  max_steps: int = 20,
  config: models.TransformerConfig = TRANSFORMER,
) -> DecisionTransformer:
  """The policy; actions are between -1 and 1.

  Args:
    state_dim: `S`.
    action_dim: `A`.
    context_dim: `Z`.
    horizon: steps that it reads, `K`.
    prompt_length: steps of a prompt, `P`.
    max_steps: of an episode.
    config: of the transformer.

  Raises:
    ValueError: on numbers that do not fit, such as a prompt that is longer than
      an episode, or steps that are more than the transformer reads.
  """
  tokens = 3 * (horizon + prompt_length)
  for name, value, fine, expected in (
    ('horizon', horizon, horizon >= 1, '>= 1'),
    (
      'prompt_length',
      prompt_length,
      1 <= prompt_length <= max_steps,
      f'1 to max_steps={max_steps}, an episode',
    ),
    (
      'horizon',
      horizon,
      tokens <= config.max_length,
      f'3 (horizon + prompt_length) <= max_length={config.max_length} of the '
      'transformer',
    ),
  ):
    if not fine:
      raise ValueError(
        f'decision_transformer: {name}={value}, expected {expected}'
      )
  language = models.transformer(config)
  here = _Tokens(config.embed_dim, max_steps, context_dim)
  before = _Tokens(config.embed_dim, max_steps, 0)
  head = nn.Dense(action_dim)
  embed: Callable[..., Any] = here.apply
  embed_prompt: Callable[..., Any] = before.apply
  act: Callable[..., Any] = head.apply

  def init(key):
    keys = jax.random.split(key, 4)
    nothing = lambda width: _no_steps(state_dim, action_dim, width)
    return {
      'transformer': language.init(keys[0]),
      'steps': here.init(keys[1], nothing(context_dim)),
      'prompt': before.init(keys[2], nothing(0)),
      'head': head.init(keys[3], jnp.zeros((config.embed_dim,), jnp.float32)),
    }

  def apply(params, steps, prompt=None):
    tokens = embed(params['steps'], steps)
    skip = 0
    if prompt is not None:
      first = embed_prompt(params['prompt'], prompt)
      tokens = jnp.concatenate([first, tokens], axis=1)
      skip = first.shape[1]
    features = models.read(language, params['transformer'], tokens)
    of_states = features[:, skip + 1 :: 3]
    return jnp.tanh(act(params['head'], of_states))

  return DecisionTransformer(init, apply, horizon, prompt_length, max_steps)


def action_loss(
  policy: DecisionTransformer,
  params: Params,
  steps: Steps,
  prompt: Steps | None = None,
) -> Float[Array, '']:
  """Squared error of the actions of real steps, on the average.

  Args:
    policy: that is trained.
    params: its own.
    steps: of others, `[B, K]`; their actions are what it should have done.
    prompt: `[B, P]`, or None for none.
  """
  miss = policy.apply(params, steps, prompt) - steps.action
  each = jnp.mean(jnp.square(miss), axis=-1)
  count = jnp.maximum(jnp.sum(steps.mask), 1)
  return jnp.sum(jnp.where(steps.mask, each, 0.0)) / count


class _Tokens(nn.Module):
  """Three tokens a step, `[*B, 3 K, D]`: return to go, state, action."""

  width: int
  max_steps: int
  context_dim: int

  @nn.compact
  def __call__(self, steps):
    time = nn.Embed(self.max_steps, self.width)(steps.time)
    state = steps.state
    if self.context_dim:
      state = nn.Dense(self.context_dim)(state)
      state = jnp.concatenate([state, steps.context], axis=-1)
    parts = steps.return_to_go[..., None], state, steps.action
    tokens = jnp.stack([nn.Dense(self.width)(x) + time for x in parts], axis=-2)
    *lead, K, _, D = tokens.shape
    return nn.LayerNorm()(tokens.reshape(*lead, 3 * K, D))


def _no_steps(state_dim, action_dim, context_dim):
  """One step, to init from."""
  zeros = lambda *shape: jnp.zeros((1, 1, *shape), jnp.float32)
  time, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
  return Steps(
    zeros(), zeros(state_dim), zeros(context_dim), zeros(action_dim), time, mask
  )
