r"""What a mixture of experts reads: more than one token's, less than all.

A batch of `B` tokens reads every expert that one of them chose. Tokens that
choose independently, each `k` of `E` experts and expert `e` with probability
`q_e`, touch

.. math:: \sum_e 1 - (1 - q_e)^B \le E \left(1 - (1 - k / E)^B\right)

experts on average: equal for even use, less the more uneven it is, and less
still if tokens of a batch choose alike. So the FLOPs of a mixture are those of
its active parameters, while its bytes tend to those of all: at `B = E / k`
already about 0.63 of them (Kinetics, 2506.05333, leaves weights out; for dense
models that is the large batch of a server, for mixtures it is that only at `B`
well above `E / k`). NumPy functions of the host, which broadcast.
"""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int, Num

from ttc.scaling.costs import ModelShape


def distinct_experts(
  num_experts: Num[ArrayLike, '...'],
  top_k: Num[ArrayLike, '...'],
  num_tokens: Num[ArrayLike, '...'],
) -> Float[np.ndarray, '...']:
  """Expected number of experts that `B` tokens touch, if used evenly.

  Args:
    num_experts: `E`.
    top_k: `k`, experts of one token.
    num_tokens: `B`, that are read in one step.

  Returns:
    Experts of a layer, from `k` at one token to `E`.
  """
  total, chosen, tokens = (
    np.asarray(x, np.float64) for x in (num_experts, top_k, num_tokens)
  )
  return np.asarray(total * (1 - (1 - chosen / total) ** tokens))


def distinct_experts_of_use(
  use: Float[ArrayLike, '*A E'], num_tokens: Num[ArrayLike, '*A']
) -> Float[np.ndarray, '*A']:
  """The same where expert `e` is among those of a token with chance `q_e`.

  Args:
    use: `q`, which sums to `k`: the share of tokens that choose each.
    num_tokens: `B`.

  Returns:
    Experts of a layer.
  """
  unused = 1 - np.asarray(use, np.float64)
  exponent = np.asarray(num_tokens)[..., None]
  return np.asarray(np.sum(1 - unused**exponent, axis=-1))


def expert_bytes(
  shape: ModelShape, num_tokens: Num[ArrayLike, '...'], bytes_per_param: int = 2
) -> Float[np.ndarray, '...']:
  """Bytes of experts that a step of `B` tokens reads, in all layers.

  Args:
    shape: numbers of the model.
    num_tokens: `B`.
    bytes_per_param: 2 for bfloat16.

  Returns:
    Bytes, an upper bound for tokens that choose independently.
  """
  touched = distinct_experts(shape.num_experts, shape.top_k, num_tokens)
  return np.asarray(bytes_per_param * shape.expert_params * touched)


def touched_experts(
  weights: Float[ArrayLike, 'R T L E'], is_read: Bool[ArrayLike, 'R T']
) -> Int[np.ndarray, 'T L']:
  """Experts that a real run read, counted from its recorded routing.

  Args:
    weights: of `R` rows that are decoded in step, as `models.routing` gives
      them.
    is_read: which of the tokens of a row were.

  Returns:
    Experts of each step and layer.
  """
  chosen = np.asarray(weights) > 0
  chosen &= np.asarray(is_read)[..., None, None]
  return np.sum(np.any(chosen, axis=0), axis=-1)
