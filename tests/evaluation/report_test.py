"""tabulate and the report, on records whose answers are known by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import evaluation, search, tasks
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


def score(item, index, extracted, right, cluster=None):
  return ScoreRecord(
    item_id=item,
    sample_idx=index,
    grader='g',
    grader_version='1',
    extracted=extracted,
    score=float(right),
    cluster_id=cluster or extracted,
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
  np.testing.assert_array_equal(table.samples.answers, [[0, 1], [-1, 0]])
  np.testing.assert_array_equal(table.samples.lengths, [[3, 4], [5, 3]])
  np.testing.assert_array_equal(
    table.samples.finished, [[True, True], [False, True]]
  )
  np.testing.assert_array_equal(table.correct, [[True, False], [False, False]])
  np.testing.assert_array_equal(table.flops, [[300, 400], [500, 300]])

  np.testing.assert_array_equal(table.gold, [[True, False], [False, False]])


def test_votes_do_not_look_at_the_gold_answer():
  """Four spellings of a wrong number outvote three of the right one."""
  right, wrong = ['12', '12.00', '$12'], ['1500', '1,500', '$1500', '1500.0']
  texts = [*right, *wrong]
  scores = [
    dataclasses.replace(score('a', i, text, text in right), cluster_id=None)
    for i, text in enumerate(texts)
  ]
  same = {'g': tasks.graders.same_number}
  clustered = evaluation.cluster_scores(scores, same)
  assert [s.cluster_id for s in clustered] == 3 * ['12'] + 4 * ['1500']
  table = evaluation.tabulate([sample('a', i) for i in range(7)], clustered)
  np.testing.assert_array_equal(table.samples.answers, [[0] * 3 + [1] * 4])
  np.testing.assert_array_equal(table.gold, [[True, False]])
  curve = evaluation.scaling_curve(
    jax.random.key(0),
    search.majority_vote,
    jax.tree.map(jnp.asarray, table.samples),
    jnp.asarray(table.gold),
    jnp.array([7]),
    10,
  )
  assert curve.accuracy[0, 0] == 0.0
  # What is right does not change how answers are counted.
  turned = [dataclasses.replace(s, score=1 - s.score) for s in clustered]
  other = evaluation.tabulate([sample('a', i) for i in range(7)], turned)
  np.testing.assert_array_equal(other.samples.answers, table.samples.answers)
  np.testing.assert_array_equal(other.gold, [[False, True]])


def test_clusters_grow_with_a_run_and_keep_their_names():
  same = {'g': tasks.graders.same_number}
  bare = lambda i, text: dataclasses.replace(
    score('a', i, text, False), cluster_id=None
  )
  texts = ['7.0', None, '8', '7', '8.00']
  scores = [bare(i, text) for i, text in enumerate(texts)]
  whole = evaluation.cluster_scores(scores, same)
  assert [s.cluster_id for s in whole] == ['7.0', None, '8', '7.0', '8']
  assert evaluation.cluster_scores(scores[::-1], same) == whole[::-1]
  first = evaluation.cluster_scores(scores[:2], same)
  assert first + evaluation.cluster_scores(scores[2:], same, first) == whole
  assert evaluation.cluster_scores(whole, {}) == whole
  with pytest.raises(ValueError, match=r"a by 'g' have no cluster_id"):
    evaluation.cluster_scores(scores, {})


def test_right_answers_in_several_clusters_and_in_none():
  samples = [sample('a', i) for i in range(5)]
  scores = [
    score('a', 0, 'x', True),
    score('a', 1, 'y', True),
    score('a', 2, None, True),
    score('a', 3, None, False),
    score('a', 4, 'y2', False, 'y'),  # the grader says otherwise
  ]
  table = evaluation.tabulate(samples, scores)
  np.testing.assert_array_equal(table.samples.answers, [[0, 1, 2, -1, 1]])
  np.testing.assert_array_equal(table.gold, [[True, True, True]])
  np.testing.assert_array_equal(table.correct, [[1, 1, 1, 0, 0]])
  old = dataclasses.replace(scores[0], cluster_id=None)
  with pytest.raises(ValueError, match='sample 0 of a has no cluster_id'):
    evaluation.tabulate(samples, [old, *scores[1:]])


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
