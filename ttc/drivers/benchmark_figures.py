"""From graded samples to figures with intervals, alone and against another run.

An item's samples are averaged first. Means have intervals of Student's t over
items or clusters, or Wilson's where a few items are right or wrong; figures of
a benchmark's own come from resampling items or clusters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.benchmarks import MISSING, Benchmark, Verdict
from ttc.drivers import grading
from ttc.evaluation import ScoreRecord
from ttc.tasks import Item
from ttc.tasks.text_task import GRADER_ERROR

_FEW = 100  # items, below which a proportion has Wilson's interval


class Figure(NamedTuple):
  """A value, its 95% interval, and of how many items it is."""

  value: float
  low: float
  high: float
  num_items: int


class Graded(NamedTuple):
  """Items and the verdicts on their samples."""

  items: list[Item]
  verdicts: list[list[Verdict]]

  def answered(self) -> dict[str, int]:
    """Positions of the items that have a sample, by id."""
    return {
      item.id: i
      for i, item in enumerate(self.items)
      if self.verdicts[i][0].detail != MISSING.detail
    }

  def subset(self, indices: Sequence[int]) -> 'Graded':
    """Some of the items, also several times."""
    return Graded(
      [self.items[i] for i in indices], [self.verdicts[i] for i in indices]
    )


def gather(items: Sequence[Item], scores: Sequence[ScoreRecord]) -> Graded:
  """Verdicts by item; an item without any scores 0.

  The parts that every graded completion has are 0 where there is none, where it
  was cut, and where its grader failed; others do not apply there.
  """
  of_id: dict[str, list[Verdict]] = {item.id: [] for item in items}
  for s in sorted(scores, key=lambda s: s.key):
    if s.item_id in of_id:
      found = Verdict(s.score, s.extracted, s.detail or '', s.parts or {})
      of_id[s.item_id].append(found)
  of_graded = [
    set(v.parts)
    for verdicts in of_id.values()
    for v in verdicts
    if not v.detail.startswith((grading.CUT, GRADER_ERROR))
  ]
  shared = set.intersection(*of_graded) if of_graded else set()
  zeros = dict.fromkeys(sorted(shared), 0.0)
  return Graded(
    list(items),
    [
      [v if v.parts else v._replace(parts=zeros) for v in verdicts]
      for verdicts in (of_id[item.id] or [MISSING] for item in items)
    ],
  )


def figures(
  benchmark: Benchmark, graded: Graded, num_resamples: int
) -> dict[str, Figure]:
  """The headline figure, then the others, with intervals."""
  if benchmark.aggregate is None:
    return _means(benchmark, graded)
  values = benchmark.aggregate(*graded)
  names = [benchmark.metric, *(n for n in values if n != benchmark.metric)]
  drawn = [
    benchmark.aggregate(*graded.subset(indices))
    for indices in resamples(benchmark, graded.items, num_resamples)
  ]
  num = len(graded.items)
  found = {}
  for name in names:
    replicates = [x[name] for x in drawn if np.isfinite(x.get(name, np.nan))]
    low, high = _quantiles(replicates)
    found[name] = Figure(float(values[name]), low, high, num)
  return found


def _means(benchmark: Benchmark, graded: Graded) -> dict[str, Figure]:
  """Means of scores and of parts."""
  parts = [name for row in graded.verdicts for v in row for name in v.parts]
  found = {
    benchmark.metric: _mean(
      benchmark, graded.items, [item_score(row) for row in graded.verdicts]
    )
  }
  for name in dict.fromkeys(parts):
    rows = [
      (item, [v.parts[name] for v in row if name in v.parts])
      for item, row in zip(*graded, strict=True)
    ]
    rows = [(item, values) for item, values in rows if values]
    values = [float(np.mean(values)) for _, values in rows]
    found[name] = _mean(benchmark, [item for item, _ in rows], values)
  return found


def item_score(verdicts: Sequence[Verdict]) -> float:
  """Mean score of an item's samples."""
  return float(np.mean([v.score for v in verdicts]))


def _mean(
  benchmark: Benchmark, items: Sequence[Item], values: Sequence[float]
) -> Figure:
  scores = np.asarray(values, np.float32)
  clusters = clusters_of(benchmark, items)
  mean, num = float(scores.mean()), len(scores)
  if clusters is None and num < _FEW and set(np.unique(scores)) <= {0.0, 1.0}:
    interval = evaluation.wilson_interval(int(scores.sum()), num)
    return Figure(mean, float(interval.low), float(interval.high), num)
  if num < 2 or (clusters is not None and clusters.max() == 0):
    return Figure(mean, float('nan'), float('nan'), num)
  estimate = evaluation.mean_and_standard_error(jnp.asarray(scores), clusters)
  interval = evaluation.confidence_interval(estimate)
  return Figure(mean, float(interval.low), float(interval.high), num)


def clusters_of(
  benchmark: Benchmark, items: Sequence[Item]
) -> jax.Array | None:
  """Numbers of the items' clusters; None where each is its own."""
  if benchmark.cluster is None:
    return None
  names = [benchmark.cluster(item) for item in items]
  numbers = np.unique(names, return_inverse=True)[1]
  return jnp.asarray(numbers, jnp.int32)


def resamples(
  benchmark: Benchmark, items: Sequence[Item], count: int
) -> list[list[int]]:
  """Indices of items of bootstrap resamples of clusters; always the same."""
  clusters = clusters_of(benchmark, items)
  ids = np.arange(len(items)) if clusters is None else np.asarray(clusters)
  groups = [np.flatnonzero(ids == c).tolist() for c in range(ids.max() + 1)]
  drawn = jax.random.randint(
    jax.random.key(0), (count, len(groups)), 0, len(groups)
  )
  return [[i for c in row for i in groups[c]] for row in np.asarray(drawn)]


def by_category(
  benchmark: Benchmark, graded: Graded, num_resamples: int
) -> dict[tuple[str, str], Figure]:
  """The headline figure of each category, by (name, value)."""
  groups: dict[tuple[str, str], list[int]] = {}
  for index, item in enumerate(graded.items):
    for pair in benchmark.categories(item).items():
      groups.setdefault(pair, []).append(index)
  return {
    pair: figures(benchmark, graded.subset(indices), num_resamples)[
      benchmark.metric
    ]
    for pair, indices in sorted(groups.items())
  }


class Comparison(NamedTuple):
  """This run less another on the items of both."""

  this: Figure
  other: Figure
  difference: Figure
  correlation: float  # of the items' scores
  p_sign_flip: float  # of the items' mean scores
  p_mcnemar: float | None  # where every score is 0 or 1
  detectable: float  # the least true difference found with power 0.8


def compare(
  benchmark: Benchmark, this: Graded, other: Graded, num_resamples: int
) -> Comparison:
  """Paired comparison of two runs, on the items that both have samples of.

  Raises:
    ValueError: if they share fewer than two items, or two clusters.
  """
  there = other.answered()
  common = [i for name, i in this.answered().items() if name in there]
  if len(common) < 2:
    raise ValueError(f'the runs share {len(common)} items; 2 are needed')
  ours = this.subset(common)
  theirs = other.subset([there[item.id] for item in ours.items])
  a, b = (
    np.array([item_score(row) for row in x.verdicts], np.float32)
    for x in (ours, theirs)
  )
  clusters = clusters_of(benchmark, ours.items)
  if clusters is not None and clusters.max() == 0:
    raise ValueError('the runs share one cluster of items; 2 are needed')
  paired = evaluation.paired_difference(
    jnp.asarray(a), jnp.asarray(b), clusters
  )
  error = float(paired.difference.standard_error)
  interval = evaluation.confidence_interval(paired.difference)
  one, two = (
    figures(benchmark, x, num_resamples)[benchmark.metric]
    for x in (ours, theirs)
  )
  value = one.value - two.value
  low, high = float(interval.low), float(interval.high)
  if benchmark.aggregate is not None:
    low, high = _quantiles(_differences(benchmark, ours, theirs, num_resamples))
  p_value = evaluation.sign_flip_test(
    jax.random.key(0), jnp.asarray(a - b), 10 * num_resamples, clusters=clusters
  )
  binary = set(np.unique(np.concatenate([a, b]))) <= {0.0, 1.0}
  # Of clustered items the variance that n independent ones would have.
  variance = error**2 * len(common)
  detectable = evaluation.minimum_detectable_effect(len(common), variance)
  return Comparison(
    one,
    two,
    Figure(value, low, high, len(common)),
    float(paired.correlation),
    float(p_value),
    evaluation.mcnemar_test(int(np.sum(a > b)), int(np.sum(b > a)))
    if binary and clusters is None
    else None,
    float(detectable),
  )


def _differences(benchmark, ours, theirs, num_resamples) -> list[float]:
  """The headline figures of both on the same resamples."""
  found = []
  for indices in resamples(benchmark, ours.items, num_resamples):
    a, b = (
      benchmark.aggregate(*x.subset(indices))[benchmark.metric]
      for x in (ours, theirs)
    )
    if np.isfinite(a - b):
      found.append(a - b)
  return found


def _quantiles(replicates: Sequence[float]) -> tuple[float, float]:
  if not replicates:
    return float('nan'), float('nan')
  low, high = np.quantile(replicates, [0.025, 0.975])
  return float(low), float(high)
