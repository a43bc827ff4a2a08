"""tabulate and the report, on records whose answers are known by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import evaluation
from ttc.evaluation import Curve, SampleRecord, ScoreRecord


def sample(item, index, tokens=3, reason='stop'):
  return SampleRecord(
    item_id=item,
    sample_idx=index,
    seed=0,
    prompt_hash='',
    prompt_tokens=10,
    completion_tokens=tokens,
    completion='',
    finish_reason=reason,
    sum_logprob=-1.5 * tokens,
    mean_logprob=-1.5,
    flops_est=100.0 * tokens,
  )


def score(item, index, extracted, right):
  return ScoreRecord(
    item_id=item,
    sample_idx=index,
    grader='g',
    grader_version='1',
    extracted=extracted,
    score=float(right),
  )


SAMPLES = [sample('b', 1), sample('a', 0), sample('b', 0, 5, 'length')]
SAMPLES += [sample('a', 1, 4)]
SCORES = [
  score('a', 0, '7', True),
  score('a', 1, '8', False),
  score('b', 0, None, False),
  score('b', 1, '8', False),
]


def test_records_become_arrays_by_item_and_index():
  table = evaluation.tabulate(SAMPLES, SCORES)
  assert table.item_ids == ['a', 'b']
  np.testing.assert_array_equal(table.samples.answers, [[0, 1], [-1, 1]])
  np.testing.assert_array_equal(table.samples.lengths, [[3, 4], [5, 3]])
  np.testing.assert_array_equal(
    table.samples.finished, [[True, True], [False, True]]
  )
  np.testing.assert_array_equal(table.correct, [[True, False], [False, False]])
  np.testing.assert_array_equal(table.flops, [[300, 400], [500, 300]])


def test_equally_right_texts_are_one_answer():
  scores = [*SCORES[:1], score('a', 1, '7.0', True), *SCORES[2:]]
  table = evaluation.tabulate(SAMPLES, scores)
  np.testing.assert_array_equal(table.samples.answers[0], [0, 0])


def test_missing_samples_and_grades_are_named():
  with pytest.raises(ValueError, match=r'items have \[1, 2\] samples'):
    evaluation.tabulate(SAMPLES[1:], SCORES)
  with pytest.raises(ValueError, match='sample 1 of b has 0 grades'):
    evaluation.tabulate(SAMPLES, SCORES[:3])
  with pytest.raises(ValueError, match='sample 0 of a has 2 grades'):
    evaluation.tabulate(SAMPLES, [*SCORES, SCORES[0]])


def test_summary_and_report():
  curve = Curve(
    accuracy=jnp.array([[0.0, 1.0], [0.5, 1.0]]),
    tokens=jnp.array([[4.0, 8.0], [6.0, 10.0]]),
    depth=jnp.array([[4.0, 4.0], [6.0, 6.0]]),
  )
  summary = evaluation.summarize_curve(
    jax.random.key(0), curve, np.array([10.0, 20.0]), 500
  )
  np.testing.assert_allclose(summary.accuracy, [0.25, 1.0])
  np.testing.assert_allclose(summary.flops, [80.0, 140.0])  # (40 + 120) / 2
  assert summary.low[0] == 0.0 and summary.high[0] == 0.5
  assert summary.low[1] == summary.high[1] == 1.0
  assert evaluation.scalars(summary, 1, 'x/')['x/tokens'] == 9.0
  text = evaluation.markdown_report(
    'run',
    [1, 2],
    {'t': evaluation.TaskSummary({'vote': summary}, 2, 2, 10.0, {'stop': 1.0})},
  )
  assert '| vote | 25.0 [0.0, 50.0] | 100.0 [100.0, 100.0] | 9 |' in text
