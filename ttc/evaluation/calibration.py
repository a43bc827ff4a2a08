"""Are confidences right as often as they say?

Expected calibration error: Naeini et al., 2015; Guo et al., 2017, arXiv
1706.04599, eq. 3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num


class Reliability(NamedTuple):
  """Of each bin of confidence; nan where no item is.

  Attributes:
    confidences: means.
    accuracies: shares of right answers.
    counts: numbers of items.
  """

  confidences: Float[Array, ' b']
  accuracies: Float[Array, ' b']
  counts: Float[Array, ' b']


def expected_calibration_error(
  confidences: Float[Array, ' n'], correct: Num[Array, ' n'], num_bins: int = 10
) -> Float[Array, '']:
  r"""Mean distance of accuracy and confidence over bins of confidence.

  .. math:: \sum_b \frac{n_b}{n} \, | \text{accuracy}_b - \text{confidence}_b |

  Bins are `(low, high]` of equal width. With few items the error of a perfectly
  calibrated method is not 0: compare at equal `n`.

  Args:
    confidences: in (0, 1], of the answer that was given to each item; an item
      with confidence 0 gave none, and is left out.
    correct: 1 where the answer is right, or its chance under ties.
    num_bins: static.

  Returns:
    The error, in 0..1.
  """
  given = confidences > 0
  gaps = jnp.where(given, correct - confidences, 0.0)
  by_bin = jax.ops.segment_sum(gaps, _bins(confidences, num_bins), num_bins)
  return jnp.sum(jnp.abs(by_bin)) / jnp.maximum(jnp.sum(given), 1)


def reliability(
  confidences: Float[Array, ' n'], correct: Num[Array, ' n'], num_bins: int = 10
) -> Reliability:
  """What a reliability diagram shows; see `expected_calibration_error`."""
  given = (confidences > 0).astype(jnp.float32)
  total = lambda values: jax.ops.segment_sum(
    given * values, _bins(confidences, num_bins), num_bins
  )
  counts = total(jnp.ones_like(confidences))
  return Reliability(
    total(confidences) / counts, total(correct) / counts, counts
  )


def _bins(confidences, num_bins):
  """Number of the bin of each confidence."""
  # The margin keeps 0.3, which float32 holds as a little more, in (.2, .3].
  bins = jnp.ceil(confidences * num_bins - 1e-5).astype(jnp.int32) - 1
  return jnp.clip(bins, 0, num_bins - 1)
