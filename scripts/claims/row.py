"""A row of the table of claims, and how its figures are written."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ttc import evaluation
from ttc.types import Samples


class Row(NamedTuple):
  """What the table says of a claim."""

  system: str
  claim: str
  figure: str
  control: str
  holds: bool


def curve(select, samples: Samples, gold, budgets):
  """The scaling curve of a method; 50 orders of the samples."""
  return jax.device_get(
    evaluation.scaling_curve(
      jax.random.key(0),
      select,
      jax.tree.map(jnp.asarray, samples),
      jnp.asarray(gold),
      jnp.asarray(budgets),
      50,
    )
  )


def estimate(values):
  """Mean and standard error over problems."""
  return evaluation.mean_and_standard_error(jnp.asarray(values, jnp.float32))


def standard_error(values):
  """Of the mean, over problems."""
  return float(estimate(values).standard_error)


def difference(a, b):
  """Paired, over problems."""
  return evaluation.paired_difference(
    jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
  ).difference


def interval(values):
  """Mean in percent and its 95% interval."""
  mean = estimate(values)
  low, high = evaluation.confidence_interval(mean)
  return f'{100 * mean.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]'


def signed(gap):
  """A difference in points and its 95% interval."""
  low, high = evaluation.confidence_interval(gap)
  return f'{100 * gap.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]'
