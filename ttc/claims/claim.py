"""What a claim is: arrays of a seed are measured, their pool is judged.

A claim measures one seed at a time; seeds are pooled, and checks turn the pool
into words and a verdict. A check is a function `data -> Checked`, and the small
functions at the end of this file make the usual ones. Intervals are 95%, over
problems.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.testbeds import Size
from ttc.types import Samples

Data: TypeAlias = dict[str, Any]  # arrays by name; may be nested
Value: TypeAlias = str | Callable[[Data], Any]  # 'right/beam', or a function


class Checked(NamedTuple):
  """What a check says, and whether what it asks for is so."""

  text: str
  holds: bool = True


Check: TypeAlias = Callable[[Data], Checked]


class Claim(NamedTuple):
  """A statement of a paper, how it is measured and when it holds.

  Attributes:
    system: what is claimed of, and on which bed.
    paper: arXiv id.
    says: the claim, in a sentence.
    measure: `(seed, size, cache) -> data`, of one seed. Arrays have an entry
      per problem along `axis`; scalars are of the seed.
    checks: of the figures.
    controls: of what should not work, or should work as well.
    derive: what checks share, made from the pool; its entries are added.
    axis: of the problems in arrays.
    seeds: with which it is always run, because they mean nothing to it, or
      because it takes so many; None for those that are asked for.
    draw: `(data, path)` writes a picture; None for no picture.
    history: of a claim that was set up anew: what was wrong with the set-up
      before, and the figure that it gave.
    because: of a claim that does not hold: why it cannot at this scale.
  """

  system: str
  paper: str
  says: str
  measure: Callable[[int, Size, Any], Mapping[str, Any]]
  checks: Sequence[Check]
  controls: Sequence[Check]
  derive: Callable[[Data], Mapping[str, Any]] | None = None
  axis: int = 0
  seeds: Sequence[int] | None = None
  draw: Callable[[Data, Any], None] | None = None
  history: str = ''
  because: str = ''


class Verdict(NamedTuple):
  """What was found."""

  figure: str
  control: str
  holds: bool


def judge(
  claim: Claim, runs: Sequence[Mapping[str, Any]], picture: Any = None
) -> Verdict:
  """The verdict on what was measured with each seed.

  Args:
    claim: what is claimed.
    runs: what it measured, by seed.
    picture: path that it draws to, if it draws; None for no picture.

  Returns:
    Figure, control, and whether all checks hold.
  """
  data = pool(runs, claim.axis)
  if claim.derive:
    data |= claim.derive(data)
  if claim.draw and picture is not None:
    claim.draw(data, picture)
  checks, controls = (
    [check(data) for check in group] for group in (claim.checks, claim.controls)
  )
  say = lambda group: '; '.join(x.text for x in group)
  return Verdict(
    say(checks), say(controls), all(bool(x.holds) for x in checks + controls)
  )


def pool(runs: Sequence[Mapping[str, Any]], axis: int = 0) -> Data:
  """Problems of all seeds one after another; scalars become `[seeds]`."""
  join = lambda *x: (
    np.stack(x) if np.ndim(x[0]) == 0 else np.concatenate(x, axis)
  )
  data = jax.tree.map(join, *(jax.device_get(dict(run)) for run in runs))
  return data | {'num_seeds': len(runs)}


def at(data: Data, value: Value) -> np.ndarray:
  """What a name, `outer/inner` where nested, or a function stands for."""
  if callable(value):
    return np.asarray(value(data))
  for part in value.split('/'):
    data = data[part]
  return np.asarray(data)


# Statistics over problems, and how they are written.


def estimate(values) -> evaluation.Estimate:
  """Mean and standard error."""
  return evaluation.mean_and_standard_error(jnp.asarray(values, jnp.float32))


def standard_error(values) -> float:
  """Of the mean."""
  return float(estimate(values).standard_error)


def difference(a, b) -> evaluation.Estimate:
  """Of `a` to `b`, paired."""
  return evaluation.paired_difference(
    jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
  ).difference


def low(gap: evaluation.Estimate) -> float:
  """Lower end of the 95% interval."""
  return float(evaluation.confidence_interval(gap)[0])


def high(gap: evaluation.Estimate) -> float:
  """Upper end of the 95% interval."""
  return float(evaluation.confidence_interval(gap)[1])


def z(gap: evaluation.Estimate) -> float:
  """Standard errors that a mean lies above 0."""
  mean, error = float(gap.mean), float(gap.standard_error)
  return mean / error if error else float(np.sign(mean) * np.inf if mean else 0)


def interval(values) -> str:
  """Mean in percent and its interval."""
  mean = estimate(values)
  ends = f'{100 * low(mean):.1f}, {100 * high(mean):.1f}'
  return f'{100 * mean.mean:.1f} [{ends}]'


def signed(gap: evaluation.Estimate) -> str:
  """A difference in points and its interval."""
  return (
    f'{100 * gap.mean:+.1f} [{100 * low(gap):+.1f}, {100 * high(gap):+.1f}]'
  )


def listed(shares, separator: str = ', ') -> str:
  """Shares in percent."""
  return separator.join(f'{100 * share:.1f}' for share in shares)


def by_seed(values, num_seeds: int) -> np.ndarray:
  """Means of each seed's problems."""
  return np.reshape(values, (num_seeds, -1)).mean(axis=1)


def across_seeds(values, num_seeds: int, digits: int = 2) -> str:
  """Mean over seeds of something that is no share, and each seed's."""
  means = by_seed(values, num_seeds)
  each = ', '.join(f'{x:.{digits}f}' for x in means)
  return f'{means.mean():.{digits}f} (seeds {each})'


def curve(select, samples: Samples, gold, budgets) -> evaluation.Curve:
  """The scaling curve of a method over 50 orders of the samples."""
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


# Checks.


def shows(label: str, value: Value) -> Check:
  """A mean and its interval; asks for nothing."""
  return lambda data: Checked(f'{label}{interval(at(data, value))}')


def agrees(
  label: str, value: Value, expected: Value | float, errors: float = 3.0
) -> Check:
  """A mean is what it should be, up to so many standard errors."""

  def check(data):
    if isinstance(expected, str) or callable(expected):
      want = np.mean(at(data, expected))
    else:
      want = expected
    mean = estimate(at(data, value))
    return Checked(
      f'{label}{interval(at(data, value))} for {100 * want:.1f}',
      bool(abs(mean.mean - want) < errors * mean.standard_error),
    )

  return check


def compares(
  label: str,
  a: Value,
  b: Value,
  asks: Callable[[evaluation.Estimate], Any] | None = None,
) -> Check:
  """The paired difference of `a` to `b`, and what is asked of it."""

  def check(data):
    gap = difference(at(data, a), at(data, b))
    return Checked(f'{label}{signed(gap)}', bool(asks(gap)) if asks else True)

  return check


def above(label: str, a: Value, b: Value, by: float = 0.0) -> Check:
  """The whole interval of `a` less `b` lies above `by`."""
  return compares(label, a, b, lambda gap: low(gap) > by)


def below(label: str, a: Value, b: Value, by: float = 0.0) -> Check:
  """The whole interval of `a` less `b` lies below `-by`."""
  return compares(label, a, b, lambda gap: high(gap) < -by)


def equals(label: str, a: Value, b: Value, errors: float = 3.0) -> Check:
  """`a` and `b` differ by less than so many standard errors."""
  return compares(label, a, b, lambda gap: abs(z(gap)) < errors)


def exceeds(
  label: str, a: Value, b: Value | float, by: float = 0.0, digits: int = 2
) -> Check:
  """In every seed the mean of `a` is above that of `b`, or a number."""

  def check(data):
    n = data['num_seeds']
    ours = by_seed(at(data, a), n)
    if isinstance(b, int | float):
      theirs, beside = np.full(n, b), f'{b:g}'
    else:
      theirs = by_seed(at(data, b), n)
      beside = across_seeds(at(data, b), n, digits)
    return Checked(
      f'{label}{across_seeds(at(data, a), n, digits)} against {beside}',
      bool(np.all(ours - theirs > by)),
    )

  return check


def every(label: str, asks: Callable[[Data], Any]) -> Check:
  """What is asked holds in each seed: `asks` gives an entry for each."""

  def check(data):
    holds = bool(np.all(asks(data)))
    return Checked(f'{label}: {"every" if holds else "not every"} seed', holds)

  return check


def text(say: Callable[[Data], str], asks=lambda data: True) -> Check:
  """Words that a function finds, and what is asked of the data."""
  return lambda data: Checked(say(data), bool(asks(data)))
