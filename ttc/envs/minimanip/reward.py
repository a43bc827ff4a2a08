r"""What a step of MiniManip is worth.

With :math:`d_h` from hand to thing and :math:`d_g` from thing to goal, the
reward is 10 in success and else

.. math::
  w_1 \, t(d_h, 0.02, m_h) + w_2 1[\text{held}] + w_3 \, t(d_g, \theta, m_g),
  \qquad t(d, b, m) = \frac1{1 + 9 (\max(d - b, 0) / m)^2}

where :math:`\theta` is the threshold of success, the margins :math:`m` are the
distances at the start and the weights sum to 9. The tolerance :math:`t` is the
long-tailed one of Meta-World (Yu et al., 2019, 1910.10897).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ttc.envs.minimanip.world import (
  ManipulationParams,
  Scene,
  norm,
  the_thing,
)

NEAR = 0.02  # metres: the hand is at the thing
SUCCESS = 10.0


def judge(
  scene: Scene, params: ManipulationParams
) -> tuple[Bool[Array, ''], Float[Array, '']]:
  """Whether it is success, and the reward."""
  aim = params.aim
  thing = the_thing(scene, params)
  to_hand = norm(thing - scene.hand)
  to_goal = norm(aim.axes * (thing - aim.goal))
  succeeds = to_goal <= aim.threshold
  succeeds = succeeds & ~(aim.released & scene.held)
  shares = jnp.stack(
    [
      long_tail(to_hand, NEAR, aim.margins[0]),
      scene.held.astype(jnp.float32),
      long_tail(to_goal, aim.threshold, aim.margins[1]),
    ]
  )
  return succeeds, jnp.where(succeeds, SUCCESS, jnp.sum(aim.weights * shares))


def long_tail(
  distance: Float[Array, ''],
  bound: Float[Array, ''] | float,
  margin: Float[Array, ''],
) -> Float[Array, '']:
  """1 up to a bound, a tenth a margin beyond it."""
  beyond = jnp.maximum(distance - bound, 0.0) / jnp.maximum(margin, 1e-6)
  return 1 / (1 + 9 * beyond**2)
