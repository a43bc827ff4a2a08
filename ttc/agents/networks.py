"""Networks of agents: one module, forward or with a memory, vector or image.

`AgentNet` maps a sequence of observations to outputs: logits of a policy, a
value, or the values of actions. It is applied to sequences `[T, *B, ...]` with
a memory `[*B, H]` that carries over, `H = 0` where there is none, so that
learners are written once. Which parameters an agent has is said by
`for_agents`: one set for all, or one for each.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from ttc.types import Params

Activation: TypeAlias = Literal['tanh', 'relu']
Memory: TypeAlias = Float[Array, '*B H']
ApplyFn: TypeAlias = Callable[..., tuple[Array, Memory]]


class Architecture(NamedTuple):
  """What a network looks like, and whose parameters it has.

  Attributes:
    widths: of the dense layers.
    memory_width: of a GRU behind them; 0 for none.
    activation: of all layers but the last.
    shared: one set of parameters for all agents; otherwise each has its own,
      leaves with a leading axis `A`.
    agent_ids: append to observations which agent it is, one-hot; needs vectors.
    layer_norm: normalise the input and what each dense layer gives.
    channels: of a 3 x 3 convolution that images go through first; 0 for none.
    biases: of dense layers.
    table: rows of a table that the first number of an observation points into;
      0 for none. Without other layers that is a linear layer on a one-hot
      vector, without its cost.
  """

  widths: Sequence[int] = (64, 64)
  memory_width: int = 0
  activation: Activation = 'tanh'
  shared: bool = True
  agent_ids: bool = False
  layer_norm: bool = False
  channels: int = 0
  biases: bool = True
  table: int = 0


def orthogonal(
  scale: float = 1.0,
) -> Callable[..., Float[Array, '*outer m n']]:
  r"""An initialiser: uniform over matrices with orthonormal rows or columns.

  The polar factor of a normal matrix, by Newton and Schulz's iteration
  :math:`X \leftarrow (3 X - X X^\top X) / 2`. Products of matrices only: QR
  factorisations inside one program can wait for each other for ever on CPUs
  with few cores, and are slow on accelerators.

  Args:
    scale: of the matrix.

  Returns:
    `(key, shape, dtype) -> array`; all axes but the last are one.
  """

  def init(key, shape, dtype=jnp.float32):
    x = jax.random.normal(key, (int(np.prod(shape[:-1])), shape[-1]))
    wide = x.shape[0] < x.shape[1]
    x = x.T if wide else x
    x = x / jnp.linalg.norm(x)
    x = jax.lax.fori_loop(0, 40, lambda _, x: 1.5 * x - 0.5 * x @ (x.T @ x), x)
    return (scale * (x.T if wide else x)).reshape(shape).astype(dtype)

  return init


class AgentNet(nn.Module):
  """Dense layers, a GRU if there is a memory, and a linear head.

  Attributes:
    num_outputs: of the head.
    widths: of the dense layers; images `[height, width, channels]` are flat
      there.
    memory_width: `H` of the GRU between dense layers and head; 0 for none.
    activation: of all layers but the last.
    head_scale: gain of the head's orthogonal initialisation: 0.01 for a policy,
      1 for values (Andrychowicz et al., 2006.05990, table 1).
    layer_norm: normalise the input and what each dense layer gives, before the
      activation (Gallici et al., 2407.04811, section 3).
    channels: of a 3 x 3 convolution before; 0 for none.
    biases: of dense layers.
    table: rows of a table; 0 for none.
  """

  num_outputs: int
  widths: Sequence[int] = (64, 64)
  memory_width: int = 0
  activation: Activation = 'tanh'
  head_scale: float = 1.0
  layer_norm: bool = False
  channels: int = 0
  biases: bool = True
  table: int = 0

  @nn.compact
  def __call__(
    self,
    obs: Shaped[Array, 'T *rest'],
    memory: Memory,
    reset: Bool[Array, 'T *B'],
  ) -> tuple[Float[Array, 'T *B n'], Memory]:
    """Outputs of a sequence.

    Args:
      obs: `[T, *B, ...]`, vectors or images.
      memory: `[*B, H]`, before the first step.
      reset: `[T, *B]`, whether memory is forgotten before a step.

    Returns:
      Outputs `[T, *B, num_outputs]` and the memory after the last step.
    """
    act = nn.tanh if self.activation == 'tanh' else nn.relu
    init = orthogonal(np.sqrt(2.0))
    x = obs.astype(jnp.float32)
    if self.channels:
      x = act(nn.Conv(self.channels, (3, 3), kernel_init=init)(x))
    x = x.reshape(*reset.shape, -1)
    row = 0.0
    if self.table:
      zeros = nn.initializers.zeros
      rows = nn.Embed(self.table, self.num_outputs, embedding_init=zeros)
      row, x = rows(x[..., 0].astype(jnp.int32)), x[..., 1:]
    norm = (lambda x: nn.LayerNorm()(x)) if self.layer_norm else lambda x: x
    x = norm(x)
    for width in self.widths:
      dense = nn.Dense(width, use_bias=self.biases, kernel_init=init)
      x = act(norm(dense(x)))
    if self.memory_width:
      x, memory = GRU(self.memory_width)(x, memory, reset)
    head = nn.Dense(
      self.num_outputs,
      use_bias=self.biases,
      kernel_init=orthogonal(self.head_scale),
    )
    return head(x) + row, memory


class GRU(nn.Module):
  """A gated recurrent unit over time (Cho et al., 2014), with resets.

  The input's share of the gates is computed for all steps at once; only the
  memory's share is a step after the other. That of each gate is an array of
  its own: CPUs do not vectorise a step that slices it out of a joint one, and
  take three times as long.
  """

  width: int

  @nn.compact
  def __call__(
    self,
    x: Float[Array, 'T *B D'],
    memory: Memory,
    reset: Bool[Array, 'T *B'],
  ) -> tuple[Float[Array, 'T *B H'], Memory]:
    """Memories after each step, and after the last."""
    gates_x = nn.Dense(3 * self.width, kernel_init=orthogonal())
    kernel = self.param(
      'memory_kernel',
      lambda key: jnp.concatenate(
        [
          orthogonal()(k, (self.width, self.width))
          for k in jax.random.split(key, 3)
        ],
        axis=1,
      ),
    )
    bias = self.param(
      'memory_bias', nn.initializers.zeros, (self.width,), jnp.float32
    )

    def step(h, inputs):
      (xr, xz, xn), forget = inputs
      h = jnp.where(forget[..., None], 0.0, h)
      hr, hz, hn = jnp.split(h @ kernel, 3, axis=-1)
      r, z = nn.sigmoid(xr + hr), nn.sigmoid(xz + hz)
      n = nn.tanh(xn + r * (hn + bias))
      h = (1 - z) * n + z * h
      return h, h

    from_x = tuple(jnp.split(gates_x(x), 3, axis=-1))
    memory, outputs = jax.lax.scan(step, memory, (from_x, reset))
    return outputs, memory


class AgentsNet(NamedTuple):
  """A network for all agents of a batch of environments.

  Attributes:
    init: `key -> params`.
    apply: `(params, obs [T, E, A, ...], memory [E, A, H], reset [T, E, A]) ->
      (outputs [T, E, A, n], memory)`.
    memory_width: `H`.
  """

  init: Callable[[PRNGKeyArray], Params]
  apply: ApplyFn
  memory_width: int

  def initial_memory(self, num_envs: int, num_agents: int) -> Memory:
    """Zeros `[E, A, H]`."""
    return jnp.zeros((num_envs, num_agents, self.memory_width), jnp.float32)


def for_agents(
  architecture: Architecture,
  num_outputs: int,
  num_agents: int,
  obs_shape: Sequence[int],
  *,
  head_scale: float = 1.0,
) -> AgentsNet:
  """A network for every agent.

  Args:
    architecture: of the network.
    num_outputs: of one agent.
    num_agents: `A`.
    obs_shape: of one agent's observation.
    head_scale: gain of the head's initialisation.

  Returns:
    Init and apply for `[T, E, A, ...]`.

  Raises:
    ValueError: on ids of agents that see images, convolutions of vectors, or a
      table and other layers.
  """
  shared, agent_ids = architecture.shared, architecture.agent_ids
  if architecture.channels and len(obs_shape) != 3:
    raise ValueError(
      f'channels={architecture.channels} needs observations [height, width, '
      f'channels], not {tuple(obs_shape)}'
    )
  if architecture.table and (
    len(obs_shape) != 1 or architecture.widths or architecture.memory_width
  ):
    raise ValueError(
      f'table={architecture.table} needs observations with one axis and no '
      f'other layers, not {tuple(obs_shape)} and {architecture}'
    )
  if agent_ids and len(obs_shape) != 1:
    raise ValueError(
      f'agent_ids=True needs observations with one axis, not {tuple(obs_shape)}'
    )
  net = AgentNet(
    num_outputs,
    architecture.widths,
    architecture.memory_width,
    architecture.activation,
    head_scale,
    architecture.layer_norm,
    architecture.channels,
    architecture.biases,
    architecture.table,
  )
  shape = (obs_shape[0] + num_agents,) if agent_ids else tuple(obs_shape)

  def init_one(key):
    obs = jnp.zeros((1, 1, *shape), jnp.float32)
    memory = jnp.zeros((1, net.memory_width), jnp.float32)
    return net.init(key, obs, memory, jnp.zeros((1, 1), bool))

  def init(key):
    if shared:
      return init_one(key)
    return jax.vmap(init_one)(jax.random.split(key, num_agents))

  one: Callable[..., Any] = net.apply
  each = jax.vmap(one, in_axes=(0, 2, 1, 2), out_axes=(2, 1))

  def apply(params: Any, obs, memory, reset):
    if agent_ids:
      ids = jnp.broadcast_to(
        jnp.eye(num_agents, dtype=jnp.float32),
        (*obs.shape[:-1], num_agents),
      )
      obs = jnp.concatenate([obs.astype(jnp.float32), ids], axis=-1)
    return (one if shared else each)(params, obs, memory, reset)

  return AgentsNet(init, apply, net.memory_width)
