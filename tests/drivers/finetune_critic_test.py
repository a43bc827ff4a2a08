"""A judge whose verdict is known, for it reads one letter; see `LETTERS`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import finetune_s3
from tests.verifiers import byte_writers
from ttc import finetuning, models, tasks
from ttc.drivers import options
from ttc.drivers.finetune_critic import make_critic
from ttc.drivers.finetune_options import FinetuneOptions, check

# What is written behind the last letter of a response, which ends the prompt.
LETTERS = {'p': 'Score5', 'q': 'sCORE2', 'x': '!'}


def judge(num_judgements):
  """Its tokens are bytes; each says what comes next, `z` is for p or q."""
  codec = models.Tokenizer(byte_writers.byte_level(), eos_ids=[256])
  following = np.full((codec.vocab_size, codec.vocab_size), -1e9, np.float32)
  number = lambda letter: codec.encode(letter)[0]
  for letter, text in LETTERS.items():
    for before, after in zip(letter + text, [*text, None], strict=True):
      end = 256 if after is None else number(after)
      following[number(before), end] = 0.0
  following[number('z'), [number('S'), number('s')]] = 0.0
  following[:, 256] = np.maximum(following[:, 256], -50.0)
  task = tasks.TextTask(
    name='letters',
    items=[tasks.Item('a', 'Which?', 'p', {})] * 2,
    prompt=lambda item: item.question,
    stop=(),
    max_new_tokens=8,
    grade=lambda item, text: tasks.Grade(
      float(text == item.answer), None if text == 'x' else text, ''
    ),
  )
  model = models.table_model(codec.vocab_size)
  params = jnp.asarray(following)
  loaded = models.Loaded(model, params, None, codec, 'table', '')
  chosen = options.parse(
    FinetuneOptions,
    finetune_s3.get_config('dpo').to_dict()
    | {'num_judgements': num_judgements, 'judgement_tokens': 8},
  )
  critic = make_critic(task, loaded, chosen)
  keys = jax.random.split(jax.random.key(0), 2)
  return lambda texts: critic(params, keys, task.items, np.array(texts, object))


def test_points_are_those_that_the_model_writes():
  judged = judge(2)([['p', 'q', 'x'], ['q', None, 'p']])
  # Cut, it says nothing: the colon behind "Answer" is all that there is.
  of = [[5, 2, -1], [2, -1, 5]]
  np.testing.assert_array_equal(judged.as_right, of)
  np.testing.assert_array_equal(judged.as_wrong, of)
  np.testing.assert_array_equal(
    judged.answers, [[True, True, False], [True, False, True]]
  )


def test_judgements_are_drawn_and_averaged():
  """Of 5 or 2 points, evenly: 3.5, with a deviation of 1.5 for each."""
  judged = judge(60)([['z', 'z'], ['z', 'z']])
  points = np.ravel([judged.as_right, judged.as_wrong])
  assert len(set(points)) > 4  # of each rubric and each response others
  np.testing.assert_allclose(points, 3.5, atol=4 * 1.5 / 60**0.5)


def test_the_better_of_each_kind_is_picked():
  judged = judge(1)([['q', 'p', 'q', 'p'], ['x', 'q', 'x', 'q']])
  right = jnp.array([[True, True, False, False]] * 2)
  kinds = right & judged.answers, ~right & judged.answers
  pairs = finetuning.pick_pairs(*kinds, judged.as_right, judged.as_wrong)
  np.testing.assert_array_equal(pairs.chosen, [1, 1])
  np.testing.assert_array_equal(pairs.rejected, [3, 3])
  assert pairs.is_pair.all()


def test_a_response_that_the_judge_cannot_read_is_named():
  with pytest.raises(ValueError, match=r'have \d+ tokens: with config.judgem'):
    judge(1)([['p' * 900, 'q'], ['p', 'q']])


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'objective': 'grpo'}, "pairs for config.objective='dpo', not for 'grpo'"),
    ({}, "of texts; config.task='s3' has tokens only"),
    ({'task': 'temporal', 'max_rounds': 2}, 'config.max_rounds=2 must be 1'),
    ({'task': 'temporal', 'zero': True, 'remat': True}, 'config.zero must be'),
  ],
)
def test_refuses_in_one_line(changes, says):
  config = finetune_s3.get_config('dpo').to_dict() | {'num_judgements': 3}
  with pytest.raises(ValueError, match=says):
    check(options.parse(FinetuneOptions, config | changes))
