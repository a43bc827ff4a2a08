r"""Drifts: PPO's, a discovered closed form, and learned ones.

Mirror learning (Kuba et al., 2022) maximises :math:`r A - f(r, A)` of ratio and
advantage, and improves with any drift that is at least 0, and 0 with slope 0
where the ratio is 1. PPO's clipping is one; LPO learns one (Lu et al., 2022,
2210.05639), DPO is what was read off it, and TA-LPO is one that changes over a
lifetime (Jackson et al., 2024, 2402.05828). All of them train any agent of
`ttc.agents.ppo` as its `surrogate`. Costs: none that a run would notice.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.types import Params

# `(ratio, advantage) -> drift`, entry by entry; advantages are standardised.
Drift: TypeAlias = Callable[
  [Float[Array, ' *B'], Float[Array, ' *B']], Float[Array, ' *B']
]

WIDTH = 128
MARGIN = 1e-4  # xi of the released code; 1e-6 in the paper


def surrogate_of(drift: Drift) -> Drift:
  """`r A - f(r, A)`, what is maximised."""
  return lambda ratio, advantage: ratio * advantage - drift(ratio, advantage)


def relu(x: Float[Array, ' *B']) -> Float[Array, ' *B']:
  """With slope 0 at 0."""
  return jnp.where(x > 0, x, 0.0)


def ppo_drift(clip: float | Float[Array, ''] = 0.2) -> Drift:
  r""":math:`\mathrm{ReLU}((r - \mathrm{clip}(r, 1 \pm \epsilon)) A)`.

  With it `r A - f` is PPO's clipped objective, identically.
  """
  return lambda ratio, advantage: relu(
    (ratio - jnp.clip(ratio, 1 - clip, 1 + clip)) * advantage
  )


def dpo_drift(alpha: float = 2.0, beta: float = 0.6) -> Drift:
  r"""Discovered policy optimisation (2210.05639, section 5).

  .. math::
    f = \begin{cases}
      \mathrm{ReLU}((r - 1) A - \alpha \tanh((r - 1) A / \alpha)) & A \ge 0 \\
      \mathrm{ReLU}(A \log r - \beta \tanh(A \log r / \beta)) & A < 0
    \end{cases}

  Args:
    alpha: where gains of good actions saturate: `r A - f` at `A + alpha`.
    beta: the same for bad ones.
  """

  def drift(ratio, advantage):
    good = (ratio - 1) * advantage
    bad = jnp.log(ratio) * advantage
    return jnp.where(
      advantage >= 0,
      relu(good - alpha * jnp.tanh(good / alpha)),
      relu(bad - beta * jnp.tanh(bad / beta)),
    )

  return drift


def drift_features(
  ratio: Float[Array, ' *B'], advantage: Float[Array, ' *B']
) -> Float[Array, '*B 8']:
  r""":math:`[\log r, \log^2 r, 1 - r, (1 - r)^2]` and the same times A."""
  log_ratio, off = jnp.log(ratio), 1 - ratio
  own = jnp.stack([log_ratio, log_ratio**2, off, off**2], axis=-1)
  return jnp.concatenate([own, own * advantage[..., None]], axis=-1)


def temporal_features(
  ratio: Float[Array, ' *B'],
  advantage: Float[Array, ' *B'],
  progress: Float[Array, ''] | float,
) -> Float[Array, '*B 16']:
  """`drift_features`, and the same times `n / N`: 0 where the ratio is 1."""
  own = drift_features(ratio, advantage)
  return jnp.concatenate([own, own * progress], axis=-1)


def init_drift(
  key: PRNGKeyArray, *, temporal: bool = False, width: int = WIDTH
) -> Params:
  """Parameters of a drift network, without biases: 0 stays 0.

  Args:
    key: consumed.
    temporal: for TA-LPO, 16 features; LPO has 8.
    width: of the hidden layer.
  """
  num_features = 16 if temporal else 8
  hidden_key, out_key = jax.random.split(key)
  return {
    'hidden': jax.random.normal(hidden_key, (num_features, width))
    / num_features**0.5,
    'out': jax.random.normal(out_key, (width,)) / width**0.5,
  }


def learned_drift(
  params: Params,
  progress: Float[Array, ''] | float | None = None,
  *,
  clip: float | None = 0.2,
) -> Drift:
  r"""LPO's drift, or TA-LPO's at a time of the lifetime.

  .. math:: f = \mathrm{ReLU}(f_{PPO} + \tanh(\phi W) w - \xi)

  Whatever the parameters, it is a drift: features are 0 where the ratio is 1,
  there is no bias, and the margin keeps the slope 0 there.

  Args:
    params: from `init_drift`.
    progress: `n / N` of TA-LPO; None for LPO.
    clip: of the PPO drift that learning starts from; None for none.

  Returns:
    The drift.
  """

  def drift(ratio, advantage):
    features = (
      drift_features(ratio, advantage)
      if progress is None
      else temporal_features(ratio, advantage, progress)
    )
    learned = jnp.tanh(features @ params['hidden']) @ params['out']
    base = 0.0 if clip is None else ppo_drift(clip)(ratio, advantage)
    return relu(base + learned - MARGIN)

  return drift
