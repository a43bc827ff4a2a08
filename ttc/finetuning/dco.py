r"""DCO: training for the best of N samples (Chen et al., 2502.07154).

A model that is asked N times covers the answer with :math:`1 - (1 - p)^N`.
Direct coverage optimisation minimises

.. math:: \ell(p; N) = -\log(1 - (1 - p)^N), \qquad
  \nabla \ell = F(N, p) \, \nabla(-\log p), \qquad
  F(N, p) = \frac{N p (1 - p)^{N - 1}}{1 - (1 - p)^N}.

It is cross-entropy for N = 1; for more, `F` goes from 1 at `p << 1 / N` to 0,
so an answer that N samples cover pulls no longer. `p` is of the whole answer:
`log p` is the SUM over its tokens, whatever a loss averages over.

Cost: that of cross-entropy; with chains of thought, as many completions of each
prompt as `p` is estimated from.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Count = int | Int[Array, '']

# Closer to 0 no float32 log-probability is told from 0.
_SURE = -1e-7
# So far below 1 / N the loss is cross-entropy less log N, to float32.
_TAIL = 15.0


@jax.custom_jvp
def coverage_loss(
  log_probs: Float[Array, '*B'], num_samples: Count
) -> Float[Array, '*B']:
  """Minus the log chance that one of N samples is the answer, in nats.

  Within 3e-7 of the exact value, relative or absolute, in float32 from
  `N p = 1e-9` to `p = 1`, where loss and gradient are 0.

  Args:
    log_probs: `log p` of whole answers, sums over tokens; at most 0.
    num_samples: `N`, at least 1; may be traced. It has no gradient.

  Returns:
    The loss of each, at least 0; its gradient is `-coverage_weight`.
  """
  s, n = _float32(log_probs, num_samples)
  in_tail = s < -jnp.log(n) - _TAIL
  safe = jnp.where(in_tail, -jnp.log(n) - _TAIL, s)
  loss = -jnp.log(-jnp.expm1(n * _log1mexp(safe)))
  loss = jnp.where(in_tail, -(s + jnp.log(n)), loss)
  return jnp.where(n == 1, -s, jnp.maximum(loss, 0.0))


@coverage_loss.defjvp
def _coverage_loss_jvp(primals, tangents):
  log_probs, num_samples = primals
  slope = -coverage_weight(log_probs, num_samples)
  tangent = jnp.asarray(tangents[0], jnp.float32)
  return coverage_loss(log_probs, num_samples), slope * tangent


def coverage_weight(
  log_probs: Float[Array, '*B'], num_samples: Count
) -> Float[Array, '*B']:
  """`F(N, p)`: how much of the cross-entropy's gradient is left.

  Args:
    log_probs: `log p` of whole answers, sums over tokens; at most 0.
    num_samples: `N`, at least 1; may be traced.

  Returns:
    Weights in [0, 1], within 2e-6 in float32; 1 for N = 1.
  """
  s, n = _float32(log_probs, num_samples)
  in_tail = s < -jnp.log(n) - _TAIL
  safe = jnp.clip(s, -jnp.log(n) - _TAIL, _SURE)
  a = _log1mexp(safe)
  log_weight = jnp.log(n) + safe + (n - 1) * a - jnp.log(-jnp.expm1(n * a))
  weight = jnp.where(in_tail, 1.0, jnp.exp(jnp.minimum(log_weight, 0.0)))
  return jnp.where(n == 1, 1.0, jnp.where(s > _SURE, 0.0, weight))


def stepwise_coverage_loss(
  log_probs: Float[Array, '*B M'],
  mask: Bool[Array, '*B M'],
  num_samples: Count,
) -> Float[Array, '*B']:
  """The loss of a search that keeps N candidates at each of M steps.

  .. math:: -\\sum_m \\log(1 - (1 - p(y_m \\mid x, y_{<m}))^N)

  A proof of M steps is then looked for among some :math:`N^M` leaves (section
  on theorem proving).

  Args:
    log_probs: of each step given those before it, sums over its tokens.
    mask: True on the steps that there are.
    num_samples: `N` of each step.

  Returns:
    The sum over steps.
  """
  losses = coverage_loss(jnp.where(mask, log_probs, 0.0), num_samples)
  return jnp.sum(jnp.where(mask, losses, 0.0), axis=-1)


def chain_of_thought_weight(
  num_right: Int[Array, '*B'],
  num_drawn: Count,
  num_samples: Count,
  threshold: float = 0.1,
) -> Float[Array, '*B']:
  """What a reference chain of thought counts when its answer has many chains.

  `p` of the answer, a sum over chains, is estimated by the share of samples
  that reach it; the reference's cross-entropy is weighted by `F(N, p)`, and an
  example that hardly pulls is left out. Default: the released code, which draws
  64 samples and leaves nothing out in the first 20 steps.

  Args:
    num_right: samples that reach the answer.
    num_drawn: samples drawn.
    num_samples: `N` that is trained for.
    threshold: smallest weight that counts.

  Returns:
    Weights in [0, 1], for `jax.lax.stop_gradient` by nature: they do not depend
    on the parameters.
  """
  share = jnp.asarray(num_right, jnp.float32) / num_drawn
  # No sample is right: F of p = 0, its limit, is 1.
  weight = coverage_weight(jnp.log(jnp.maximum(share, 1e-30)), num_samples)
  return jnp.where(weight < threshold, 0.0, weight)


def _float32(log_probs, num_samples):
  s = jnp.minimum(jnp.asarray(log_probs, jnp.float32), 0.0)
  return s, jnp.asarray(num_samples, jnp.float32)


def _log1mexp(s):
  """`log(1 - exp(s))` of `s <= 0`, finite: `s` is kept below `_SURE`."""
  s = jnp.minimum(s, _SURE)
  near = s > -jnp.log(2.0).astype(s.dtype)
  return jnp.where(
    near,
    jnp.log(-jnp.expm1(jnp.where(near, s, -1.0))),
    jnp.log1p(-jnp.exp(jnp.where(near, -1.0, s))),
  )
