"""PPO, DPO, LPO and TA-LPO: mirror learning with one drift or another.

See `ttc.metarl.drifts` for the formulas and `ttc.agents.ppo` for the rest of
the loss and what it costs. Of an agent's numbers `discount`, `trace` and the
weights and clip of values are used; what bounds the ratio is the rule's own.
"""

from collections.abc import Callable

from jaxtyping import Array

from ttc.agents.ppo import advantages, ppo_loss
from ttc.metarl.drifts import (
  WIDTH,
  Drift,
  dpo_drift,
  init_drift,
  learned_drift,
  ppo_drift,
  surrogate_of,
)
from ttc.metarl.rules.interface import UpdateRule
from ttc.types import Params


def _mirror(
  name: str, drift: Callable[[Params, Array], Drift], init: Callable
) -> UpdateRule:
  """Mirror learning with the drift of a moment `n / N` of life."""

  def targets(meta, memory, experience, lifetime, hyper):
    del meta, lifetime
    return advantages(
      experience.rollout, experience.last.value, hyper.discount, hyper.trace
    ), memory

  def loss(meta, outputs, batch, lifetime, hyper):
    surrogate = surrogate_of(drift(meta, lifetime.n / lifetime.horizon))
    return ppo_loss(outputs.law, outputs.value, batch, surrogate, hyper)

  return UpdateRule(name, targets, loss, init, drift=drift)


def ppo(clip: float = 0.2) -> UpdateRule:
  """PPO (1707.06347), whose drift is its clipping."""
  return _mirror('ppo', lambda meta, progress: ppo_drift(clip), lambda key: {})


def dpo(alpha: float = 2.0, beta: float = 0.6) -> UpdateRule:
  """DPO (2210.05639); to be used without a clip of values."""
  drift = dpo_drift(alpha, beta)
  return _mirror('dpo', lambda meta, progress: drift, lambda key: {})


def lpo(width: int = WIDTH, clip: float | None = 0.2) -> UpdateRule:
  """LPO (2210.05639): a learned drift, the same all through life.

  Args:
    width: of its hidden layer.
    clip: of the PPO drift that learning starts from; None for none.
  """
  return _mirror(
    'lpo',
    lambda meta, progress: learned_drift(meta, clip=clip),
    lambda key: init_drift(key, width=width),
  )


def ta_lpo(width: int = WIDTH, clip: float | None = 0.2) -> UpdateRule:
  """TA-LPO (2402.05828): a learned drift that changes with `n / N`.

  Args:
    width: of its hidden layer.
    clip: of the PPO drift that learning starts from; None for none.
  """
  return _mirror(
    'ta_lpo',
    lambda meta, progress: learned_drift(meta, progress, clip=clip),
    lambda key: init_drift(key, temporal=True, width=width),
  )
