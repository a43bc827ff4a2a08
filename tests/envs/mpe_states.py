"""States of particle games for tests, by hand."""

import jax
import numpy as np


def crowded_state(env, seed, width=0.4):
  """A state whose bodies touch, at any speed."""
  rng = np.random.default_rng(seed)
  _, state = jax.jit(env.reset)(jax.random.key(seed), env.default_params)
  within = lambda x: rng.uniform(-width, width, x.shape).astype(np.float32)
  return state._replace(
    position=within(state.position),
    velocity=4 * within(state.velocity),
    landmarks=within(state.landmarks),
  )
