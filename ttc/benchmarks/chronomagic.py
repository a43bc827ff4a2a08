r"""ChronoMagic-Bench: do videos of change stay coherent, and do they change?

Yuan et al., "ChronoMagic-Bench: A Benchmark for Metamorphic Evaluation of
Text-to-Time-lapse Video Generation", 2024, arXiv 2406.18522.

CHScore, coherence, is of points that a tracker follows: m_t is the share of
points that are lost at frame t and were not moving forward, where forward is
from the first frame to the middle one; d_t is its change. It is 1 over a
weighted sum of five figures of these, each over its published maximum.

MTScore, metamorphic amplitude, is of a video-text model: the probabilities of
five sentences about time-lapse videos among ten, where only the five largest of
all count.

Trackers and models are the reader's; here they are arrays, or a file of what
they said (`score_file`). As a `Benchmark` an item is a caption, and a
completion the JSON of what they said of a video of it; the samples of an item
are its generations. Cost: `T N`.
"""

import json
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, check_record, from_records
from ttc.tasks import Item
from ttc.tasks.data_files import read_table, shorten

CAPTIONS = (
  Field('videoid'),
  Field('name'),  # the caption
  Field('type', optional=True),  # such as biological
)
SCHEMA = (
  Field('video_id'),
  Field('generation', int),
  Field('tracks', list, of=list),  # [T, N, 2], pixels
  Field('visibility', list, of=list),  # [T, N], 0 or 1
  Field('probabilities', list, of=float, optional=True),
)
# The sentences of the probabilities: five of ordinary videos, then five of
# time-lapse videos.
IS_TIME_LAPSE = (False,) * 5 + (True,) * 5

# Of the mean and the spread of what is missing, of how often, how many times
# and how much at most it jumps.
MAXIMA = (0.9368749857, 0.8997353911, 0.625, 20.0, 1.0)
WEIGHTS = (0.35, 0.25, 0.15, 0.15, 0.10)
JUMP = 0.1
GRID = 30  # points a side, in the paper
NUM_SENTENCES, NUM_KEPT = 10, 5


def chronomagic() -> Benchmark:
  """Makes the benchmark; the score is MTScore, and CHScore a part."""
  return Benchmark(
    name='chronomagic',
    title='ChronoMagic-Bench: Metamorphic Evaluation of Time-lapse Videos',
    paper='2406.18522',
    metric='MTScore',
    schema=CAPTIONS,
    load=from_records(
      CAPTIONS,
      lambda record: Item(
        record['videoid'], record['name'], '', {'type': record.get('type')}
      ),
    ),
    prompt=lambda item: item.question,
    grade=_grade,
    categories=lambda item: {'type': item.meta['type'] or 'any'},
    is_chat=False,
  )


class Coherence(NamedTuple):
  """CHScore and what it is made of, before division by maxima."""

  score: Float[Array, '']
  missing: Float[Array, ' T']  # m
  average: Float[Array, '']  # AMPR: mean of m
  variation: Float[Array, '']  # MPVR: standard deviation of d
  jump_share: Float[Array, '']  # FCR: jumps over frames
  jumps: Float[Array, '']  # CMPV: d above `JUMP`
  largest: Float[Array, '']  # MCMPV: the largest d


class VideoScore(NamedTuple):
  """Scores of one video of a file."""

  video_id: str
  generation: int
  coherence: float
  amplitude: float | None


def ch_score(
  tracks: Float[Array, 'T N 2'],
  visible: Bool[Array, 'T N'] | Float[Array, 'T N'],
  *,
  perfect_value: ArrayLike = 0.0,
) -> Coherence:
  r"""How coherent a video is, by the tracks of its points.

  .. math:: m_t = \frac{1}{N} \#\{n: o_{tn} = 0, \;
    \langle x_{tn} - x_{0n}, u_n \rangle \le 0\}

  Args:
    tracks: positions in pixels.
    visible: whether the tracker sees the point.
    perfect_value: the score where nothing is ever missing; the released code
      gives 0, though less missing is otherwise a higher score.
  """
  frames = tracks.shape[0]
  way = tracks[frames // 2] - tracks[0]
  norm = jnp.sqrt(jnp.sum(way**2, axis=-1, keepdims=True))
  forward = jnp.sum((tracks - tracks[0]) * (way / (norm + 1e-8)), axis=-1)
  lost = (jnp.asarray(visible, jnp.float32) == 0) & (forward <= 0)
  missing = lost.astype(jnp.float32).mean(axis=1)
  change = jnp.abs(jnp.diff(missing))
  jumps = jnp.sum(change > JUMP).astype(jnp.float32)
  parts = (
    missing.mean(),
    change.std(ddof=1),
    jumps / frames,
    jumps,
    change.max(),
  )
  total = sum(
    w * x / top for w, x, top in zip(WEIGHTS, parts, MAXIMA, strict=True)
  )
  score = jnp.where(
    total > 0, 1 / jnp.where(total > 0, total, 1), perfect_value
  )
  return Coherence(score, missing, *parts)


def mt_score(
  probabilities: Float[Array, '*B C'],
  is_time_lapse: Bool[Array, ' C'] | Sequence[bool],
  num_kept: int = NUM_KEPT,
) -> Float[Array, '*B']:
  """The amplitude of change: what is kept of time-lapse sentences.

  Args:
    probabilities: of the sentences, by a video-text model; sum to 1.
    is_time_lapse: which of the sentences speak of time-lapse videos.
    num_kept: of the largest count; static. Of equal ones the first.
  """
  order = jnp.argsort(-probabilities, axis=-1, stable=True)
  rank = jnp.argsort(order, axis=-1)
  kept = jnp.where(rank < num_kept, probabilities, 0.0)
  return jnp.sum(kept * jnp.asarray(is_time_lapse, jnp.float32), axis=-1)


def score_file(path: str | os.PathLike[str]) -> list[VideoScore]:
  """Scores what a tracker, and perhaps a video-text model, said of videos.

  Raises:
    ValueError: naming file, line and field.
  """
  rows = []
  for record in read_table(path, _check):
    coherence, amplitude = _scores(record)
    rows.append(
      VideoScore(record['video_id'], record['generation'], coherence, amplitude)
    )
  return rows


def _check(record: Record) -> None:
  """Refuses what is not of the schema, or has other shapes."""
  check_record(SCHEMA, record)
  _check_shapes(record)


def _check_shapes(record: Record) -> None:
  try:
    shapes = [np.shape(record[name]) for name in ('tracks', 'visibility')]
  except ValueError:  # rows of different lengths
    shapes = [(), ()]
  if len(shapes[0]) != 3 or shapes[0] != (*shapes[1], 2) or shapes[0][0] < 3:
    raise ValueError(
      f"fields 'tracks' and 'visibility' have the shapes {shapes[0]} and "
      f'{shapes[1]}; expected [T, N, 2] and [T, N] with 3 frames or more'
    )
  if not all(map(_is_pixel, np.ravel(record['tracks']).tolist())):
    raise ValueError("field 'tracks' has other values than finite numbers")
  if not set(np.ravel(record['visibility']).tolist()) <= {0, 1}:
    raise ValueError("field 'visibility' has other values than 0 and 1")
  found = record.get('probabilities')
  if found is not None and not all(0 <= x <= 1 for x in found):
    raise ValueError(
      f"field 'probabilities' is {shorten(found)}; expected numbers from 0 to 1"
    )
  if found is not None and len(found) != NUM_SENTENCES:
    raise ValueError(
      f"field 'probabilities' has {len(found)} numbers; expected "
      f'{NUM_SENTENCES}'
    )


def _is_pixel(value: Any) -> bool:
  return isinstance(value, int | float) and math.isfinite(value)


def _scores(record: Record) -> tuple[float, float | None]:
  """CHScore, and MTScore if there are probabilities."""
  tracks = jnp.asarray(record['tracks'], jnp.float32)
  visible = jnp.asarray(record['visibility'], jnp.float32)
  coherence = float(ch_score(tracks, visible).score)
  found = record.get('probabilities')
  if found is None:
    return coherence, None
  found = jnp.asarray(found, jnp.float32)
  return coherence, float(mt_score(found, IS_TIME_LAPSE))


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del item, judge
  try:
    said = json.loads(completion)
    if not isinstance(said, dict):
      raise ValueError('not an object')
    _check({'video_id': 'x', 'generation': 0, **said})
    coherence, amplitude = _scores(said)
  except (ValueError, TypeError, RecursionError) as error:
    text = ' '.join(f'{type(error).__name__}: {error}'.split())
    return Verdict(0.0, None, text[:200], {'CHScore': 0.0})
  score = min(max(amplitude or 0.0, 0.0), 1.0)
  parts = {'CHScore': round(coherence, 6)}  # what float32 can tell
  return Verdict(round(score, 6), None, 'tracks', parts)


def over_generations(
  scores: Float[Array, 'G V'],
) -> tuple[Float[Array, ''], Float[Array, ' G']]:
  """The mean over videos, then over generations; and that of each generation.

  Args:
    scores: of videos of each of three generations, in the paper.
  """
  by_generation = scores.mean(axis=1)
  return by_generation.mean(), by_generation


def render(
  tracks: Float[Array, 'T N 2'],
  visible: Bool[Array, 'T N'],
  size: int = 64,
) -> Float[Array, 'T size size']:
  """A toy video of points whose tracks are known: a bright spot for each.

  Args:
    tracks: positions (x, y) in pixels.
    visible: spots that are hidden are not drawn.
    size: of the frames, in pixels; static.
  """
  grid = jnp.arange(size, dtype=jnp.float32)
  near = lambda at: jnp.exp(-((grid - at[..., None]) ** 2) / 2)
  spots = (
    near(tracks[..., 1])[..., :, None] * near(tracks[..., 0])[..., None, :]
  )
  spots = spots * jnp.asarray(visible, jnp.float32)[..., None, None]
  return jnp.clip(spots.sum(axis=1), 0.0, 1.0)
