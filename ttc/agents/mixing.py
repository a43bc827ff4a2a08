r"""How values of agents make the value of what a team does.

A mixer takes the values of the actions that agents took, `[..., A]`, to the
values that rewards are compared with, `[..., M]`: one each (IQL), their sum
(VDN, Sunehag et al., 2017, 1706.05296), or a function that is monotone in each
of them and depends on the state of the world (QMIX, Rashid et al., 2018,
1803.11485), so that the best joint action is every agent's best one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.agents.networks import orthogonal
from ttc.types import Params


class Mixer(NamedTuple):
  """A pair of pure functions, and which rewards it learns from.

  Attributes:
    init: `(key, num_agents, world_width) -> params`.
    apply: `(params, values [..., A], world [..., D]) -> [..., M]`.
    rewards: `[..., A] -> [..., M]`.
    num_values: `num_agents -> M`.
    sees_world: whether it looks at the world.
  """

  init: Callable[[PRNGKeyArray, int, int], Params]
  apply: Callable[[Params, Array, Array], Float[Array, '... M']]
  rewards: Callable[[Float[Array, '... A']], Float[Array, '... M']]
  num_values: Callable[[int], int]
  sees_world: bool = False


def team_reward(reward: Float[Array, '... A']) -> Float[Array, '... 1']:
  """The mean over agents: what each gets where they get the same."""
  return jnp.mean(reward, axis=-1, keepdims=True)


def each_alone() -> Mixer:
  """Values are not mixed: every agent learns from its own reward."""
  return Mixer(
    init=lambda key, num_agents, world_width: {},
    apply=lambda params, values, world: values,
    rewards=lambda reward: reward,
    num_values=lambda num_agents: num_agents,
  )


def sum_of_values() -> Mixer:
  r""":math:`Q = \sum_i q_i`."""
  return Mixer(
    init=lambda key, num_agents, world_width: {},
    apply=lambda params, values, world: jnp.sum(values, -1, keepdims=True),
    rewards=team_reward,
    num_values=lambda num_agents: 1,
  )


def monotone(embed_width: int = 32, hyper_width: int = 64) -> Mixer:
  r"""QMIX's network of two layers with weights from the world.

  .. math::
    Q = |W_2(s)|^\top \mathrm{elu}(|W_1(s)|^\top q + b_1(s)) + b_2(s)

  Args:
    embed_width: of the hidden layer.
    hyper_width: of the hidden layers of the networks that make `W_1`, `W_2`.
  """
  net = _MonotoneNet(embed_width, hyper_width)
  apply: Callable[..., Any] = net.apply
  return Mixer(
    init=lambda key, num_agents, world_width: net.init(
      key, jnp.zeros((num_agents,)), jnp.zeros((world_width,))
    ),
    apply=apply,
    rewards=team_reward,
    num_values=lambda num_agents: 1,
    sees_world=True,
  )


class _MonotoneNet(nn.Module):
  """See `monotone`."""

  embed_width: int
  hyper_width: int

  @nn.compact
  def __call__(self, values, world):
    num_agents = values.shape[-1]
    init = orthogonal()

    def from_world(width, hidden):
      x = world
      if hidden:
        x = nn.relu(nn.Dense(hidden, kernel_init=init)(x))
      return nn.Dense(width, kernel_init=init)(x)

    first = jnp.abs(from_world(num_agents * self.embed_width, self.hyper_width))
    first = first.reshape(*world.shape[:-1], num_agents, self.embed_width)
    hidden = jnp.einsum('...a,...ae->...e', values, first)
    hidden = nn.elu(hidden + from_world(self.embed_width, 0))
    second = jnp.abs(from_world(self.embed_width, self.hyper_width))
    bias = from_world(1, self.embed_width)
    return jnp.sum(hidden * second, axis=-1, keepdims=True) + bias
