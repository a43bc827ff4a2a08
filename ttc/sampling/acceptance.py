r"""The rule of speculative sampling, for one token.

Leviathan et al., 2211.17192, and Chen et al., 2302.01318. A token drawn from
`q` is kept with probability :math:`\min(1, p(x) / q(x))`, else another is drawn
from :math:`\max(p - q, 0)`, normalised. The outcome has law `p`, and it is the
draft's token as often as under any rule: :math:`\sum_x \min(p(x), q(x))`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.sampling.draw import draw, log_prob_of


def accept(
  key: PRNGKeyArray,
  token: Int[Array, ''],
  draft_logits: Float[Array, ' V'],
  target_logits: Float[Array, ' V'],
) -> Bool[Array, '']:
  """Whether a token drawn from the draft's law may stand for the target's.

  Args:
    key: consumed; independent of the draw of `token`.
    token: drawn from `q = softmax(draft_logits)`.
    draft_logits: tempered and filtered, `-inf` for what cannot be drawn.
    target_logits: likewise; `p = softmax(target_logits)`.

  Returns:
    True with probability `min(1, p(token) / q(token))`.
  """
  log_ratio = log_prob_of(target_logits, token) - log_prob_of(
    draft_logits, token
  )
  return jnp.log1p(-jax.random.uniform(key)) <= log_ratio  # not if it is NaN


def redraw(
  key: PRNGKeyArray,
  draft_logits: Float[Array, ' V'],
  target_logits: Float[Array, ' V'],
) -> Int[Array, '']:
  """The token in place of one that was refused.

  Args:
    key: consumed.
    draft_logits: as for `accept`.
    target_logits: likewise.

  Returns:
    A token with probabilities `max(p - q, 0)`, normalised; one of `p` if `q` is
    no law, and -1 if `p` is none.
  """
  p, q = jax.nn.softmax(target_logits), jax.nn.softmax(draft_logits)
  rest = jnp.maximum(p - q, 0.0)
  rest = jnp.where(jnp.any(rest > 0), rest, p)  # equal but for rounding
  return draw(key, jnp.log(rest))[0]
