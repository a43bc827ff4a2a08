"""Metrics of video against closed forms and cases counted by hand."""

import json

import numpy as np
import pytest

from ttc.benchmarks.judges import no_judge
from ttc.benchmarks.perception_test import (
  Segment,
  Track,
  average_jaccard,
  average_precision,
  box_iou,
  hota,
  localisation_map,
  object_tracking,
  perception_test,
  visible_frames,
)

VIDEO = {
  'metadata': {'split': 'valid', 'num_frames': 90, 'cut_frame': 40},
  'mc_question': [
    {
      'id': 0,
      'question': 'What is under the cup?',
      'options': ['a ball', 'a coin', 'nothing'],
      'answer_id': 1,
      'area': 'memory',
      'reasoning': 'descriptive',
      'tag': ['object'],
    }
  ],
}


def boxes(lefts, width=0.2):
  lefts = np.asarray(lefts, float)
  low, high = np.full_like(lefts, 0.4), np.full_like(lefts, 0.6)
  return np.stack([lefts, low, lefts + width, high], axis=-1)


def test_iou_of_boxes():
  assert box_iou(boxes(0.1), boxes(0.1)) == pytest.approx(1)
  assert box_iou(boxes(0.1), boxes(0.2)) == pytest.approx(1 / 3)
  assert box_iou(boxes(0.1), boxes(0.5)) == 0
  assert box_iou(np.zeros(4), np.zeros(4)) == 0


def test_a_box_that_stays_has_a_closed_form():
  frames, speed, width = np.arange(9) * 5, 0.02, 0.2
  moving = boxes(0.1 + speed * np.arange(9), width)
  stays = {int(f): moving[0] for f in range(50)}
  shift = speed * np.arange(1, 9)
  expected = np.mean((width - shift) / (width + shift))
  track = Track(frames, moving, stays)
  assert object_tracking([[track]]) == pytest.approx(expected)
  exact = Track(frames, moving, dict(zip(frames.tolist(), moving, strict=True)))
  assert object_tracking([[exact]]) == pytest.approx(1)
  # Videos weigh alike, not tracks; a frame without prediction counts as 0.
  missing = Track(frames, moving, {})
  mean = object_tracking([[exact], [missing, missing, track]])
  assert mean == pytest.approx((1 + expected / 3) / 2)
  two = Track(frames[:2], moving[:2], stays)
  assert object_tracking([[two]]) == pytest.approx(0.18 / 0.22)
  with pytest.raises(ValueError, match='video 0'):
    object_tracking([[track._replace(frames=frames[:1], boxes=moving[:1])]])


def test_points_that_are_too_far_count_twice():
  points = np.full((1, 4, 2), 7.0)
  said = points + np.array([[[0, 0], [3, 0], [0, 0], [0, 0]]], float)
  hidden = np.array([[False, False, True, False]])
  said_hidden = np.array([[False, False, False, True]])
  # Frame 0 is right; 1 right above 3 pixels, else FP and FN; 2 FP; 3 FN.
  below, above = 1 / (1 + 2 + 2), 2 / (2 + 1 + 1)
  expected = (2 * below + 3 * above) / 5
  assert average_jaccard(points, hidden, said, said_hidden) == (
    pytest.approx(expected)
  )
  assert average_jaccard(points, hidden, points, hidden) == 1
  first = np.array([[True, False, False, False]])
  assert average_jaccard(points, hidden, said, said_hidden, first) == 1
  edge = np.array([[[1.0, 0.0]]])
  one = np.array([[False]])  # a distance of 1 is not below 1
  assert average_jaccard(np.zeros((1, 1, 2)), one, edge, one) == 0.8


def test_precision_over_recall():
  seg = Segment
  truth = [
    seg('v', 'a', 0.0, 10.0),
    seg('v', 'a', 20.0, 30.0),
    seg('w', 'a', 0.0, 10.0),
  ]
  said = [
    seg('v', 'a', 0.0, 9.0, 0.9),  # IoU .9
    seg('v', 'a', 0.0, 10.0, 0.8),  # the segment is taken, nothing else is near
    seg('v', 'a', 22.0, 32.0, 0.7),  # IoU 8 / 12
    seg('v', 'b', 20.0, 30.0, 0.99),
  ]
  # Precision 1 at the first hit and 2/3 at the second of three segments.
  labelled = [x for x in said if x.label == 'a']
  assert average_precision(truth, labelled, 0.5) == (
    pytest.approx((1 + 2 / 3) / 3)
  )
  assert average_precision(truth, labelled, 0.7) == pytest.approx(1 / 3)
  assert average_precision(truth, [], 0.5) == 0
  assert localisation_map(truth, truth) == 1
  # A label that is not annotated is not averaged.
  assert localisation_map(truth, said) == pytest.approx((1 + 2 / 3) / 3)
  low = [x._replace(score=-x.score) for x in labelled]
  # By falling score: a hit, one taken by the exact one, then a miss.
  assert average_precision(truth, low, 0.5) == pytest.approx((1 + 1) / 3)
  # The second hit of three counts as the third, which is more precise.
  late = [seg('u', 'a', 0.0, 1.0, x) for x in (0.7, 0.6)]
  late += [
    x._replace(score=y) for x, y in zip(truth, (0.9, 0.5, 0.4), strict=True)
  ]
  assert average_precision(truth, late, 0.5) == pytest.approx(
    (1 + 0.6 + 0.6) / 3
  )
  instant = [seg('v', 'a', 1.0, 1.0)]
  assert average_precision(instant, instant, 0.5) == 0
  with pytest.raises(ValueError, match='truth='):
    localisation_map([], said)


def test_hota_of_switches_and_misses():
  frames = [{1: boxes(0.1), 2: boxes(0.6)} for _ in range(4)]
  assert hota(frames, frames) == pytest.approx((1, 1, 1))
  # Tracks change their names in the middle: detection is perfect, and of each
  # matched pair 2 frames are joint of 4 + 4 - 2.
  swapped = [*frames[:2], *({1: f[2], 2: f[1]} for f in frames[2:])]
  assert hota(frames, swapped) == pytest.approx(((1 / 3) ** 0.5, 1, 1 / 3))
  # One of two is never found.
  half = [{1: f[1]} for f in frames]
  assert hota(frames, half) == pytest.approx((0.5**0.5, 0.5, 1))
  # IoU of 1/3 counts at the thresholds .05 to .3, six of nineteen.
  off = [{1: boxes(0.2), 2: boxes(0.7)} for _ in range(4)]
  assert hota(frames, off).hota == pytest.approx(6 / 19)
  # A track that is always near is the match also where another is nearer.
  one = [{1: boxes(0.1)} for _ in range(4)]
  near = [
    {7: boxes(0.145)} | ({8: boxes(0.11)} if t == 0 else {}) for t in range(4)
  ]
  assert hota(one, near) == pytest.approx(
    (12 / 19 * 0.8**0.5, 12 / 19 * 0.8, 12 / 19)
  )
  assert hota([{}], [{}]).hota == 1 and hota(frames, [{}] * 4).hota == 0


def test_questions(tmp_path):
  benchmark, path = perception_test(), tmp_path / 'x.json'
  path.write_text(json.dumps({'video_1': VIDEO, 'video_2': VIDEO}))
  items = benchmark.load(path)
  assert [x.id for x in items] == ['video_1#0', 'video_2#0']
  assert 'B. a coin' in benchmark.prompt(items[0])
  assert benchmark.cluster(items[0]) == 'video_1'
  assert visible_frames(VIDEO) == 40
  grade = lambda said: benchmark.grade(items[0], said, no_judge)
  assert grade('The answer is (B).').score == 1 and grade('C').score == 0
  assert grade('').extracted is None
  verdicts = [[grade('B'), grade('A')], [grade('B')]]
  assert benchmark.aggregate(items, verdicts) == {'top-1': 0.75}
  question = VIDEO['mc_question'][0]
  for broken, said in (
    ({'v': {}}, "'metadata' is missing"),
    ([], 'expected an object of videos'),
    ({'v': VIDEO | {'mc_question': [question] * 2}}, "key 'v#0'"),
    *(
      ({'v': VIDEO | {'mc_question': [question | change]}}, text)
      for change, text in (
        ({'answer_id': 3}, "'v'.*'answer_id' is 3"),
        ({'options': ['x']}, "'options' has 1"),
        ({'question': ''}, "'question' is ''"),
      )
    ),
  ):
    path.write_text(json.dumps(broken))  # an object of videos
    with pytest.raises(ValueError, match=f'x.json.*{said}'):
      benchmark.load(path)
  path.write_text('{')
  with pytest.raises(ValueError, match='not JSON'):
    benchmark.load(path)
