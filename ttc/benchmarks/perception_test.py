r"""Perception Test: memory, abstraction, physics and semantics in video.

Patraucean et al., "Perception Test: A Diagnostic Benchmark for Multimodal Video
Models", 2023, arXiv 2305.13786. Multiple-choice questions with three options
are a `Benchmark`, as a model of text sees them; the other tasks are metrics on
arrays:

- object tracking: mean IoU after the first box, over frames, tracks, videos;
- point tracking: average Jaccard of TAP-Vid (Doersch et al., 2022, 2211.03726)
  over thresholds of 1 to 16 pixels at 256 x 256;
- localisation of actions and sounds: mean average precision over temporal IoU
  thresholds of .1 to .5 (the thresholds are from memory);
- grounded questions: HOTA (Luiten et al., 2021, 2009.07736).

Cost: HOTA takes an assignment for each frame; the others are sums.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, check_record, from_records
from ttc.tasks import Item, graders

SCHEMA = (
  Field('video_id'),
  Field('metadata', dict),  # split, num_frames, resolution, frame_rate
  Field('mc_question', list, of=dict),
)
QUESTION = (
  Field('id', int),
  Field('question'),
  Field('options', list, of=str),
  Field('answer_id', int),
  Field('area', optional=True),
  Field('reasoning', optional=True),
  Field('tag', list, of=str, optional=True),
)
LETTERS = 'ABC'
POINT_THRESHOLDS = (1, 2, 4, 8, 16)  # pixels
TIME_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
ALPHAS = tuple(float(x) for x in np.arange(1, 20) / 20)


Box: TypeAlias = Sequence[float] | np.ndarray  # x1, y1, x2, y2


class Track(NamedTuple):
  """An annotated track of boxes, and what a tracker said."""

  frames: Int[np.ndarray, ' F']  # that are annotated
  boxes: Float[np.ndarray, 'F 4']
  predicted: Mapping[int, Box]  # by frame


class Segment(NamedTuple):
  """A predicted or annotated stretch of a video."""

  video: str
  label: str
  start: float  # seconds
  end: float
  score: float = 1.0  # of predictions


class Hota(NamedTuple):
  """HOTA and its two sides, means over thresholds."""

  hota: float
  detection: float
  association: float


def perception_test() -> Benchmark:
  """Makes the benchmark of questions; a cluster is a video."""
  return Benchmark(
    name='perception_test',
    title='Perception Test: A Diagnostic Benchmark for Multimodal Video Models',
    paper='2305.13786',
    metric='top-1',
    schema=SCHEMA,
    load=_load,
    prompt=_prompt,
    grade=_grade,
    aggregate=lambda items, verdicts: {
      'top-1': float(np.mean([np.mean([x.score for x in v]) for v in verdicts]))
    },
    cluster=lambda item: item.meta['video'],
    categories=lambda item: {
      'area': item.meta['area'],
      'reasoning': item.meta['reasoning'],
    },
    max_new_tokens=64,
  )


def visible_frames(annotation: Mapping[str, Any]) -> int:
  """Frames of a clip that do not give the answer away (`cut_frame`)."""
  metadata = annotation['metadata']
  return int(metadata.get('cut_frame') or metadata['num_frames'])


def box_iou(
  a: Float[np.ndarray, '... 4'], b: Float[np.ndarray, '... 4']
) -> Float[np.ndarray, '...']:
  """Intersection over union of boxes (x1, y1, x2, y2); 0 of empty ones."""
  low = np.maximum(a[..., :2], b[..., :2])
  high = np.minimum(a[..., 2:], b[..., 2:])
  shared = np.prod(np.maximum(high - low, 0), axis=-1)
  size = lambda x: np.prod(np.maximum(x[..., 2:] - x[..., :2], 0), axis=-1)
  union = size(a) + size(b) - shared
  return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def object_tracking(videos: Sequence[Sequence[Track]]) -> float:
  """Mean over videos of the mean over tracks of mean IoU.

  Args:
    videos: tracks of each. The first annotated box is given to the tracker and
      does not count; predictions of frames without annotation are ignored, and
      frames without prediction count as 0.

  Raises:
    ValueError: at a video without a track of two annotated frames.
  """
  means = []
  for number, tracks in enumerate(videos):
    each = []
    for frames, boxes, predicted in tracks:
      if len(frames) < 2:
        continue
      nothing = np.zeros(4)
      said = np.array(
        [predicted.get(int(f), nothing) for f in frames[1:]], float
      )
      each.append(box_iou(np.asarray(boxes[1:], float), said).mean())
    if not each:
      raise ValueError(
        f'video {number} has no track with two annotated frames to score'
      )
    means.append(np.mean(each))
  return float(np.mean(means))


def average_jaccard(
  points: Float[np.ndarray, 'N T 2'],
  occluded: Bool[np.ndarray, 'N T'],
  said: Float[np.ndarray, 'N T 2'],
  said_occluded: Bool[np.ndarray, 'N T'],
  counts: Bool[np.ndarray, 'N T'] | None = None,
) -> float:
  r"""How well points are tracked and known to be hidden.

  .. math:: J_\delta = TP / (TP + FP + FN)

  over points that are visible and predicted to be, within :math:`\delta`. One
  that is visible and predicted too far off is both a false positive and a false
  negative.

  Args:
    points: annotated positions, in pixels at 256 x 256.
    occluded: annotated.
    said: predicted positions.
    said_occluded: predicted.
    counts: frames that are evaluated; None for all.
  """
  mask = np.ones(occluded.shape, bool) if counts is None else counts
  distance = np.linalg.norm(points - said, axis=-1)
  visible, shown = ~occluded & mask, ~said_occluded & mask
  values = []
  for threshold in POINT_THRESHOLDS:
    within = distance < threshold
    hits = (visible & shown & within).sum()
    false = (shown & ~(visible & within)).sum()
    missed = (visible & ~(shown & within)).sum()
    total = hits + false + missed
    values.append(hits / total if total else 1.0)
  return float(np.mean(values))


def average_precision(
  truth: Sequence[Segment], predicted: Sequence[Segment], threshold: float
) -> float:
  """Area under the interpolated precision of segments of one label.

  Predictions are matched by falling score, each with the segment of its video
  with which its IoU is largest among those that are left, if it is at least the
  threshold; without one it is false.
  """
  if not truth:
    return float('nan')
  ranked = sorted(predicted, key=lambda x: -x.score)
  taken: set[int] = set()
  hits = []
  for guess in ranked:
    iou, index = max(
      (
        (_time_iou(guess, x), -i)
        for i, x in enumerate(truth)
        if x.video == guess.video and i not in taken
      ),
      default=(0.0, 0),
    )
    hits.append(iou >= threshold)
    if hits[-1]:
      taken.add(-index)
  right = np.cumsum(hits)
  precision = right / np.arange(1, len(hits) + 1)
  best = np.maximum.accumulate(precision[::-1])[::-1] if hits else precision
  return float(np.sum(best[np.array(hits, bool)]) / len(truth))


def localisation_map(
  truth: Sequence[Segment],
  predicted: Sequence[Segment],
  thresholds: Sequence[float] = TIME_THRESHOLDS,
) -> float:
  """Mean over thresholds and over the labels that are annotated."""
  labels = sorted({x.label for x in truth})
  if not labels:
    raise ValueError('truth=[] is empty; expected annotated segments')
  of = lambda rows, label: [x for x in rows if x.label == label]
  return float(
    np.mean(
      [
        average_precision(of(truth, x), of(predicted, x), threshold)
        for threshold in thresholds
        for x in labels
      ]
    )
  )


def hota(
  truth: Sequence[Mapping[int, Box]],
  predicted: Sequence[Mapping[int, Box]],
) -> Hota:
  r"""Higher-order tracking accuracy of boxes.

  .. math:: \text{HOTA} = \text{mean}_\alpha
    \sqrt{\text{DetA}_\alpha \text{AssA}_\alpha}

  In each frame boxes are matched so that the sum of the tracks' likeness over
  the video times the boxes' IoU is largest; at each alpha the pairs count whose
  IoU is as much, as in the released code (TrackEval).

  Args:
    truth: of each frame the boxes by track.
    predicted: likewise.
  """
  from scipy import optimize

  ids = sorted({i for frame in truth for i in frame})
  said_ids = sorted({i for frame in predicted for i in frame})
  seen = np.array([[i in frame for i in ids] for frame in truth], bool)
  shown = np.array(
    [[i in frame for i in said_ids] for frame in predicted], bool
  )
  if not ids or not said_ids:
    perfect = float(not ids and not said_ids)
    return Hota(perfect, perfect, perfect)
  similar = np.zeros((len(truth), len(ids), len(said_ids)))
  for t, (frame, said) in enumerate(zip(truth, predicted, strict=True)):
    for i, track in enumerate(ids):
      for j, other in enumerate(said_ids):
        if track in frame and other in said:
          similar[t, i, j] = box_iou(
            np.asarray(frame[track], float), np.asarray(said[other], float)
          )
  # Likeness of tracks: the soft count of common frames, over all of either.
  rows, columns = similar.sum(2, keepdims=True), similar.sum(1, keepdims=True)
  union = rows + columns - similar
  soft = np.where(
    union > 1e-12, similar / np.where(union > 0, union, 1), 0
  ).sum(0)
  lengths, said_lengths = seen.sum(0), shown.sum(0)
  alike = soft / (lengths[:, None] + said_lengths[None] - soft)
  pairs = [optimize.linear_sum_assignment(-alike * frame) for frame in similar]
  detection, association, both = [], [], []
  for alpha in ALPHAS:
    matches = np.zeros((len(ids), len(said_ids)))
    for frame, (i, j) in zip(similar, pairs, strict=True):
      keep = frame[i, j] >= alpha - 1e-12
      matches[i[keep], j[keep]] += 1
    hits = matches.sum()
    union = lengths[:, None] + said_lengths[None] - matches
    detection.append(hits / (seen.sum() + shown.sum() - hits))
    association.append((matches**2 / union).sum() / max(hits, 1))
    both.append((detection[-1] * association[-1]) ** 0.5)
  mean = lambda x: float(np.mean(x))
  return Hota(mean(both), mean(detection), mean(association))


def _time_iou(a: Segment, b: Segment) -> float:
  shared = max(0.0, min(a.end, b.end) - max(a.start, b.start))
  union = (a.end - a.start) + (b.end - b.start) - shared
  return shared / union if union > 0 else 0.0


def _load(path: str | os.PathLike[str]) -> list[Item]:
  """Questions of JSONL, or of the published object of videos by their ids."""
  if not str(path).endswith('.json'):
    return _from_lines(path)
  try:
    videos = json.loads(pathlib.Path(path).read_text('utf-8'))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f'{path}: not JSON: {error}') from None
  if not isinstance(videos, dict):
    raise ValueError(f'{path}: expected an object of videos by their ids')
  items: dict[str, Item] = {}
  for video, annotation in videos.items():
    try:
      record = {**annotation, 'video_id': video}
      check_record(SCHEMA, record)
      items |= {item.id: item for item in _to_items(record)}
    except (ValueError, TypeError) as error:
      raise ValueError(f'{path}: video {video!r}: {error}') from None
  return list(items.values())


def _to_items(record: Record) -> list[Item]:
  items = []
  for question in record['mc_question']:
    check_record(QUESTION, question)
    items.append(_to_item(record['video_id'], record['metadata'], question))
    if items[-1].id in (item.id for item in items[:-1]):
      raise ValueError(
        f'the key {items[-1].id!r} is that of an earlier question'
      )
  return items


def _to_item(video: str, metadata: Mapping[str, Any], record: Any) -> Item:
  if len(record['options']) != len(LETTERS):
    raise ValueError(
      f"field 'options' has {len(record['options'])} entries; expected "
      f'{len(LETTERS)}'
    )
  if not 0 <= record['answer_id'] < len(LETTERS):
    raise ValueError(
      f"field 'answer_id' is {record['answer_id']}; expected 0, 1 or 2"
    )
  meta = {
    'video': video,
    'options': record['options'],
    'area': record.get('area') or 'any',
    'reasoning': record.get('reasoning') or 'any',
    'frames': metadata.get('cut_frame') or metadata.get('num_frames'),
  }
  return Item(
    f'{video}#{record["id"]}',
    record['question'],
    LETTERS[record['answer_id']],
    meta,
  )


def _prompt(item: Item) -> str:
  options = zip(LETTERS, item.meta['options'], strict=True)
  lines = ''.join(f'{letter}. {text}\n' for letter, text in options)
  return f'{item.question}\n{lines}Answer with the letter of the right option.'


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  found = graders.multiple_choice(item.answer, completion)
  return Verdict(found.score, found.extracted, found.detail)


_from_lines = from_records(SCHEMA, _to_items)
