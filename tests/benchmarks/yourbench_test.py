"""Grounding, duplicates and ranks, against counting by hand."""

import json

import jax
import numpy as np
import pytest

from ttc.benchmarks.judges import from_function, no_judge
from ttc.benchmarks.text_likeness import partial_ratio
from ttc.benchmarks.yourbench import (
  Question,
  bag_of_words,
  build,
  chunk_groups,
  chunk_semantic,
  chunk_tokens,
  citation_score,
  dbscan,
  deduplicate,
  grounding,
  rank_validity,
  weighted_accuracy,
  yourbench,
)
from ttc.testbeds import fact_sheets

Q = Question
RNG = np.random.default_rng(0)


def lcs(a, b):
  """The plain recurrence."""
  table = np.zeros((len(a) + 1, len(b) + 1), int)
  for i, x in enumerate(a):
    for j, y in enumerate(b):
      table[i + 1, j + 1] = (
        table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
      )
  return table[-1, -1]


def plain_ratio(a, b):
  """All windows, and those that the ends cut, of either text."""
  if not a or not b:
    return 100.0 * (a == b)
  short, long = sorted((a, b), key=len)
  pairs = [(short, long)] + [(long, short)] * (len(a) == len(b))
  return max(
    200 * lcs(s, w) / (len(s) + len(w))
    for s, t in pairs
    for i in range(1 - len(s), len(t))
    if (w := t[max(i, 0) : i + len(s)])
  )


def words(length):
  return ''.join(RNG.choice(list('abcd '), size=length))


def test_partial_ratio_is_the_best_window():
  assert partial_ratio('abc', 'xxabcxx') == 100
  assert partial_ratio('', '') == 100
  assert partial_ratio('', 'x') == 0
  assert partial_ratio('abcd', 'zzz') == 0
  # One letter of four is another: 2 * 3 / 8.
  assert partial_ratio('abcd', 'xxabxdxx') == 75
  for _ in range(150):
    a, b = words(RNG.integers(1, 9)), words(RNG.integers(1, 25))
    assert partial_ratio(a, b) == pytest.approx(plain_ratio(a, b))
    assert partial_ratio(b, a) == partial_ratio(a, b)


def test_citations_are_grounded_in_their_best_chunk():
  chunks = ['the cat sat on the mat', 'a dog ran']
  assert citation_score(['cat sat', 'dog ran'], chunks) == 1
  assert citation_score(['cat sat', 'qqqq'], chunks) == 0.5
  assert citation_score([], chunks) == 0
  question = Q('q', 'cat', ('the cat',), tuple(chunks))
  # All of the citation is in a chunk, and all of the answer in the citation.
  assert grounding(question) == 1
  other = question._replace(answer='zzz')
  assert grounding(other) == pytest.approx(0.7)


def test_chunks_cover_the_text():
  text = ' '.join(map(str, range(10)))
  assert chunk_tokens(text, 4, 1) == ['0 1 2 3', '3 4 5 6', '6 7 8 9']
  assert chunk_tokens('', 4) == ['']
  with pytest.raises(ValueError, match='overlap=4 of size=4'):
    chunk_tokens(text, 4, 4)
  story = 'The red cat. A red cat. Stocks fell! Stocks fell today.'
  embed = bag_of_words
  assert chunk_semantic(story, embed, 0.3) == [
    'The red cat. A red cat.',
    'Stocks fell! Stocks fell today.',
  ]
  assert chunk_semantic('', embed, 0.3) == []
  groups = chunk_groups(jax.random.key(0), 5, 3, 20)
  assert groups.shape == (20, 3) and all(
    len(set(g)) == 3 for g in groups.tolist()
  )
  with pytest.raises(ValueError, match='hops=6'):
    chunk_groups(jax.random.key(0), 5, 6, 1)


def test_dbscan_by_hand_and_beside_another():
  points = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 9.0])
  distances = np.abs(points[:, None] - points)
  assert dbscan(distances, 0.11, 2).tolist() == [0, 0, 0, 1, 1, -1]
  # With three, the ends of the first are near its core, and no cores.
  assert dbscan(distances, 0.11, 3).tolist() == [0, 0, 0, -1, -1, -1]
  cluster = pytest.importorskip('sklearn.cluster')
  for seed in range(5):
    points = np.random.default_rng(seed).normal(size=(60, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    theirs = cluster.DBSCAN(eps=0.3, min_samples=4, metric='precomputed')
    expected = theirs.fit(distances).labels_
    ours = dbscan(distances, 0.3, 4)
    np.testing.assert_array_equal(ours == -1, expected == -1)
    cores = (distances <= 0.3).sum(axis=1) >= 4
    np.testing.assert_array_equal(ours[cores], expected[cores])


def test_duplicates_weigh_as_the_root_of_their_number():
  vectors = {
    'a': (1.0, 0.0), 'b': (0.99, 0.14), 'c': (0.99, -0.14), 'd': (0.0, 1.0),
  }  # fmt: skip
  embed = lambda texts: np.array([vectors[t[0]] for t in texts])
  questions = [Q(x, 'y', (), (), 'k') for x in 'bacd']
  kept = deduplicate(questions, embed, 0.02)
  assert [(q.text, q.weight) for q in kept] == [
    ('a', pytest.approx(3**0.5)), ('d', 1.0)
  ]  # fmt: skip
  # Another kind is another set.
  apart = [q._replace(kind=q.text) for q in questions]
  assert [q.weight for q in deduplicate(apart, embed, 0.02)] == [1.0] * 4
  assert weighted_accuracy([3.0, 1.0], [1.0, 0.0]) == 0.75


def test_the_pipeline_keeps_what_is_true():
  import random

  known, rng = fact_sheets.facts(0, 4), random.Random(0)
  true = [
    fact_sheets.question(known, i, j, rng) for i in range(4) for j in (0, 1)
  ]
  false = [fact_sheets.question(known, i, 2, rng, 0.3) for i in range(4)]
  built = build(
    [[str(i)] for i in range(12)],
    lambda group: [[*true, *false][int(group[0])]],
    bag_of_words,
    epsilon=0.02,
  )
  assert {q.text for q in built} == {q.text for q in true}


def test_ranks_of_models():
  key = jax.random.key(0)
  skill = np.array([0.2, 0.4, 0.6, 0.8])
  scores = (np.linspace(0, 1, 200)[None] < skill[:, None]).astype(np.float32)
  same = rank_validity(key, scores, skill)
  assert same.spearman == same.kendall == 1 and 0.9 < same.low <= same.high == 1
  assert rank_validity(key, scores, -skill).spearman == -1
  one = rank_validity(key, scores, skill[[1, 0, 2, 3]])
  # One pair of six is turned: 1 - 6 * 2 / (4 * 15), and (5 - 1) / 6.
  assert one.spearman == pytest.approx(0.8)
  assert one.kendall == pytest.approx(4 / 6)
  with pytest.raises(ValueError, match='at least two'):
    rank_validity(key, scores[:1], skill[:1])


def test_the_benchmark_of_a_generated_set(tmp_path):
  benchmark, path = yourbench(), tmp_path / 'x.jsonl'
  record = {
    'question_id': 'q1',
    'question': 'Who?',
    'self_answer': 'Ines Varga',
    'citations': ['by Ines'],
    'chunks': ['built by Ines Varga'],
    'weight': 2.0,
  }
  path.write_text(json.dumps(record) + '\n')
  (item,) = benchmark.load(path)
  assert item.meta['grounded'] == 1 and 'Who?' in benchmark.prompt(item)
  right = benchmark.grade(item, 'ines varga.', no_judge)
  assert (right.score, right.detail) == (1, 'exact')
  yes = benchmark.grade(item, 'It was Ines', from_function(lambda p: 'Yes.'))
  no = benchmark.grade(item, 'Bob', from_function(lambda p: 'no, it was Ines'))
  assert (yes.score, no.score, no.parts['token F1']) == (1, 0, 0)
  assert benchmark.grade(item, '<think>x</think>', no_judge).score == 0
  other = item._replace(meta=item.meta | {'weight': 1.0})
  figures = benchmark.aggregate([item, other], [[right, no], [no]])
  assert figures['weighted accuracy'] == pytest.approx(1 / 3)
  assert figures['accuracy'] == 0.25
  path.write_text(json.dumps(record | {'weight': 0.0}) + '\n')
  with pytest.raises(ValueError, match=r"x.jsonl.*'weight' is 0.0"):
    benchmark.load(path)


@pytest.mark.oracle
def test_partial_ratio_beside_rapidfuzz():
  fuzz = pytest.importorskip('rapidfuzz.fuzz')
  for _ in range(2000):
    a, b = words(RNG.integers(1, 30)), words(RNG.integers(1, 90))
    assert partial_ratio(a, b) == pytest.approx(fuzz.partial_ratio(a, b))
