"""m1's places of an answer, in their order; Medprompt's part for the end."""

import json

import numpy as np
import pytest
from scipy import stats

from ttc.benchmarks import eyes_off
from ttc.benchmarks.judges import no_judge
from ttc.benchmarks.m1_medical import contaminated, extract_choice, m1_medical
from ttc.benchmarks.text_likeness import ratio
from ttc.tasks import Item

OPTIONS = {'A': 'Aspirin', 'B': 'Heparin', 'C': 'Warfarin sodium', 'D': '3 mg'}
RECORD = {
  'question': 'What is given first?',
  'options': OPTIONS,
  'answer_idx': 'C',
  'answer': 'Warfarin sodium',
  'source': 'MedQA',
}


@pytest.mark.parametrize(
  'said, letter, where',
  [
    (r'\boxed{A} no, \boxed{C}', 'C', 'boxed'),
    (r'\boxed{\text{c}}', 'C', 'boxed'),
    (r'\boxed{x = C}', 'C', 'boxed'),
    (r'\boxed{warfarin sodium.}', 'C', 'boxed'),
    (r'\boxed{C. Warfarin sodium}', 'C', 'boxed'),
    (r'\boxed{(D) a dose}', 'D', 'boxed'),
    (r'\boxed{none}, the answer is B', 'B', 'answer is'),
    ('The answer is A. On second thought the answer is (c).', 'C', 'answer is'),
    ('A first: answer is A\n## Final Response\nI take **B**.', 'B', 'letter'),
    ('A patient comes in. So: D', 'D', 'letter'),
    ('Give heparin, or rather aspirin', 'A', 'option text'),
    ('The dose is 3 mg', 'D', 'option text'),
    ('Heparin', 'B', 'option text'),
  ],
)
def test_where_an_answer_is_found(said, letter, where):
  assert extract_choice(said, OPTIONS)[0] == (letter, where)


def test_no_answer_is_none():
  for said in (
    '',
    'I cannot say.',
    'The answer is E.',
    '<think>The answer is A',
    'A patient',
  ):
    assert extract_choice(said, OPTIONS) == []


def test_scores_by_source(tmp_path):
  strict, official, path = (
    m1_medical(),
    m1_medical(official=True),
    tmp_path / 'x.jsonl',
  )
  other = RECORD | {'source': 'GPQA'}
  third = RECORD | {'question': 'And then?'}
  rows = (RECORD, other, third)
  path.write_text(''.join(json.dumps(x) + '\n' for x in rows))
  items = strict.load(path)
  assert 'C. Warfarin sodium' in strict.prompt(items[0])
  # A wrong box is final, unless one does as the released scorer does.
  said = r'\boxed{A}, though the answer is C'
  assert strict.grade(items[0], said, no_judge).score == 0
  assert official.grade(items[0], said, no_judge).score == 1
  assert official.grade(items[0], r'\boxed{A}', no_judge).score == 0
  assert strict.grade(items[0], '', no_judge).detail == 'none'
  right, wrong = (strict.grade(items[0], x, no_judge) for x in ('C', 'B'))
  figures = strict.aggregate(items, [[right], [right, wrong], [wrong]])
  assert figures == {'macro accuracy': 0.5}
  figures = strict.aggregate(items, [[right], [wrong], [right]])
  assert figures['macro accuracy'] == 0.5  # not 2 of 3
  for change, text in (
    ({'answer_idx': 'E'}, "'answer_idx' is 'E'"),
    ({'answer': 'Aspirin'}, "'answer' is 'Aspirin'"),
    ({'options': {'C': 1}}, "'options' is"),
  ):
    path.write_text(json.dumps(RECORD | change) + '\n')
    with pytest.raises(ValueError, match=f'x.jsonl.*1.*{text}'):
      strict.load(path)


def test_training_questions_that_are_test_questions():
  question = 'Which drug is given first to a patient with a clot in the leg?'
  near = question.replace('first', 'fist')
  assert ratio(question, near) == pytest.approx(200 * 61 / (62 + 61))
  assert ratio('', '') == 100 and ratio('ab', 'ba') == 50
  assert contaminated([near, 'Something else.', ''], [question]) == [0]
  assert contaminated([near], [question], least=99.5) == []
  assert contaminated(['x' * len(question)], [question]) == []
  assert contaminated([question], [question], least=100.0) == [0]


def test_a_fifth_is_put_aside_for_good():
  items = [Item(f'q{i}', '', '', {}) for i in range(50)]
  split = eyes_off.split(items)
  assert (len(split.eyes_on), len(split.eyes_off)) == (40, 10)
  again = eyes_off.split(items[::-1])
  assert {x.id for x in again.eyes_off} == {x.id for x in split.eyes_off}
  with pytest.raises(ValueError, match='is not between 0 and 1'):
    eyes_off.split(items, 1.0)


def test_votes_are_for_options_not_for_places():
  shown = eyes_off.shuffle_choices('q', ['w', 'x', 'y', 'z'])
  assert len({one.order for one in shown}) == 5
  assert shown[0].options == ('w', 'x', 'y', 'z')
  assert shown == eyes_off.shuffle_choices('q', ['w', 'x', 'y', 'z'])
  knows = ['ABCD'[one.options.index('y')] for one in shown]
  assert eyes_off.vote(shown, knows) == 2
  first = ['ABCD'[one.options.index('w')] for one in shown]
  assert eyes_off.vote(shown, first) == 0 and first[0] == 'A'
  # Who always says the same letter votes for what stands there.
  places = [one.order[1] for one in shown]
  assert eyes_off.vote(shown, ['B'] * 5) == max(places, key=places.count)
  assert eyes_off.vote(shown, [None, 'Z', '', None, None]) is None
  assert len(eyes_off.shuffle_choices('q', ['a', 'b'])) == 2  # all there are


def test_both_parts_are_reported_with_their_difference():
  on, off = [1.0] * 30 + [0.0] * 10, [1.0] * 5 + [0.0] * 5
  found = eyes_off.two_sided(on, off, 5)
  assert (found.eyes_on, found.eyes_off, found.calls) == (0.75, 0.5, 250)
  theirs = stats.ttest_ind(on, off, equal_var=False).confidence_interval()
  np.testing.assert_allclose(found.interval, theirs, atol=2e-3)  # whole degrees
  with pytest.raises(ValueError, match='1 and 10 scores'):
    eyes_off.two_sided([1.0], off, 5)
