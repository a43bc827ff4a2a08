r"""What best-of-k delivers, exactly, from `N` scored samples or a known law.

The sample of rank `r` (1 is best) of `N` wins among `k` drawn without
replacement with probability `C(N - r, k - 1) / C(N, k)`, so no simulation is
needed. The probabilities come from their ratio,
`(N - r - k + 1) / (N - r)`, which stays accurate in float32 where differences
of log-gamma functions do not. Functions take one problem; `vmap` over problems.

Estimators: Nakano et al., 2021 (WebGPT), arXiv 2112.09332. KL bound: Beirami et
al., 2024, arXiv 2401.01879.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num


def expected_best_of_k(rewards: Float[Array, ' N'], k: int) -> Float[Array, '']:
  r"""Expected maximum of `k` of the `N` rewards, without bias.

  .. math:: E[\max] = \sum_{i=k}^{N}
      \binom{i - 1}{k - 1} \Big/ \binom{N}{k} \; r_{(i)},
      \quad r_{(1)} \le \dots \le r_{(N)}

  Args:
    rewards: reward of each sample.
    k: samples the user would draw; static.

  Returns:
    The expectation, in units of the reward.

  Raises:
    ValueError: unless `1 <= k <= N`.
  """
  best_first = jnp.sort(rewards, descending=True)
  return jnp.dot(_win_probabilities(rewards.size, k), best_first)


def best_of_k_accuracy(
  scores: Float[Array, ' N'], correct: Num[Array, ' N'], k: int
) -> Float[Array, '']:
  r"""Expected correctness of the sample that a proxy score picks among `k`.

  .. math:: \sum_{r=1}^{N-k+1} z_{(r)}
      \binom{N - r}{k - 1} \Big/ \binom{N}{k},
      \quad s_{(1)} \ge \dots \ge s_{(N)}

  Samples with equal scores share their mean `z`, which is what random
  tie-breaking gives on average. `correct` may be any value: with a second
  verifier's scores this is the over-optimisation curve of the first.

  Args:
    scores: the proxy (verifier) score of each sample, higher is better.
    correct: `z`, 1 where the sample is correct.
    k: samples the user would draw; static.

  Returns:
    The expectation of `z` over which `k` are drawn.

  Raises:
    ValueError: unless `1 <= k <= N`.
  """
  tied = scores[:, None] == scores[None, :]
  shared = jnp.sum(tied * correct, axis=-1) / jnp.sum(tied, axis=-1)
  best_first = shared[jnp.argsort(scores, descending=True)]
  return jnp.dot(_win_probabilities(scores.size, k), best_first)


def best_of_n_law(
  probs: Float[Array, ' A'], rewards: Float[Array, ' A'], n: ArrayLike
) -> Float[Array, ' A']:
  r"""Law of the best of `n` draws from finitely many outcomes.

  .. math:: P(\text{reward level } v) = F(v)^n - F(v^-)^n

  shared inside a level in proportion to `probs`.

  Args:
    probs: probability of each outcome under one draw.
    rewards: reward of each outcome; equal rewards are one level.
    n: number of independent draws; may be traced.

  Returns:
    Probability of each outcome under best-of-n.
  """
  below = jnp.sum(probs * (rewards[None, :] < rewards[:, None]), axis=-1)
  level = jnp.sum(probs * (rewards[None, :] == rewards[:, None]), axis=-1)
  share = jnp.where(probs > 0, probs / jnp.where(level > 0, level, 1.0), 0.0)
  return share * ((below + level) ** n - below**n)


def best_of_n_kl_bound(n: ArrayLike) -> Float[Array, '*B']:
  r"""Upper bound on KL(best-of-n || one draw) in nats.

  .. math:: \log n - (n - 1) / n

  Equality holds for continuous rewards.

  Args:
    n: number of draws, at least 1.

  Returns:
    The bound, of the shape of `n`.
  """
  n = jnp.asarray(n, jnp.float32)
  return jnp.log(n) - (n - 1) / n


def _win_probabilities(num_samples: int, k: int) -> Float[Array, ' N']:
  """Chance that the sample of rank 1, 2, ... of `N` is the best of `k`."""
  if not 1 <= k <= num_samples:
    raise ValueError(f'k must lie in 1..{num_samples}, got {k}')
  rank = jnp.arange(1, num_samples)
  ratios = jnp.maximum(num_samples - rank - k + 1, 0) / (num_samples - rank)
  first = jnp.asarray([k / num_samples])
  return jax.lax.cumprod(jnp.concatenate([first, ratios]))
