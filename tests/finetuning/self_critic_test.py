"""Which responses answer properly, and what judgements count."""

import jax.numpy as jnp
import numpy as np
import pytest

from ttc import finetuning


@pytest.mark.parametrize(
  ('response', 'choice'),
  [
    ('7 + 3 = 10.\nThe answer is (b).', 'b'),
    ('the ANSWER is (C)', 'c'),
    ('The answer is (a).\nSo 7.', None),  # not in the last line
    ('The answer is (a).\nThe answer is (a).', None),  # twice
    ('The answer is (a), so the answer is (a).', None),
    ('The answer is (e).', None),  # no option
    ('The answer is b.', None),
    ('', None),
    ('The answer is ( d ) .\n', 'd'),
  ],
)
def test_a_response_answers_once_and_at_its_end(response, choice):
  assert finetuning.answer_choice(response) == choice


def test_choices_may_be_the_options_themselves():
  days = ['Monday', 'Tuesday']
  assert finetuning.answer_choice('The answer is (monday).', days) == 'Monday'
  assert finetuning.answer_choice('The answer is (Sunday).', days) is None


def test_scores_are_read():
  assert finetuning.parse_score('1 + 1 + 1.\nScore: 3') == 3
  assert finetuning.parse_score('Score 1, no: score: 4.5') == 4.5
  assert np.isnan(finetuning.parse_score('three points'))


def test_what_means_nothing_does_not_count():
  nan = float('nan')
  scores = jnp.array(
    [[3, 4, 5], [3, nan, 6], [0, 4, -1], [nan, 7, -2], [0, 0, 0]]
  )
  found = finetuning.mean_score(scores)
  np.testing.assert_allclose(found, [4, 3, 2, -1, 0])
  found = finetuning.mean_score(scores, drop_zero=True)  # as released
  np.testing.assert_allclose(found, [4, 3, 4, -1, -1])
