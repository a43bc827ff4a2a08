r"""A policy's own confidence: a verifier that is free.

The geometric mean of the probabilities of a response's tokens,

.. math:: r(x, y) = \exp \frac{1}{T} \sum_t \log p(y_t | x, y_{<t}),

which is the mean log-probability, in [0, 1]. It is all that a small model can
say of its own answers; of a beginning of a response it is that of what has been
written.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.types import Generation, Prompt


def confidence(prompt: Prompt, responses: Generation) -> Float[Array, 'B N']:
  """A `ScoreFn`: in [0, 1], 1 for an empty response; costs nothing."""
  del prompt
  total = jnp.sum(responses.log_probs, axis=-1)
  return jnp.exp(total / jnp.maximum(responses.lengths, 1))
