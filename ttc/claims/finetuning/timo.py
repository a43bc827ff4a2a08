"""Preferences that a model's own judgement makes (Timo, 2406.14192)."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import finetuning
from ttc.claims.claim import Claim, above, below, compares, low, shows, text
from ttc.testbeds import temporal_questions as bed

NUM_TRAINED, NUM_ASKED, NUM_GENERAL = 512, 400, 300  # questions of a seed
NUM_STEPS, LEARNING_RATE = 100, 3e-5
PAIRS = ('critic', 'labels', 'random', 'swapped', 'oracle')


def measure(seed, size, cache):
  """Shares of right answers to held-out questions, by what was learned."""
  params = bed.base(seed, size, cache).params
  keys = jax.random.split(jax.random.key(700 + seed), 5)
  items = bed.draw_items(f'train/{seed}', size.fewer(NUM_TRAINED))
  asked = bed.draw_items(f'test/{seed}', size.fewer(NUM_ASKED))
  general = bed.draw_items(
    f'general/{seed}', size.fewer(NUM_GENERAL), (bed.GENERAL,)
  )
  answers = bed.answer(params, keys[0], items, bed.NUM_SAMPLES)
  judged = bed.judge(params, keys[1], items, answers)
  known = bed.true_points(items, answers)
  trained = {'base': params}
  num_steps = size.steps(NUM_STEPS)
  for name, pairs in picked(answers, judged, known).items():
    pairs = finetuning.preferences(answers.prompt, answers.responses, pairs)
    trained[name], _ = bed.prefer(
      params, keys[2], pairs, num_steps, LEARNING_RATE
    )
    if name in ('critic', 'labels'):
      trained[f'imitated {name}'] = bed.imitate_chosen(
        params, keys[2], pairs, num_steps, LEARNING_RATE
      )
  right = lambda params, key, items: bed.answer(
    params, key, items, 4
  ).is_right.mean(axis=1)
  return {
    'right': {name: right(p, keys[3], asked) for name, p in trained.items()},
    'general': {
      name: right(trained[name], keys[4], general)
      for name in ('base', 'critic')
    },
    'judged': np.corrcoef(np.ravel(judged[0]), np.ravel(known[0]))[0, 1],
    'num_pairs': np.sum(np.any(answers.is_right, 1) & answers.is_wrong.any(1)),
  }


def picked(answers, judged, known):
  """Pairs of each arm."""
  kinds = answers.is_right, answers.is_wrong
  anything = jnp.ones(kinds[0].shape, bool)
  first = anything.at[:, 1:].set(False)
  found = {
    'critic': finetuning.pick_pairs(*kinds, *judged),
    'labels': finetuning.pick_pairs(*kinds),
    'random': finetuning.pick_pairs(first, jnp.roll(first, 1, axis=1)),
    'oracle': finetuning.pick_pairs(*kinds, *known),
  }
  of = found['critic']
  found['swapped'] = of._replace(chosen=of.rejected, rejected=of.chosen)
  return {name: found[name] for name in PAIRS}


CLAIM = Claim(
  'Timo (multiple choice about dates, days and clocks; 512 questions of 5 '
  'samples; half of what the base imitates are guesses, right in 60%)',
  '2406.14192',
  'DPO on pairs that the model itself has judged answers held-out questions '
  'better than the base by 3 points, than imitation of right answers by 2, and '
  'than DPO on random pairs by 3; sums, which it does not see, lose less than '
  'a point',
  measure,
  checks=[
    shows('base ', 'right/base'),
    shows('self-critic ', 'right/critic'),
    above('over the base ', 'right/critic', 'right/base', 0.03),
    above(
      'over right answers imitated ',
      'right/critic',
      'right/imitated labels',
      0.02,
    ),
    above('over random pairs ', 'right/critic', 'right/random', 0.03),
    compares(
      'sums ',
      'general/critic',
      'general/base',
      lambda gap: gap.mean > -0.01,
    ),
  ],
  controls=[
    below('pairs swapped, to the base ', 'right/swapped', 'right/base', 0.03),
    compares(
      'random pairs, to the base ',
      'right/random',
      'right/base',
      lambda gap: low(gap) < 0.01,
    ),
    compares(
      'a critic that knows, to the self-critic ',
      'right/oracle',
      'right/critic',
      lambda gap: gap.mean > -0.01,
    ),
    compares(
      'the self-critic to pairs drawn by their letters alone ',
      'right/critic',
      'right/labels',
    ),
    compares(
      'the self-critic to imitation of what it chose ',
      'right/critic',
      'right/imitated critic',
    ),
    text(
      lambda d: (
        f'its points correlate {np.mean(d["judged"]):.2f} with true ones; '
        f'{np.mean(d["num_pairs"]):.0f} pairs'
      )
    ),
  ],
)
