"""Step sizes of the noisy quadratic that are learned over many lifetimes.

The rule is a small network from `[n/N, log N]`, updates so far over the horizon
and the horizon's logarithm, to the logarithm of one step size: everything that
a schedule is. It is learned by evolution over whole lifetimes, or by gradients
that see one update ahead (2402.05828, sections 4 and 5).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import metarl
from ttc.testbeds import noisy_quadratic
from ttc.testbeds.noisy_quadratic import Quadratic
from ttc.types import Params

WIDTH = 16


class Learned(NamedTuple):
  """Rules of one seed."""

  evolution: Params
  blind: Params  # by evolution, without inputs
  one_step: Params


def init_rule(key: PRNGKeyArray) -> Params:
  """A rule that says exp(-1.5) everywhere."""
  return {
    'hidden': 0.5 * jax.random.normal(key, (2, WIDTH)),
    'hidden_bias': jnp.zeros(WIDTH),
    'out': jnp.zeros(WIDTH),
    'direct': jnp.zeros(2),
    'bias': jnp.array(-1.5),
  }


def rate(
  params: Params, n: Array, horizon: Array, *, sees_time: bool = True
) -> Float[Array, '']:
  """The step size of update `n` of `horizon`; at most exp(0.6).

  Args:
    params: of the rule.
    n: updates so far.
    horizon: of the lifetime.
    sees_time: whether inputs are not replaced by zeros.
  """
  inputs = metarl.lifetime_features(n, horizon) * float(sees_time)
  hidden = jnp.tanh(inputs @ params['hidden'] + params['hidden_bias'])
  log_rate = hidden @ params['out'] + inputs @ params['direct'] + params['bias']
  return jnp.exp(jnp.minimum(log_rate, 0.6))


def by_evolution(
  problem: Quadratic,
  key: PRNGKeyArray,
  low: int,
  high: int,
  *,
  sees_time: bool = True,
  num_generations: int = 6000,
  num_pairs: int = 128,
  sigma: float = 0.02,
  learning_rate: float = 0.03,
) -> Params:
  """Learns from the expected loss at the end of whole lifetimes.

  Args:
    problem: of all lifetimes.
    key: consumed.
    low: shortest horizon.
    high: longest one; horizons are log-uniform whole numbers between them.
    sees_time: whether the rule has its inputs.
    num_generations: of evolution.
    num_pairs: of a generation.
    sigma: of the noise.
    learning_rate: of Adam at first; falls to a hundredth.

  Returns:
    Params of the rule.
  """
  rule_key, key = jax.random.split(key)
  own = lambda params: lambda n, N: rate(params, n, N, sees_time=sees_time)

  def fitness(params, key):
    horizon = metarl.random_horizon(key, low, high)
    return -noisy_quadratic.final_loss(problem, own(params), horizon, high)

  decay = 0.01 ** (1 / num_generations)
  es = metarl.evolution(
    fitness,
    optax.adam(optax.exponential_decay(learning_rate, 1, decay)),
    num_pairs,
    sigma=sigma,
  )
  run = jax.jit(
    lambda state: jax.lax.scan(
      lambda s, _: (es.update(s)[0], None), state, length=num_generations
    )[0]
  )
  return run(es.init(init_rule(rule_key), key)).params


def by_one_step(
  problem: Quadratic,
  key: PRNGKeyArray,
  horizons: Sequence[int],
  *,
  num_steps: int = 12_000,
  learning_rate: float = 0.03,
) -> Params:
  """Learns from gradients through one update, in states of its own lifetimes.

  This is a truncated meta-gradient with K = 1: what later updates make of a
  state is not seen.

  Args:
    problem: of all lifetimes.
    key: consumed.
    horizons: of lifetimes.
    num_steps: of Adam, over all of them at once.
    learning_rate: of Adam at first; falls to a hundredth.

  Returns:
    Params of the rule.
  """
  longest = max(horizons)

  def loss(params):
    own = lambda n, N: rate(params, n, N)

    def of_lifetime(horizon):
      moments, _ = noisy_quadratic.lifetime(problem, own, horizon, longest)
      moments = jax.lax.stop_gradient(moments)
      times = jnp.arange(longest)
      after = jax.vmap(
        lambda v, n: noisy_quadratic.step(problem, v, own(n, horizon))
      )(moments, times)
      value = jax.vmap(lambda v: noisy_quadratic.loss(problem, v))(after)
      lives = times < horizon
      return jnp.sum(jnp.log(value) * lives) / jnp.sum(lives)

    return jnp.mean(jax.vmap(of_lifetime)(jnp.array(horizons)))

  decay = 0.01 ** (1 / num_steps)
  optimizer = optax.adam(optax.exponential_decay(learning_rate, 1, decay))

  def improve(carry, _):
    params, state = carry
    changes, state = optimizer.update(jax.grad(loss)(params), state)
    return (optax.apply_updates(params, changes), state), None

  params = init_rule(key)
  carry = (params, optimizer.init(params))
  return jax.jit(
    lambda carry: jax.lax.scan(improve, carry, length=num_steps)[0][0]
  )(carry)


def learn(
  problem: Quadratic,
  seed: int,
  trained: Sequence[int],
  num_generations: int = 6000,
) -> Learned:
  """Rules by evolution, with inputs and without, and by one-step gradients.

  Args:
    problem: of all lifetimes.
    seed: of all three.
    trained: horizons; evolution draws from all between the least and the most.
    num_generations: of evolution; gradients take twice as many steps.
  """
  key, low, high = jax.random.key(seed), min(trained), max(trained)
  evolved, blind = (
    by_evolution(
      problem,
      key,
      low,
      high,
      sees_time=sees_time,
      num_generations=num_generations,
    )
    for sees_time in (True, False)
  )
  return Learned(
    evolved,
    blind,
    by_one_step(problem, key, trained, num_steps=2 * num_generations),
  )


def relative_losses(
  problem: Quadratic, learned: Learned, horizons: Sequence[int]
) -> dict[str, np.ndarray]:
  """Expected final losses over the best schedule's, by rule, `[horizons]`.

  Beside the learned rules the greedy schedule and the best constant of each
  horizon.
  """

  def of_rule(params, sees_time=True):
    own = lambda n, N: rate(params, n, N, sees_time=sees_time)
    final = lambda N: noisy_quadratic.final_loss(problem, own, N, N)
    return [float(final(N)) for N in horizons]

  losses = {
    'evolution': of_rule(learned.evolution),
    'blind': of_rule(learned.blind, sees_time=False),
    'one_step': of_rule(learned.one_step),
    'greedy': [
      float(noisy_quadratic.greedy_lifetime(problem, N)[1]) for N in horizons
    ],
    'constant': [noisy_quadratic.constant_loss(problem, N) for N in horizons],
  }
  best = np.array([noisy_quadratic.best_loss(problem, N) for N in horizons])
  return {name: np.array(x) / best for name, x in losses.items()}
