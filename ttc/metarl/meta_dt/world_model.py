r"""A world model whose code says which task it is (2410.11448, section 4.1).

What makes tasks differ is how they pay and how they move. A recurrent encoder
reads the last :math:`h` steps :math:`(s, a, r)` and gives a code :math:`z_t`;
decoders predict from it the reward :math:`\hat r(s, a, s', z)` and the next
state :math:`\hat s'(s, a, z)`. Whoever predicts well knows the task, however
good or bad the policy was that played: the code is disentangled from it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.agents.networks import GRU, AgentNet
from ttc.metarl.meta_dt.data import Trajectories
from ttc.types import Params

PREDICTS = ('reward', 'dynamics', 'both')


class Prediction(NamedTuple):
  """Of each step; None for what is not predicted."""

  reward: Float[Array, '*B T'] | None
  next_state: Float[Array, '*B T S'] | None


class WorldModel(NamedTuple):
  """Pure functions.

  Attributes:
    init: `key -> params`.
    encode: `(params, trajectories) -> z [*B, T, Z]`; that of a step depends on
      the steps before it, and on nothing else.
    predict: `(params, trajectories, z) -> Prediction`.
    context_length: `h`: the first steps have fewer before them.
    context_dim: `Z`.
  """

  init: Callable[[PRNGKeyArray], Params]
  encode: Callable[[Params, Trajectories], Float[Array, '*B T Z']]
  predict: Callable[[Params, Trajectories, Float[Array, '*B T Z']], Prediction]
  context_length: int
  context_dim: int


def world_model(
  state_dim: int,
  action_dim: int,
  *,
  predicts: str = 'reward',
  context_length: int = 4,
  context_dim: int = 16,
  width: int = 128,
) -> WorldModel:
  """The paper's recurrent world model.

  Args:
    state_dim: `S`.
    action_dim: `A`.
    predicts: what tasks differ in.
    context_length: steps that the encoder reads, zeros where there are none.
    context_dim: of the code.
    width: of the GRU, and of both layers of a decoder.

  Raises:
    ValueError: on something else to predict, and on a context without a step.
  """
  if predicts not in PREDICTS:
    raise ValueError(
      f'world_model: predicts={predicts!r}, expected one of '
      f'{", ".join(PREDICTS)}'
    )
  if context_length < 1:
    raise ValueError(
      f'world_model: context_length={context_length}, expected >= 1'
    )
  encoder = _Encoder(context_dim, width)
  decoder = lambda outputs: AgentNet(outputs, (width, width), activation='relu')
  decoders = {}
  if predicts != 'dynamics':
    decoders['reward'] = decoder(1), 2 * state_dim + action_dim + context_dim
  if predicts != 'reward':
    decoders['next_state'] = (
      decoder(state_dim),
      state_dim + action_dim + context_dim,
    )

  def init(key):
    zeros = lambda width: jnp.zeros((1, 1, width), jnp.float32)
    encoder_key, key = jax.random.split(key)
    params = {
      'encoder': encoder.init(
        encoder_key, zeros(state_dim), zeros(action_dim), zeros(1)
      )
    }
    for i, (name, (net, inputs)) in enumerate(decoders.items()):
      params[name] = net.init(
        jax.random.fold_in(key, i), zeros(inputs), zeros(0)[0], _never(1, 1)
      )
    return params

  apply_encoder: Callable[..., Any] = encoder.apply

  def encode(params, trajectories):
    windows = lambda x: jnp.moveaxis(_past(x, context_length), -2, 0)
    return apply_encoder(
      params['encoder'],
      windows(trajectories.state),
      windows(trajectories.action),
      windows(trajectories.reward[..., None]),
    )

  def predict(params, trajectories, z):
    s, a, _, next_s, _ = trajectories
    read = lambda name, *parts: _decode(
      decoders[name][0], params[name], jnp.concatenate([*parts, z], axis=-1)
    )
    return Prediction(
      read('reward', s, a, next_s)[..., 0] if 'reward' in decoders else None,
      read('next_state', s, a) if 'next_state' in decoders else None,
    )

  return WorldModel(init, encode, predict, context_length, context_dim)


def world_loss(
  world: WorldModel, params: Params, trajectories: Trajectories
) -> Float[Array, '']:
  """Squared error of what is predicted of real steps, on the average."""
  predicted = world.predict(
    params, trajectories, world.encode(params, trajectories)
  )
  loss = jnp.zeros((), jnp.float32)
  if predicted.reward is not None:
    loss += _mean(
      jnp.square(predicted.reward - trajectories.reward), trajectories.mask
    )
  if predicted.next_state is not None:
    miss = jnp.square(predicted.next_state - trajectories.next_state)
    loss += _mean(jnp.mean(miss, axis=-1), trajectories.mask)
  return loss


def prediction_error(
  world: WorldModel, params: Params, trajectories: Trajectories
) -> Float[Array, '*B T']:
  r""":math:`e_t = |\hat r_t - r_t| + |\hat s'_t - s'_t|`, as far as predicted.

  The distance of states is the sum over their numbers, in units of their scale;
  steps that are not real have no error.
  """
  predicted = world.predict(
    params, trajectories, world.encode(params, trajectories)
  )
  error = jnp.zeros_like(trajectories.reward)
  if predicted.reward is not None:
    error += jnp.abs(predicted.reward - trajectories.reward)
  if predicted.next_state is not None:
    miss = jnp.abs(predicted.next_state - trajectories.next_state)
    error += jnp.sum(miss, axis=-1)
  return jnp.where(trajectories.mask, error, 0.0)


class _Encoder(nn.Module):
  """From windows `[h, *B, ...]` to codes `[*B, Z]`."""

  context_dim: int
  width: int

  @nn.compact
  def __call__(self, state, action, reward):
    parts = [nn.relu(nn.Dense(16)(x)) for x in (state, action, reward)]
    x = jnp.concatenate(parts, axis=-1)
    memory = jnp.zeros((*x.shape[1:-1], self.width), jnp.float32)
    _, memory = GRU(self.width)(x, memory, _never(*x.shape[:-1]))
    return nn.Dense(self.context_dim)(memory)


def _past(x, length):
  """The `length` entries before each, `[*B, T, length, D]`, zeros at the left.

  Those of step `t` are `t - length .. t - 1`.
  """
  T = x.shape[-2]
  padding = [(0, 0)] * (x.ndim - 2) + [(length, 0), (0, 0)]
  index = jnp.arange(T)[:, None] + jnp.arange(length)
  return jnp.pad(x, padding)[..., index, :]


def _decode(net, params, x):
  """A feed-forward net of any number of leading axes."""
  lead = x.shape[:-1]
  outputs, _ = net.apply(
    params, x[None], jnp.zeros((*lead, 0), jnp.float32), _never(1, *lead)
  )
  return outputs[0]


def _never(*shape):
  """No memory is forgotten."""
  return jnp.zeros(shape, bool)


def _mean(values, mask):
  return jnp.sum(values * mask) / jnp.maximum(jnp.sum(mask), 1)
