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
    ('3', '10-3', 1, '3', 'last_number'),
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
