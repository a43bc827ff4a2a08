"""Every answer is true when the sentences are read back."""

import collections
import json
import random

import pytest

from ttc import benchmarks, tasks
from ttc.benchmarks import dyval_graphs, judges


@pytest.mark.parametrize('kind', dyval_graphs.KINDS)
def test_answers_are_true_at_every_complexity(kind):
  answers = collections.Counter()
  for depth in (2, 3, 4):
    for seed in range(12):
      rng = random.Random(f'{depth}/{seed}')
      problem = dyval_graphs.draw_problem(
        kind, rng, depth, children=1 + seed % 3 if kind != 'linear' else 2,
        extra_links=seed % 4, distractors=seed % 3,
      )  # fmt: skip
      said = list(problem.sentences)
      rng.shuffle(said)
      read = dyval_graphs.read_back(kind, ' '.join(said), problem.question)
      assert read == problem.answer, problem
      answers[problem.answer] += 1
  if kind in ('boolean', 'deductive', 'reachability'):
    assert set(answers) == {'True', 'False'}
    assert min(answers.values()) > 6
  if kind == 'max_sum_path':
    assert 6 < answers['N/A'] < 30


def test_reading_back_finds_what_is_false():
  text = 'n101 is 3. n102 is 4. n103 is the difference of n101, n102.'
  read = lambda kind, text, question: dyval_graphs.read_back(
    kind, text, question
  )
  assert read('arithmetic', text, 'What is n103?') == '-1'
  text = text.replace('difference', 'product')
  assert read('arithmetic', text, 'What is n103?') == '12'
  text = (
    'It is True that n101 holds. It is False that n102 holds. If any of n101, '
    'n102 holds then n103 holds, and only then. If n103 does not hold then '
    'n104 holds, and only then.'
  )
  ask = 'Is it True or False that {} holds?'
  assert read('deductive', text, ask.format('n103')) == 'True'
  assert read('deductive', text, ask.format('n104')) == 'False'
  graph = 'n101 leads to n102, n103. n102 leads to n103. n103 leads to nothing.'
  values = ' The value of n101 is 1. The value of n102 is 5.'
  values += ' The value of n103 is 2.'
  question = 'sum of values on a path from n101 to n103'
  assert read('max_sum_path', graph + values, question) == '8'
  assert read('max_sum_path', graph + values, 'from n103 to n101') == 'N/A'


@pytest.mark.parametrize(
  ('gold', 'said', 'score'),
  [
    ('N/A', 'The answer is N/A.', 1),
    ('N/A', 'n5 is **N/A**', 1),
    ('N/A', 'The answer is that n5 is N/A.', 1),
    ('N/A', 'The answer is N/A, for n5 is not reached.', 1),
    ('N/A', 'At first N/A. The answer is 12.', 0),
    ('N/A', 'N/A, or 12', 0),
    ('12', 'Not N/A. The answer is 12.', 1),
    ('12', 'The answer is 12. No, the answer is N/A', 0),
  ],
)
def test_the_last_answer_decides(gold, said, score):
  item = tasks.Item('a', '', gold, {'kind': 'max_sum_path'})
  found = benchmarks.find('dyval').grade(item, said, judges.no_judge)
  assert found.score == score


def test_items_do_not_depend_on_their_number_or_order(tmp_path):
  record = {'id': 'a', 'kind': 'boolean', 'depth': 3, 'num_items': 3, 'seed': 1}

  def load(**changes):
    path = tmp_path / 'x.jsonl'
    path.write_text(json.dumps(record | changes) + '\n')
    return benchmarks.find('dyval').load(path)

  assert load(num_items=2) == load()[:2]
  shuffled = load(order='random')
  assert [x.answer for x in shuffled] == [x.answer for x in load()]
  sentences = lambda x: sorted(x.meta['text'].split('. '))
  assert len(sentences(shuffled[0])) == len(sentences(load()[0]))
  assert load(seed=2) != load()
  with pytest.raises(ValueError, match="field 'depth' is 99; expected 2 to 12"):
    load(depth=99)


def test_sums_are_largest_over_all_paths():
  # The last way into a node is seldom not the best: many are needed.
  for seed in range(150):
    problem = dyval_graphs.draw_problem(
      'max_sum_path', random.Random(seed), 5, extra_links=2
    )
    text = ' '.join(problem.sentences)
    read = dyval_graphs.read_back('max_sum_path', text, problem.question)
    assert read == problem.answer, problem
