"""Metrics of the phases by hand, retrieval by hand, and two whole systems."""

import json
import math

import numpy as np
import pytest

from ttc.benchmarks.judges import no_judge
from ttc.benchmarks.quicker import (
  Phases,
  bm25_index,
  bm25_scores,
  bradley_terry,
  cohen_kappa,
  quicker,
  retrieval,
  run_phases,
  screening,
  set_overlap,
  summarize,
)
from ttc.benchmarks.quicker.phases import bm25_search

WORDS = ('aspirin headache relief', 'aspirin fever in children', 'statin heart')
RECORD = {
  'question_id': 'q1',
  'disease': 'headache',
  'question': 'Does aspirin help adults with headache against placebo?',
  'pico': {
    'P': 'adults with headache',
    'I': 'aspirin',
    'C': 'placebo',
    'O': ['pain', 'nausea'],
  },
  'included_ids': ['0'],
  'candidates': [
    {'id': str(i), 'title': text, 'abstract': '', 'label': i == 0}
    for i, text in enumerate(WORDS)
  ],
  'assessments': [
    {'item': 'Risk of bias of trial A', 'evidence': 'x', 'label': 'low'},
    {'item': 'Risk of bias of trial B', 'evidence': 'y', 'label': 'high'},
  ],
  'recommendation': {
    'text': 'Give it.',
    'direction': 'for',
    'strength': 'strong',
    'certainty': 'moderate',
  },
}
PERFECT = Phases(
  lambda record: record['pico'],
  lambda pico, candidates: [x['id'] for x in candidates if x['label']],
  lambda pico, candidate: candidate['label'],
  lambda assessment: assessment['label'],
  lambda record, studies: record['recommendation'],
)


def test_screening_of_all_and_of_the_right_ones():
  truth = [True, False, False, True, False]
  perfect = screening(truth, truth)
  assert (perfect.sensitivity, perfect.specificity, perfect.f1) == (1, 1, 1)
  assert cohen_kappa(truth, truth) == 1
  every = screening([True] * 5, truth)
  assert (every.sensitivity, every.specificity) == (1, 0)
  assert every.precision == 0.4 and every.number_needed_to_read == 2.5
  assert cohen_kappa([True] * 5, truth) == 0
  one = screening([True, True, False, False, False], truth)
  assert one == (1, 1, 1, 2) and one.f1 == 0.5
  # Agreement of 3/5 where chance gives 2/5 * 2/5 + 3/5 * 3/5 = 13/25.
  kappa = cohen_kappa([True, True, False, False, False], truth)
  assert kappa == pytest.approx((15 - 13) / (25 - 13))
  assert one.specificity == 2 / 3
  assert cohen_kappa(['x', 'x'], ['x', 'x']) == 1
  assert retrieval(['a', 'c'], ['a', 'b']) == (1, 1, 1, 0)
  with pytest.raises(ValueError, match='argument 2'):
    screening([True], truth)
  none = retrieval([], ['a'])
  assert math.isnan(none.number_needed_to_read)
  assert none.sensitivity == 0 and math.isnan(none.precision)
  assert retrieval(['b'], ['a']).number_needed_to_read == math.inf
  with pytest.raises(ValueError, match='1 labels against 0'):
    cohen_kappa([1], [])


def test_lists_are_matched_one_to_one():
  same = lambda a, b: a[0] == b[0]
  counts = set_overlap(['a1', 'a2', 'b'], ['a', 'b', 'c'], same)
  assert counts == (2, 1, 1, 0)
  assert set_overlap([], ['a'], same) == (0, 0, 1, 0)


def test_bm25_by_its_formula():
  index = bm25_index(WORDS)
  scores = bm25_scores(index, 'Headache, aspirin')
  weight = lambda n: math.log(1 + (3 - n + 0.5) / (n + 0.5))
  mean = (3 + 4 + 2) / 3
  part = lambda length: 2.2 / (1 + 1.2 * (0.25 + 0.75 * length / mean))
  np.testing.assert_allclose(
    scores, [(weight(1) + weight(2)) * part(3), weight(2) * part(4), 0]
  )
  assert bm25_search(RECORD['pico'], RECORD['candidates'], 2) == [
    '0',
    '1',
  ]
  empty = bm25_scores(bm25_index(['aspirin', '']), 'aspirin')
  np.testing.assert_allclose(
    empty, [math.log(2) * 2.2 / (1 + 1.2 * 1), 0], rtol=1e-6
  )
  with pytest.raises(ValueError, match='documents='):
    bm25_index([])


def test_strengths_from_preferences():
  # Three of four against each other: odds of 3, and 9 over two steps.
  wins = 1e6 * np.array([[0, 3, 9], [1, 0, 3], [1, 1, 0]])
  found = bradley_terry(wins)
  np.testing.assert_allclose(found[:-1] - found[1:], math.log(3), rtol=1e-3)
  assert abs(found.sum()) < 1e-9
  always = bradley_terry(np.array([[0.0, 5.0], [0.0, 0.0]]))
  assert np.isfinite(always).all() and always[0] > always[1]
  with pytest.raises(ValueError, match='expected a square of counts'):
    bradley_terry(-np.ones((2, 2)))


def test_systems_are_judged_phase_by_phase_and_end_to_end():
  figures = run_phases(RECORD, PERFECT)
  assert set(figures.values()) == {1.0}
  blind = PERFECT._replace(
    decompose=lambda record: {'P': 'Adults with headache.', 'O': ['pain', 'x']},
    search=bm25_search,
    screen=lambda pico, candidate: True,
    assess=lambda assessment: 'low',
    recommend=lambda record, studies: {
      'direction': 'against' if len(studies) > 1 else 'for',
      'strength': 'conditional',
    },
  )
  found = run_phases(RECORD, blind)
  assert found['pico precision'] == pytest.approx(2 / 3)
  assert found['pico recall'] == 2 / 5
  assert (found['search sensitivity'], found['search precision']) == (1, 1 / 2)
  assert found['number needed to read'] == 2
  assert found['screening sensitivity'] == 1
  assert found['screening specificity'] == 0 == found['screening kappa']
  assert found['assessment accuracy'] == 0.5 and found['assessment kappa'] == 0
  assert (found['direction'], found['strength']) == (1, 0)
  both = blind._replace(decompose=PERFECT.decompose)
  whole = run_phases(RECORD, both, end_to_end=True)
  # All that was found is kept, and two studies turn the advice.
  assert whole['screening specificity'] == 0 and whole['direction'] == 0
  means = summarize([figures, found, {'direction': math.nan}])
  assert means['direction'] == 1 and means['strength'] == 0.5


def test_questions_to_a_model(tmp_path):
  benchmark, path = quicker(), tmp_path / 'x.jsonl'
  path.write_text(json.dumps(RECORD) + '\n')
  items = benchmark.load(path)
  assert len(items) == 1 + 3 + 2 + 1 and items[1].id == 'q1/screen/0'
  right = [
    'P: adults with headache\nI: aspirin\nC: placebo\nO: pain; nausea',
    'Include.', 'exclude', 'No', 'low', 'High.', 'For, strong.',
  ]  # fmt: skip
  grade = lambda item, said: benchmark.grade(item, said, no_judge)
  good = [[grade(*pair)] for pair in zip(items, right, strict=True)]
  assert [row[0].score for row in good] == [1] * 7
  assert all(x in benchmark.prompt(items[1]) for x in ('aspirin', WORDS[0]))
  figures = benchmark.aggregate(items, good)
  assert set(figures.values()) == {1.0} and 'screening kappa' in figures
  silent = [[grade(item, '')] for item in items]
  assert [row[0].score for row in silent] == [0] * 7
  assert benchmark.aggregate(items, silent)['screening sensitivity'] == 0
  assert benchmark.aggregate(items, silent)['screening specificity'] == 0
  for change, said in (
    ({'pico': {'P': 'x'}}, "'pico' needs"),
    ({'included_ids': ['9']}, "'included_ids' has '9'"),
    ({'recommendation': {'direction': 'up'}}, "direction 'up'"),
    ({'candidates': [{'id': '0'}]}, "'candidates' has"),
    (
      {'candidates': [RECORD['candidates'][0] | {'label': 'exclude'}]},
      "'candidates' has the label 'exclude'",
    ),
    ({'disease': 1}, "'disease' is 1"),
  ):
    path.write_text(json.dumps(RECORD | change) + '\n')
    with pytest.raises(ValueError, match=f'x.jsonl.*1.*{said}'):
      benchmark.load(path)
