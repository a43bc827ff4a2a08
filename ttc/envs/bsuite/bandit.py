r"""A bandit of `K` arms: one state, rewards with a mean of each arm.

Pulling arm :math:`k` pays :math:`\mu_k + \sigma \epsilon` with normal
:math:`\epsilon`, or 1 with the probability :math:`\mu_k`. With one pull an
episode and no noise it is the bandit of 1908.03568; with many pulls and arms
that differ by task it is what RL^2 (1611.02779) learns to learn on. The rules
end an episode after `num_pulls` pulls: nothing follows that a value might be
bootstrapped from.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.envs.environment import Environment
from ttc.envs.rendering import Picture, Text, rectangle
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete
from ttc.envs.task_distribution import TaskDistribution


class BanditParams(NamedTuple):
  """What a task may set.

  Attributes:
    means: of the reward of each arm; Bernoulli arms' probabilities.
    noise_std: of Gaussian rewards; means nothing to Bernoulli ones.
    num_pulls: of an episode.
  """

  means: Float[Array, ' K'] | np.ndarray
  noise_std: Float[Array, ''] | float = 1.0
  num_pulls: Int[Array, ''] | int = 1


class BanditState(NamedTuple):
  """Pulls so far, and the last one; for pictures, nobody sees them."""

  time: Int[Array, '']
  arm: Int[Array, '']  # -1 before the first pull
  reward: Float[Array, '']


def bandit(num_arms: int = 20, bernoulli: bool = False) -> Environment:
  """The bandit; an action is an arm.

  Observations are a one. `info` has `regret`, the best mean minus the arm's.

  Args:
    num_arms: `K`, at least 2.
    bernoulli: whether rewards are 0 or 1, not Gaussian.

  Returns:
    The environment; its params are `BanditParams`, by default means evenly
    spaced from 0 to 1, deviation 1 and one pull.

  Raises:
    ValueError: on fewer than 2 arms.
  """
  if num_arms < 2:
    raise ValueError(f'bandit: num_arms={num_arms}, expected >= 2')

  def reset(key, params):
    del key, params
    zero = jnp.zeros((), jnp.int32)
    return BanditState(zero, zero - 1, jnp.zeros((), jnp.float32))

  def step(key, state, action, params):
    means = jnp.asarray(params.means, jnp.float32)
    mean = means[action]
    if bernoulli:
      share = jax.random.uniform(key, (), jnp.float32)
      reward = (share < mean).astype(jnp.float32)
    else:
      noise = jax.random.normal(key, (), jnp.float32)
      reward = mean + params.noise_std * noise
    state = BanditState(state.time + 1, action.astype(jnp.int32), reward)
    over = state.time >= params.num_pulls
    info = {'regret': jnp.max(means) - mean}
    return state, reward, over, jnp.zeros((), bool), info

  return single_agent(
    'bandit',
    BanditParams(np.linspace(0.0, 1.0, num_arms, dtype=np.float32)),
    reset,
    step,
    lambda state, params: jnp.ones((1,), jnp.float32),
    Box((1,), 0.0, 1.0),
    Discrete(num_arms),
    draw,
  )


def bandit_tasks(
  num_arms: int = 20,
  sample_means: Callable[
    [PRNGKeyArray, tuple[int, ...], Any], Float[Array, ' K']
  ] = jax.random.uniform,
  *,
  noise_std: float = 1.0,
  num_pulls: int = 1,
) -> TaskDistribution:
  """Bandits whose means are drawn independently for each arm.

  Args:
    num_arms: `K`, as of the environment.
    sample_means: `(key, shape, dtype) -> means`, such as `jax.random.uniform`
      (in [0, 1], also for Bernoulli arms) or `jax.random.normal`.
    noise_std: of Gaussian rewards.
    num_pulls: of an episode.

  Raises:
    ValueError: on fewer than 2 arms, or no pulls.
  """
  if num_arms < 2 or num_pulls < 1:
    raise ValueError(
      f'bandit_tasks: {num_arms} arms and {num_pulls} pulls, expected at least '
      '2 and 1'
    )

  def sample(key):
    return BanditParams(
      sample_means(key, (num_arms,), jnp.float32),
      jnp.asarray(noise_std, jnp.float32),
      jnp.asarray(num_pulls, jnp.int32),
    )

  return TaskDistribution(sample)


def draw(state: BanditState, params: BanditParams) -> Picture:
  """A bar for the mean of each arm; the last pull is coloured."""
  means = np.asarray(params.means)
  arm, width, shapes = int(state.arm), len(means), []
  low, high = min(means.min(), 0.0), max(means.max(), 0.0)
  unit = 0.5 * width / max(high - low, 1e-6)  # the highest bar's height
  base = -low * unit
  for i, mean in enumerate(means):
    color = '#d55e00' if i == arm else '#9ecae1'
    y0, y1 = sorted((base, base + float(mean) * unit))
    shapes.append(rectangle((i + 0.1, y0), (i + 0.9, y1 + 0.02), color))
    shapes.append(Text((i + 0.5, -0.04 * width), str(i), size=0.35 / width))
  words = f'pull {int(state.time)} of {int(params.num_pulls)}'
  if arm >= 0:
    words += f': arm {arm} paid {float(state.reward):.2f}'
  shapes.append(Text((width / 2, 0.55 * width), words, size=0.045))
  return Picture((0.0, -0.08 * width), (float(width), 0.6 * width), shapes)
