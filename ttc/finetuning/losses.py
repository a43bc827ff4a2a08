"""Losses of one model over token sequences."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ttc import models
from ttc.types import Params


def next_token_loss(
  model: models.LanguageModel,
  params: Params,
  tokens: Int[Array, 'B T'],
  mask: Bool[Array, 'B T'],
) -> Float[Array, '']:
  r"""Cross-entropy of each next token, in nats per token that counts.

  .. math:: -\frac{\sum_{b, t} m_{bt} \log p(y_{bt} \mid y_{b, <t})}
      {\sum_{b, t} m_{bt}}

  The mean is over all tokens of the batch that count, so long sequences weigh
  more than short ones. It is 0 if none counts.

  Args:
    model: static.
    params: its parameters.
    tokens: sequences, prompt and response, padded right.
    mask: True on the tokens to be predicted; the first of a sequence never is.

  Returns:
    The loss.
  """
  logits = models.forward(model, params, tokens[:, :-1])
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, tokens[:, 1:]
  )
  counted = mask[:, 1:]
  total = jnp.sum(jnp.where(counted, losses, 0.0))
  return total / jnp.maximum(jnp.sum(counted), 1)
