"""Graders, on completions whose grade is plain to see."""

import concurrent.futures

import pytest

from ttc.tasks import graders, text_task


@pytest.mark.parametrize(
  ('gold', 'completion', 'score', 'extracted', 'detail'),
  [
    ('18', 'so\n#### 18', 1, '18', 'hashes'),
    ('18', '#### 17 no\n#### 18', 1, '18', 'hashes'),
    ('18', '#### 18 and then the answer is 3', 1, '18', 'hashes'),
    ('6', '9 - 3 = 6. The answer is 6. Then 7.', 1, '6', 'answer_is'),
    ('72', 'Answer: **72** of 90', 1, '72', 'answer_is'),
    ('5', 'The answer is 4. No, the answer is $5.', 1, '5', 'answer_is'),
    ('12', '\\boxed{12} not 13', 1, '12', 'boxed'),
    ('5', '3, 4 and 5', 1, '5', 'last_number'),
    ('1,234.50', 'about $1234.5', 1, '$1234.5', 'last_number'),
    ('1234567', 'It is 1,234,567 in all', 1, '1,234,567', 'last_number'),
    ('-3', 'x = -3', 1, '-3', 'last_number'),
    ('3', '10-3', 0, '10-3', 'last_number'),
    ('0.5', '.5', 1, '.5', 'last_number'),
    ('3', 'x3', 0, None, 'no_answer'),
    ('7', 'seven', 0, None, 'no_answer'),
    ('7', '', 0, None, 'no_answer'),
    ('7', '-7', 0, '-7', 'last_number'),
    ('0.3333', '0.333', 0, '0.333', 'last_number'),
    ('x', '7', 0, '7', 'last_number'),
  ],
)
def test_numeric(gold, completion, score, extracted, detail):
  expected = text_task.Grade(score, extracted, detail)
  assert graders.numeric(gold, completion) == expected


# Gold, completion, score: an answer is read whole or not at all.
WHOLE_NUMBERS = [
  ('1', '#### 1/2', 0),
  ('2', '#### 1/2', 0),
  ('0.5', '#### 1/2', 1),
  ('1/2', '#### 0.50', 1),
  ('0.75', r'\boxed{\frac{3}{4}}', 1),
  ('3', r'\boxed{\frac{3}{4}}', 0),
  ('0.5', r'\boxed{\frac12}', 1),
  ('-0.5', r'\boxed{-\dfrac{1}{2}}', 1),
  ('1.5', 'The answer is 1 1/2.', 1),
  ('1', 'The answer is 1 1/2.', 0),
  ('-3', 'The answer is \u22123.', 1),
  ('3', 'The answer is \u22123.', 0),
  ('-3', 'x = \u22123', 1),
  ('1000', '#### 1{,}000', 1),
  ('1', '#### 1{,}000', 0),
  ('1000', r'\boxed{1{,}000}', 1),
  ('1000', r'\boxed{1\,000}', 1),
  ('0', r'\boxed{1\,000}', 0),
  ('1000', '#### 1 000', 1),
  ('1', '#### 1 000', 0),
  ('1000000', 'It is 1\u202f000\u202f000 in all', 1),
  ('1500', '#### 1.5e3', 1),
  ('1.5', '#### 1.5e3', 0),
  ('3', 'about 1.5e3', 0),
  ('0.0015', '#### 1.5e-3', 1),
  ('1500', r'#### 1.5 \times 10^3', 1),
  ('1500', r'\boxed{1.5 \times 10^{3}}', 1),
  ('1024', '#### 2^10', 1),
  ('2', '#### 2^10', 0),
  ('10', 'it is 2^10', 0),
  ('1024', r'\boxed{2^{10}}', 1),
  ('1024', '#### 2**10', 1),
  ('7', '#### 3 + 4 = 7', 1),
  ('3', '#### 3 + 4 = 7', 0),
  ('3', '#### 3 + 4', 0),
  ('4', '#### 3 + 4', 0),
  ('7', 'so 3 + 4 = 7', 1),
  ('10', 'The answer is 10-12', 0),
  ('12', 'between 10\u201312', 0),
  ('3', 'It starts at 3:30', 0),
  ('30', 'It starts at 3:30', 0),
  ('3', 'The answer is 3 or 4', 0),
  ('3', '#### 3, 4', 0),
  ('3', r'\boxed{3, 4}', 0),
  ('5', '#### 5k', 0),
  ('2', '#### 2x', 0),
  ('2', r'\boxed{2\pi}', 0),
  ('2', r'\boxed{2\sqrt{3}}', 0),
  ('3', r'\boxed{2\sqrt{3}}', 0),
  ('1500000', 'The answer is 1.5 million', 1),
  ('1.5', 'The answer is 1.5 million', 0),
  ('1.2', 'version 1.2.3', 0),
  ('2', 'x^2', 0),
  ('2', 'x/2', 0),
  ('19', 'COVID-19', 0),
  ('1', '#### 1,5', 0),
  ('5', r'\boxed{x = 5}', 1),
  ('12', r'\boxed{12 \text{ apples}}', 1),
  ('5', r'\boxed{5 apples and 3 pears}', 0),
  ('50', r'\boxed{50\%}', 1),
  ('20', r'\boxed{\$20}', 1),
  ('20', '#### $20.00 in all', 1),
  ('20', '#### **20**', 1),
  ('5', 'It is the 5th', 1),
  ('20', 'It takes 20kg', 1),
  ('5', 'The answer is 5!', 1),
  ('5', 'First I guess \\boxed{3}. Wait, no: \\boxed{5}', 1),
  ('7', '<think>The answer is 5.</think>It is \\boxed{7}.', 1),
  ('5', '<think>The answer is 5.</think>It is \\boxed{7}.', 0),
  ('5', 'so it is #### 5\n</think>\nIt is 7.', 0),
  ('7', 'so it is #### 5\n</think>\nIt is 7.', 1),
  ('5', '<think>The answer is 5, or', 0),
  ('5', '#### 1/0', 0),
  ('0', '#### 9^9999', 0),
  ('x', '#### 1/0', 0),
]


@pytest.mark.parametrize(('gold', 'completion', 'score'), WHOLE_NUMBERS)
def test_a_part_of_a_number_is_not_the_answer(gold, completion, score):
  assert graders.numeric(gold, completion).score == score


# Texts of one row are one number, those of different rows are not.
EQUAL_NUMBERS = [
  ['12', '12.00', '$12', '+12', '24/2', '12 apples'],
  ['1500', '1,500', '$1500', '1500.0', '1.5e3', '1 500', '1{,}500'],
  ['-3', '\u22123', '-3.0'],
  ['1/2', '0.5', '.5', r'\frac{1}{2}'],
  ['3 + 4'],
  ['3 + 5'],
]


def test_same_number_is_an_equivalence_that_never_sees_the_gold():
  texts = [(i, text) for i, row in enumerate(EQUAL_NUMBERS) for text in row]
  for i, first in texts:
    for j, second in texts:
      assert graders.same_number(first, second) == (i == j), (first, second)


def test_same_math():
  pytest.importorskip('math_verify')
  rows = [
    [r'\frac{1}{2}', '0.5', '1/2'],
    ['x+1', '1+x'],
    ['1<x<2', '(1,2)'],
    ['1,000', '1000', r'1{,}000', '1.0e3'],
    ['3,5', '5,3'],
    [r'\text{Evelyn}'],
  ]
  texts = [(i, text) for i, row in enumerate(rows) for text in row]
  for i, first in texts:
    for j, second in texts:
      assert graders.same_math(first, second) == (i == j), (first, second)


@pytest.mark.parametrize(
  ('completion', 'letter', 'detail'),
  [
    ('Answer: B', 'B', 'answer'),
    ('Answer: A. No, wait. answer: **B**', 'B', 'answer'),
    ('The answer is (C), not (D).', 'C', 'answer'),
    ('(A) Answer: D', 'D', 'answer'),
    ('\\boxed{D}, not (A)', 'D', 'boxed'),
    ('\\boxed{\\text{(A)}}', 'A', 'boxed'),
    ('First (A), but rather (B)', 'B', 'parenthesis'),
    ('A dog would say B', 'B', 'letter'),
    ('B is right, a B it is', 'B', 'letter'),
    ('C. A dog', 'C', 'letter'),
    ("A's and Bs", None, 'no_answer'),
    ('E', None, 'no_answer'),
    ('', None, 'no_answer'),
  ],
)
def test_multiple_choice(completion, letter, detail):
  for gold in 'ABCD':
    expected = text_task.Grade(float(gold == letter), letter, detail)
    assert graders.multiple_choice(gold, completion) == expected


def test_number_of_choices_limits_the_letters():
  assert graders.multiple_choice('E', 'E', num_choices=5).score == 1.0
  assert graders.multiple_choice('C', '(A) (C)', num_choices=2).extracted == 'A'


def test_exact():
  assert graders.exact(' 7', '7\n') == text_task.Grade(1.0, '7', 'exact')
  assert graders.exact('7', '7.0').score == 0.0
  assert graders.exact('7', ' ') == text_task.Grade(0.0, None, 'exact')


@pytest.mark.parametrize(
  ('text', 'inside'),
  [
    (r'so \boxed{3}', '3'),
    (r'\boxed{3} or \boxed{\frac{1}{2}}.', r'\frac{1}{2}'),
    (r'\boxed{\{1, \{2\}\}}', r'\{1, \{2\}\}'),
    (r'\fbox{7}', '7'),
    (r'\boxed 7', '7'),
    (r'\boxed{3} then \boxed{4', '3'),
    ('none', None),
  ],
)
def test_last_boxed(text, inside):
  assert graders.last_boxed(text) == inside


@pytest.mark.parametrize(
  ('gold', 'completion', 'score', 'detail'),
  [
    (r'\frac{1}{2}', r'so \boxed{0.5}', 1, 'math_verify'),
    (r'\left( 3, \frac{\pi}{2} \right)', r'\boxed{(3,\pi/2)}', 1, None),
    (r'(3,4)', r'\boxed{(4,3)}', 0, 'math_verify'),
    (r'x+1', '$1+x$', 1, 'math_verify'),
    (r'\text{Evelyn}', r'\boxed{\text{Evelyn}}', 1, 'math_verify'),
    ('10080', '10,080', 1, 'math_verify'),
    # Six decimals are compared.
    (r'\frac13', r'\boxed{0.3333}', 0, 'math_verify'),
    # Gold first: an inequality accepts its interval, not the reverse.
    ('1<x<2', r'\boxed{(1,2)}', 1, 'math_verify'),
    ('(1,2)', r'\boxed{1<x<2}', 0, 'math_verify'),
    ('2', 'nothing', 0, 'no_answer'),
    # The last box is the answer, unless it goes on from the one before.
    ('5', r'\boxed{3}. Wait, let me see. \boxed{5}', 1, 'math_verify'),
    ('3', r'\boxed{3}. Wait, let me see. \boxed{5}', 0, 'math_verify'),
    ('3,5', r'$\boxed{3}$ or $\boxed{5}$', 1, 'math_verify'),
    ('5', r'$\boxed{3}$ or $\boxed{5}$', 0, 'math_verify'),
    ('7', r'<think>so \boxed{5}</think> It is \boxed{7}.', 1, 'math_verify'),
    ('5', r'<think>so \boxed{5}</think> It is \boxed{7}.', 0, 'math_verify'),
    ('5', r'so \boxed{5}</think> It is 7.', 0, 'math_verify'),
    ('5', r'<think>so \boxed{5}', 0, 'no_answer'),
    ('1000', r'\boxed{1{,}000}', 1, 'math_verify'),
    ('1000', r'\boxed{1\,000}', 1, 'math_verify'),
    ('1000', r'\boxed{1 000}', 1, 'math_verify'),
    ('1500', r'\boxed{1.5e3}', 1, 'math_verify'),
    ('-3', '\\boxed{\u22123}', 1, 'math_verify'),
    ('3', '\\boxed{\u22123}', 0, 'math_verify'),
    ('50', r'\boxed{50\%}', 1, None),
    ('', '3', 0, text_task.GRADER_ERROR),
  ],
)
def test_math(gold, completion, score, detail):
  pytest.importorskip('math_verify')
  grade = graders.math(gold, completion)
  assert grade.score == score
  assert detail in (None, grade.detail)


def test_math_works_in_threads_and_limits_time_outside():
  pytest.importorskip('math_verify')
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    grades = list(pool.map(graders.math, ['2', '2'], [r'\boxed{2}', '3']))
  assert [grade.score for grade in grades] == [1.0, 0.0]
  tower = r'\boxed{9^{9^{9^{9^9}}}}'
  grade = graders.math('2', tower, timeout_seconds=1)
  assert (grade.score, grade.detail) == (0.0, text_task.GRADER_ERROR)
