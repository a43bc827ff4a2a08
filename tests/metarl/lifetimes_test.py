"""What a rule knows of its lifetime."""

import jax.numpy as jnp
import numpy as np

from ttc import metarl


def test_relative_time_and_the_logarithm_of_the_horizon():
  got = metarl.lifetime_features(jnp.array([0, 5, 9]), jnp.int32(10))
  log = np.log(10.0)
  want = [[0.0, log], [0.5, log], [0.9, log]]
  np.testing.assert_allclose(got, want, rtol=1e-6)
