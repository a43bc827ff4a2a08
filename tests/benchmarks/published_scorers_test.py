"""Oracles of single benchmarks, and quirks of released scorers."""

import json
import pathlib

import numpy as np
import pytest

from ttc import benchmarks, tasks
from ttc.benchmarks import judges, tables
from ttc.benchmarks import text_overlap as overlap
from ttc.benchmarks.bar_exam import SETTINGS, correct_within, rank_options
from ttc.benchmarks.golden_thread import ask_judge
from ttc.benchmarks.mr_gsm8k import (
  matthews,
  mr_score,
  read_released,
  read_words,
)
from ttc.benchmarks.sealqa import attempted_accuracy, to_verdict

EXAMPLES = pathlib.Path(__file__).parent / 'examples'
NO = judges.from_function(lambda prompt: 'no')
YES = judges.from_function(lambda prompt: 'yes')


def test_squad_overlap():
  assert overlap.normalize('The  U.S., an Apple!') == 'us apple'
  assert overlap.token_f1('a', 'the') == 1 and overlap.token_f1('x', '') == 0
  assert overlap.token_f1('x x y', 'x z') == pytest.approx(2 / 5)
  assert overlap.rouge_l('x y z w', 'x z w q') == pytest.approx(6 / 8)
  assert overlap.longest_subsequence('abcbdab', 'bdcaba') == 4
  assert overlap.longest_substring('xabcdy', 'zabcw') == 3


def test_mr_score_of_known_counts():
  # TP 6, TN 4, FP 2, FN 3; of 6 wrong solutions 3 steps and 2 reasons.
  item = lambda answer: tasks.Item('', '', answer, {})
  items = [item('correct')] * 9 + [item('wrong')] * 6
  judged = [1] * 6 + [0] * 3 + [1] * 4 + [0] * 2
  steps = [0] * 9 + [1, 1, 1, 0, 0, 0]
  reasons = [0] * 9 + [1, 1, 0, 0, 0, 0]
  rows = [
    [benchmarks.Verdict(0.0, parts={'judged': j, 'step': s, 'reason': r})]
    for j, s, r in zip(judged, steps, reasons, strict=True)
  ]
  found = mr_score(items, rows)
  assert found['MCC'] == pytest.approx(0.327327, abs=1e-6)
  assert found['MR-score'] == pytest.approx(0.382132, abs=1e-6)
  # Two samples of each item, of which one is lost, are half of everything.
  lost = [[row[0], benchmarks.Verdict(0.0)] for row in rows]
  assert mr_score(items, lost)['reason'] == pytest.approx(1 / 6)
  # One class, or one judgement: no correlation; a negative one counts 0.
  assert matthews(3.0, 0.0, 3.0, 0.0) == 0
  assert matthews(3.0, 0.0, 3.0, 2.0) == 0
  worst = [[benchmarks.Verdict(0.0, parts={'judged': 0.0})]] * 15
  assert mr_score(items, worst)['MR-score'] == 0
  assert mr_score(items, worst)['MCC'] == pytest.approx(-1)


def test_accuracy_is_of_all_and_of_those_attempted():
  grades = ('CORRECT', 'CORRECT', 'INCORRECT', 'NOT_ATTEMPTED')
  rows = [[to_verdict(grade, 'x', '')] for grade in grades]
  items = [tasks.Item(str(i), '', '', {}) for i in range(4)]
  found = attempted_accuracy(items, rows)
  assert found['correct'] == 0.5 and found['attempted'] == 0.75
  assert found['correct of attempted'] == pytest.approx(2 / 3)
  assert found['F'] == pytest.approx(4 / 7)


def test_judgements_are_read_as_words_or_as_released():
  for said, words, released in (
    ('correct', 'correct', 'correct'),
    ('Incorrect', 'wrong', 'wrong'),
    ('**incorrect**', 'wrong', 'correct'),
    ('not correct', 'wrong', 'correct'),
    ('It is wrong.', 'wrong', 'wrong'),
    ('correct or wrong', None, 'correct'),
    ('yes', None, None),
  ):
    assert read_words(said) == words, said
    assert read_released(said) == released, said


def test_missing_dates_are_near_in_the_released_scorer_only():
  rule = {'preprocess': ['norm_date'], 'metric': ['date_near']}
  score = lambda gold, said, official=False: tables.score_cell(
    rule, gold, said, NO, official=official
  )
  assert score('soon', 'later') == 0 and score('soon', 'soon') == 1
  assert score('soon', 'later', True) == 1
  assert score('2024-01-01', '2024-02-01') == 1  # 31 days
  assert score('2024-01-01', '2024-02-02') == 0
  assert score('2024-01-01', 'later', True) == 0


def test_metrics_of_cells():
  near = tables.METRICS['number_near']
  assert near('50%', '0.5', 0) and near('100', '109', 0.1)
  assert not near('100', '111', 0.1) and not near('100', 'x', 0.1)
  assert near('n/a', 'n/a', 0.1) and not near('n/a', 'none', 0.1)
  assert near('-100', '-95', 0.1)
  contains = tables.METRICS['in_match']
  assert contains('Paris, France', 'paris', None)
  assert not contains('Paris', 'Paris, France', None)
  assert not contains('Paris', '', None)
  judged = {'metric': ['llm_judge', 'exact_match']}
  assert tables.score_cell(judged, 'A', 'a', YES) == 1
  assert tables.score_cell(judged, 'A', 'a', NO) == 0
  assert tables.score_cell(judged, 'A', 'b', YES) == 0


def test_ranked_choice_by_chance_and_with_duplicates():
  import itertools

  orders = list(itertools.permutations('ABCD', 3))
  for k in (1, 2, 3):
    hits = [correct_within('B', order)[k - 1] for order in orders]
    assert np.mean(hits) == pytest.approx(k / 4)
  for order in orders:
    for i, j in itertools.combinations(range(3), 2):
      twice = list(order)
      twice[j] = twice[i]
      for gold in 'ABCD':
        assert (
          sum(correct_within(gold, twice)) <= sum(correct_within(gold, order))
          or gold == order[i]
        )
  assert rank_options(np.array([-2.0, -1.0, -3.0, -1.0])) == [
    'B', 'D', 'A', 'C',
  ]  # fmt: skip
  assert len(SETTINGS) == 18


def test_a_plan_that_is_obeyed_to_the_end_or_to_the_middle(tmp_path):
  checks = {str(i): f'event {i}' for i in range(1, 53)}
  record = {
    'prompt': 'p', 'type': 'Week', 'number': 52,
    'checks_once': {k: checks[k] for k in ('10', '40')},
    'checks_range': {k: checks[k] for k in ('20', '21', '32', '33')},
    'checks_periodic': {str(k): checks[str(k)] for k in range(4, 53, 8)},
  }  # fmt: skip
  record['checks_periodic'].pop('52')  # three in each half
  path = tmp_path / 'plan.jsonl'
  path.write_text(json.dumps(record) + '\n')
  made = benchmarks.find('golden_thread_match')
  (item,) = made.load(path)
  text = lambda n: ''.join(
    f'#*# Week {i}: we had event {i}.\n' for i in range(1, n + 1)
  )
  whole = made.grade(item, text(52), NO).parts
  assert whole == {'CR (%)': 100, 'STIC-1': 1, 'STIC-2': 1}
  half = made.grade(item, text(26), NO).parts
  assert half == pytest.approx({'CR (%)': 50, 'STIC-1': 1, 'STIC-2': 0.5})


def test_a_kind_without_checks_counts_0_in_the_released_scorer():
  (path,) = EXAMPLES.glob('golden_thread_match.jsonl')
  text = '#*# Floor 1: A library.#*# Floor 2: A garden.'
  for official, expected in ((False, 1.0), (True, 2 / 3)):
    made = benchmarks.find('golden_thread_match', official=official)
    item = made.load(path)[1]
    found = made.grade(item, text, NO).parts['STIC-1']
    assert found == pytest.approx(expected)
  ask = ask_judge
  maybe = judges.from_function(lambda prompt: 'Well, yes.')
  assert ask([('a', 'b')], maybe, True) == [True]
  assert ask([('a', 'b')], maybe, False) == [False]


def test_what_a_judge_says():
  assert judges.says('**Yes**, it is', 'yes') and judges.says(' YES.', 'yes')
  assert judges.says('<think>No? Yes!</think>Yes.', 'yes')
  assert not judges.says('yes <think>', 'no')
  assert not judges.says('Yes, so far</think>No.', 'yes')
  assert not judges.says('Yesterday', 'yes') and not judges.says('no', 'yes')
  votes = iter([['yes', 'no', 'yes']])
  ask = lambda prompts, num_votes=1: [next(votes)]
  assert judges.majority(ask, 'p', 3, 'yes')


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    ({'gold': 'City,Motto\nArn\n'}, "row 1 of the gold table has ['Arn', "),
    ({'gold': 'City,Motto\nArn,a,b\n'}, 'expected 2 cells'),
    ({'unique_columns': [1]}, 'unique_columns=[1]; expected names'),
    ({'unique_columns': ['Mayor']}, "unique_columns=['Mayor']; expected some"),
    ({'eval_pipeline': {'Motto': 3}}, "has 3 for column 'motto'"),
    (
      {'eval_pipeline': {'Motto': {'preprocess': ['norm_sr']}}},
      "preprocess 'norm_sr' of column 'motto'",
    ),
    ({'eval_pipeline': {'Motto': {'metric': 'in_match'}}}, 'expected a list'),
  ],
)
def test_a_table_that_cannot_be_scored_is_refused(tmp_path, change, said):
  record = {
    'instance_id': 'a', 'query': 'q', 'language': 'en',
    'gold': 'City,Motto\nArn,"per\naspera"\n',
    'evaluation': {
      'required': ['City', 'Motto'], 'unique_columns': ['City'],
      'eval_pipeline': {'Motto': {'metric': ['exact_match']}},
    },
  }  # fmt: skip
  path = tmp_path / 'x.jsonl'
  path.write_text(json.dumps(record) + '\n')
  (item,) = benchmarks.find('widesearch').load(path)
  assert item.meta['rows'] == [{'city': 'Arn', 'motto': 'per\naspera'}]
  where = record if 'gold' in change else record['evaluation']
  where |= change
  path.write_text(json.dumps(record) + '\n')
  with pytest.raises(ValueError, match=r'x.jsonl:1: ') as caught:
    benchmarks.find('widesearch').load(path)
  assert said in str(caught.value)


def test_all_cells_of_a_table_are_asked_for_at_once(tmp_path):
  record = {
    'instance_id': 'a', 'query': 'q', 'language': 'en',
    'gold': 'City,Motto\nArn,per aspera\nBel,ad astra\n',
    'evaluation': {
      'required': ['City', 'Motto'], 'unique_columns': ['City'],
      'eval_pipeline': {'Motto': {'metric': ['llm_judge']}},
    },
  }  # fmt: skip
  path = tmp_path / 'x.jsonl'
  path.write_text(json.dumps(record) + '\n')
  made = benchmarks.find('widesearch')
  (item,) = made.load(path)
  table = '|City|Motto|\n|---|---|\n|Arn|by hardship|\n|Bel|to the stars|'
  with pytest.raises(judges.Unanswered) as caught:
    made.grade(item, table, judges.known({}))
  assert len(caught.value.questions) == 2
  replies = dict(zip(caught.value.questions, ['Yes', 'No'], strict=True))
  found = made.grade(item, table, judges.known(replies))
  assert found.parts['row recall'] == 0.5 and found.parts['item recall'] == 0.75
  record['evaluation']['unique_columns'] = ['Mayor']
  path.write_text(json.dumps(record) + '\n')
  with pytest.raises(ValueError, match=r'unique_columns=.*expected some'):
    made.load(path)
