r"""Learning with and without a verifier (Setlur et al., 2502.12118).

Both learn from n traces of a base policy that mixes U policies with weights
:math:`\pi_b`, for example one for each speed of thought. Verifier-free learning
clones correct traces; verifier-based learning labels traces of the base with
their returns and improves on it within a chi-squared ball,

.. math:: \max_w \sum_u w_u \hat r_u \quad \text{s.t.} \quad
  \sum_u (w_u - \pi_b(u))^2 / \pi_b(u) \le \kappa.

Where the base is heterogeneous and long traces pay, the second returns more, by
a gap that grows with the horizon (theorems 5.4 and 5.8). Policies are mixtures
of the same U, so the two differ in what they learn from and in nothing else.
Cost: n traces, and `O(n U)`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROUNDS = 200


def clone(
  log_likelihoods: Float[Array, 'n U'], weights: Float[Array, ' U']
) -> Float[Array, ' U']:
  r"""The mixture most likely to have made the traces, by EM.

  .. math:: w_u \leftarrow \frac{1}{n} \sum_i
      \frac{w_u L_{iu}}{\sum_v w_v L_{iv}}

  Args:
    log_likelihoods: `log L` of each trace under each policy, nats; a row that
      is -inf throughout does not count, so a batch may be padded.
    weights: to start from, those of the base; a 0 stays 0.

  Returns:
    Weights; those to start from where no trace counts.
  """
  counts = _speaks(log_likelihoods, weights)
  total = jnp.sum(counts)

  def improve(_, w):
    own = _posterior(log_likelihoods, w, counts)
    return jnp.where(total > 0, jnp.sum(own, axis=0) / jnp.maximum(total, 1), w)

  return jax.lax.fori_loop(0, _ROUNDS, improve, weights)


class RewardModel(NamedTuple):
  """What traces say of each policy.

  Attributes:
    returns: mean return of each.
    standard_errors: of the means; infinite where nothing is known.
  """

  returns: Float[Array, ' U']
  standard_errors: Float[Array, ' U']


def fit_returns(
  log_likelihoods: Float[Array, 'n U'],
  weights: Float[Array, ' U'],
  returns: Float[Array, ' n'],
) -> RewardModel:
  """Least squares of the returns on the policy that a trace is probably from.

  Args:
    log_likelihoods: of each trace under each policy, nats.
    weights: of the base that drew the traces.
    returns: of the traces, from the verifier.

  Returns:
    Means weighted by the posterior of the policy, and their errors.
  """
  counts = _speaks(log_likelihoods, weights)
  own = _posterior(log_likelihoods, weights, counts)
  size = jnp.sum(own, axis=0)
  mean = (own.T @ returns) / jnp.maximum(size, 1e-12)
  squares = jnp.sum(own * (returns[:, None] - mean) ** 2, axis=0)
  error = jnp.sqrt(squares / jnp.maximum(size - 1, 1e-12) / size)
  return RewardModel(mean, jnp.where(size > 1, error, jnp.inf))


def improve_in_ball(
  weights: Float[Array, ' U'],
  values: Float[Array, ' U'],
  radius: float | Float[Array, ''],
) -> Float[Array, ' U']:
  r"""The best mixture near the base: :math:`w = \pi_b (1 + (v - \nu) / \mu)_+`.

  Args:
    weights: of the base; a policy outside its support stays outside.
    values: return of each policy, as believed; for pessimism less a multiple of
      its standard error. -inf is never chosen.
    radius: `kappa` of the chi-squared divergence; 0 gives the base, infinity
      all weight to the best policy in the support.

  Returns:
    Weights.
  """
  support = (weights > 0) & jnp.isfinite(values)
  v = jnp.where(support, values, 0.0)
  scale = jnp.maximum(jnp.max(jnp.where(support, jnp.abs(v), 0.0)), 1e-12)
  v = v / scale
  base = jnp.where(support, weights, 0.0)
  base = base / jnp.sum(base)

  def mixture(log_temperature):
    slope = jnp.exp(-log_temperature)

    def raw(shift):
      return base * jnp.maximum(1 + slope * (v - shift), 0.0)

    def halve(_, ends):
      low, high = ends
      middle = (low + high) / 2
      too_much = jnp.sum(raw(middle)) > 1
      return jnp.where(too_much, middle, low), jnp.where(too_much, high, middle)

    ends = jax.lax.fori_loop(0, 60, halve, (jnp.float32(-2), jnp.float32(2)))
    w = raw(sum(ends) / 2)
    return w / jnp.maximum(jnp.sum(w), 1e-12)

  def divergence(w):
    return jnp.sum(jnp.where(base > 0, (w - base) ** 2 / base, 0.0))

  def colder(_, ends):
    low, high = ends  # outside the ball, inside
    middle = (low + high) / 2
    inside = divergence(mixture(middle)) <= radius
    return jnp.where(inside, low, middle), jnp.where(inside, middle, high)

  ends = jax.lax.fori_loop(0, 60, colder, (jnp.float32(-12), jnp.float32(12)))
  best = jax.nn.one_hot(jnp.argmax(jnp.where(support, v, -jnp.inf)), v.size)
  return jnp.where(divergence(best) <= radius, best, mixture(ends[1]))


def _speaks(log_likelihoods, weights):
  """Rows that some policy of the mixture can have made."""
  return jnp.isfinite(jnp.max(log_likelihoods + jnp.log(weights), axis=1))


def _posterior(log_likelihoods, weights, counts):
  """Which policy each trace is from, `[n, U]`; 0 in rows that do not count."""
  logits = log_likelihoods + jnp.log(weights)
  logits = jnp.where(counts[:, None], logits, 0.0)
  return jnp.where(counts[:, None], jax.nn.softmax(logits, axis=1), 0.0)
