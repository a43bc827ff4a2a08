"""Texts of beds, and the judge that reads them."""

import numpy as np
import pytest

from ttc.testbeds import known_graders, memorised_choices, word_texts
from ttc.testbeds import rephrased_problems as problems


def test_rows_end_with_what_is_said():
  words = ['.', '/', 'a', 'b']
  rows = word_texts.to_rows([('a a', 'b'), ('b', 'a b')], words, 5)
  assert rows.tokens.tolist() == [[2, 2, 3, 1, 0], [3, 2, 3, 1, 0]]
  assert rows.is_response.astype(int).tolist() == [
    [0, 0, 1, 1, 0],
    [0, 1, 1, 1, 0],
  ]
  with pytest.raises(ValueError, match='6 words in a row of 5'):
    word_texts.to_rows([('a a a a', 'b')], words, 5)


def test_rephrases_ask_for_the_same_in_words_of_the_bed():
  drawn = problems.draw_problems(40, 0)
  texts = [problems.original(p) for p in drawn]
  assert len(set(map(problems.expression, texts))) == 40
  for problem, text in zip(drawn, texts, strict=True):
    for seed in range(3):
      other = problems.rephrase(problem, seed)
      assert other != text
      assert problems.same_problem([(text, other)]) == [True]
      assert not set(other.split()) - set(problems.WORDS)
  assert problems.same_problem([(texts[0], texts[1])]) == [False]
  swapped = drawn[0]._replace(a=drawn[0].b, b=drawn[0].a)
  assert problems.same_problem([(texts[0], problems.original(swapped))]) == [
    True
  ]
  value = {p.form: p.answer for p in (
    problems.Problem(form, 2, 3, 4, '', '') for form in problems.FORMS
  )}  # fmt: skip
  assert value == {'a*b-c': 2, 'a*b+c': 10, '(a+b)*c': 20}
  with pytest.raises(ValueError, match='is none of the problems'):
    problems.expression('What is two and two?')


def test_the_hidden_option_comes_last():
  (item,) = memorised_choices.draw_items(1, 0)
  prompt, answer = memorised_choices.render(item, [3, 0, 2, 1])
  choices = item.meta['choices']
  assert prompt.endswith(f'D {choices[3]} A {choices[0]} C {choices[2]} B')
  assert answer == choices[1] and answer not in prompt


def test_graders_are_as_skilled_as_they_are_said_to_be():
  items = known_graders.draw_items(2000, 0)
  share = np.mean([item.answer == 'correct' for item in items])
  assert abs(share - 0.48) < 0.04
  skill = known_graders.Skill(1.0, 1.0, 1.0, 1.0)
  assert known_graders.expected_score(skill, 0.5) == {
    'MR-score': 1.0, 'MCC': 1.0, 'first error step': 1.0, 'reason': 1.0,
  }  # fmt: skip
  rows = known_graders.verdicts(skill, items[:50], 0)
  assert all(row[0].score == 1 for row in rows)
  # A tenth of the form broken costs a tenth of every part.
  broken = known_graders.expected_score(skill._replace(broken=0.1), 0.5)
  assert broken['reason'] == pytest.approx(0.9)
  assert broken['MCC'] == pytest.approx(0.8)
