r"""Unbiased pass@k, pass^k and G-Pass@k: `n` samples, `c` of them correct.

All three ask how many of `k` responses, drawn from the `n` without replacement,
are correct. The products and the recursion below hold only numbers in [0, 1],
so float32 is enough; differences of float32 log-gamma functions are not (off by
4e-4 at n = 1024). Never average `c` over problems first, and never use
`1 - (1 - c / n)^k`, which is biased low.

pass@k: Chen et al., 2021, arXiv 2107.03374, eq. 1. pass^k: Yao et al., 2024,
arXiv 2406.12045. G-Pass@k: Liu et al., 2024, arXiv 2412.13147, eqs. 3-6.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


def pass_at_k(
  num_samples: Int[ArrayLike, '*#B'],
  num_correct: Int[ArrayLike, '*#B'],
  k: int,
) -> Float[Array, '*B']:
  r"""Chance that at least one of `k` responses is correct.

  .. math:: 1 - \binom{n - c}{k} \Big/ \binom{n}{k}
      = 1 - \prod_{j=0}^{k-1} \frac{n - c - j}{n - j}

  Args:
    num_samples: `n`, responses drawn for each problem.
    num_correct: `c`, how many of them are correct.
    k: responses the user would draw; static.

  Returns:
    Probabilities. NaN where `n < k` and the counts are traced.

  Raises:
    ValueError: if a concrete count breaks `1 <= k <= n` or `0 <= c <= n`.

  Example:
    >>> float(scaling.pass_at_k(num_samples=4, num_correct=1, k=2))
    0.5
  """
  n, c = _check(num_samples, num_correct, k)
  return _nan_where_too_few(1 - _avoids_all(n, c, k), n, k)


def pass_hat_k(
  num_samples: Int[ArrayLike, '*#B'],
  num_correct: Int[ArrayLike, '*#B'],
  k: int,
) -> Float[Array, '*B']:
  r"""Chance that all of `k` responses are correct, written pass^k.

  .. math:: \binom{c}{k} \Big/ \binom{n}{k}
      = \prod_{j=0}^{k-1} \frac{c - j}{n - j}

  Arguments, result and errors are those of `pass_at_k`.

  Example:
    >>> float(scaling.pass_hat_k(num_samples=4, num_correct=2, k=1))
    0.5
  """
  n, c = _check(num_samples, num_correct, k)
  return _nan_where_too_few(_avoids_all(n, n - c, k), n, k)


def g_pass_at_k(
  num_samples: Int[ArrayLike, '*#B'],
  num_correct: Int[ArrayLike, '*#B'],
  k: int,
  tau: float,
) -> Float[Array, '*B']:
  r"""Chance that at least a fraction `tau` of `k` responses is correct.

  .. math:: \sum_{j = \max(1, \lceil \tau k \rceil)}^{\min(c, k)}
      \binom{c}{j} \binom{n - c}{k - j} \Big/ \binom{n}{k}

  It is pass@k as `tau` goes to 0 and pass^k at `tau = 1`. Arguments, result and
  errors are otherwise those of `pass_at_k`.

  Args:
    num_samples: `n`, responses drawn for each problem.
    num_correct: `c`, how many of them are correct.
    k: responses the user would draw; static.
    tau: fraction in [0, 1]; static.
  """
  if not 0 <= tau <= 1:
    raise ValueError(f'tau must lie in [0, 1], got {tau}')
  n, c = _check(num_samples, num_correct, k)
  # The small slack keeps 0.28 * 25 = 7.000000000000001 at 7.
  threshold = max(1, math.ceil(tau * k - 1e-9))
  law = _num_correct_law(n, c, k)
  return _nan_where_too_few(jnp.sum(law[..., threshold:], axis=-1), n, k)


def mg_pass_at_k(
  num_samples: Int[ArrayLike, '*#B'],
  num_correct: Int[ArrayLike, '*#B'],
  k: int,
) -> Float[Array, '*B']:
  r"""G-Pass@k averaged over thresholds from one half to one.

  .. math:: \frac{2}{k} \sum_{i = \lceil k / 2 \rceil + 1}^{k}
      \text{G-Pass@}k_{i/k}
      = \frac{2}{k} E\big[\max(J - \lceil k / 2 \rceil, 0)\big]

  with `J` the number of correct responses among the `k`. Arguments, result and
  errors are those of `pass_at_k`.
  """
  n, c = _check(num_samples, num_correct, k)
  excess = jnp.maximum(jnp.arange(k + 1) - math.ceil(k / 2), 0)
  law = _num_correct_law(n, c, k)
  return _nan_where_too_few(2 / k * jnp.sum(law * excess, axis=-1), n, k)


def _avoids_all(
  n: Int[Array, '*#B one'], m: Int[Array, '*#B one'], k: int
) -> Float[Array, '*B']:
  """Chance that `k` of `n`, drawn one by one, miss all `m` marked ones."""
  misses = 1 - m / (n - jnp.arange(k))
  return jnp.prod(jnp.maximum(misses, 0), axis=-1)


@functools.partial(jax.jit, static_argnames='k')  # else compiled every call
def _num_correct_law(
  n: Int[Array, '*#B one'], c: Int[Array, '*#B one'], k: int
) -> Float[Array, '*B k_plus_1']:
  """Hypergeometric law of the correct ones among `k`, drawn one by one."""
  j = jnp.arange(k + 1)

  def draw(law, t):
    right = law * jnp.maximum(c - j, 0) / (n - t)
    wrong = law * jnp.maximum(n - c - (t - j), 0) / (n - t)
    return wrong + jnp.roll(right, 1, axis=-1), None  # right[..., k] is 0

  batch = jnp.broadcast_shapes(n.shape, c.shape)[:-1]
  law = jnp.zeros((*batch, k + 1)).at[..., 0].set(1.0)
  return jax.lax.scan(draw, law, jnp.arange(k))[0]


def _check(
  num_samples: ArrayLike, num_correct: ArrayLike, k: int
) -> tuple[Array, Array]:
  """Checks what is known on the host; gives `n` and `c` a trailing axis."""
  if k < 1:
    raise ValueError(f'k must be at least 1, got {k}')
  known_n = not isinstance(num_samples, Tracer)
  known_c = not isinstance(num_correct, Tracer)
  if known_n and np.any(np.asarray(num_samples) < k):
    raise ValueError(f'k = {k} needs at least {k} samples, got {num_samples}')
  if known_c and np.any(np.asarray(num_correct) < 0):
    raise ValueError(f'num_correct is negative: {num_correct}')
  if known_n and known_c:
    if np.any(np.asarray(num_correct) > np.asarray(num_samples)):
      raise ValueError(f'{num_correct} correct of {num_samples} samples')
  n, c = jnp.asarray(num_samples), jnp.asarray(num_correct)
  return n[..., None], c[..., None]


def _nan_where_too_few(x: Array, n: Array, k: int) -> Array:
  return jnp.where(n[..., 0] < k, jnp.nan, x)
