"""Progress of episodes as a reward, and as one scalar (2503.07572)."""

import functools

import jax
import numpy as np

from ttc import finetuning
from ttc.claims.claim import Claim, across_seeds, by_seed, every, text
from ttc.testbeds import progress_training as bed
from ttc.testbeds import verbose
from ttc.testbeds.policy_training import Course, learner

NUM_UPDATES, NUM_PROBLEMS = 40, 96
NUM_PREFIX_UPDATES = 42  # sample as many tokens, the stale streams included
BUDGET = verbose.CAPACITY // 2  # half of the longest response
ARMS = ('GRPO', 'MRT-RL', 'end scalar')


def measure(seed, size, cache):
  """Accuracy, and the value of thinking by its tokens, of each arm."""
  loaded = verbose.base(seed, size, cache)
  model, key = loaded.model, jax.random.key(100 + seed)
  course = Course(
    model,
    verbose.TASK,
    verbose.CAPACITY,
    finetuning.DR_GRPO,
    size.steps(NUM_UPDATES),
  )
  exam = bed.value_curve(
    course._replace(group_size=4), size.problems(NUM_PROBLEMS)
  )
  prefixed = course._replace(num_updates=size.steps(NUM_PREFIX_UPDATES))
  learners = {
    'GRPO': learner(course),
    'MRT-RL': bed.prefix_learner(prefixed),
    'end scalar': learner(course._replace(judge=end_scalar(model))),
  }
  found = {'base': {**exam(loaded.params, key), 'sampled': 0.0}}
  for name, learn in learners.items():
    params, metrics = learn(loaded.params, jax.random.key(seed))
    figures = exam(params, key)
    found[name] = {**figures, 'sampled': metrics['sampled'].sum()}
  return found


@functools.cache
def end_scalar(model):
  """The rule of the control; one object for all seeds, compiled once."""
  return functools.partial(bed.end_scalar, model, bed.ALPHA)


def derive(data):
  """Regret at half the budget by problem, and tokens to 90% by seed."""
  found = {}
  for name in (*ARMS, 'base'):
    value = np.asarray(data[name]['value'])
    area = (value[:, 1 : BUDGET + 1] + value[:, :BUDGET]).sum(axis=1) / 2
    by = value.reshape(data['num_seeds'], -1, value.shape[1]).mean(axis=1)
    right = by_seed(data[name]['right'], data['num_seeds'])
    reached = by >= 0.9 * right[:, None]
    found[name] = {
      'regret': 1 - area / BUDGET,
      'to_90': np.where(reached.any(axis=1), reached.argmax(axis=1), np.inf),
    }
  return {'derived': found}


def figures(name):
  """Accuracy, regret and tokens by seed."""

  def say(d):
    n, of = d['num_seeds'], d['derived'][name]
    each = lambda xs: ', '.join(f'{x:.0f}' for x in xs)
    return (
      f'{name}: accuracy {across_seeds(d[name]["right"], n, 3)}, regret at '
      f'{BUDGET} tokens {across_seeds(of["regret"], n, 3)}, 90% after '
      f'{each(of["to_90"])} tokens, {d[name]["sampled"].mean() / 1e3:.0f}k '
      'sampled'
    )

  return say


def regrets(d, name):
  """By seed."""
  return by_seed(d['derived'][name]['regret'], d['num_seeds'])


CLAIM = Claim(
  'MRT (S3 solved at length, each product written once to three times; '
  f'{NUM_UPDATES} updates of 16 prompts and 8 responses, exact values, equal '
  'sampled tokens)',
  '2503.07572',
  'with the progress of the next episode as a reward the regret at half the '
  'budget is at least 10% lower than by the outcome alone, 90% of the accuracy '
  'comes 1.2 times sooner, and accuracy is no worse',
  measure,
  checks=[
    text(figures('GRPO')),
    text(figures('MRT-RL')),
    every(
      'regret 10% lower',
      lambda d: regrets(d, 'MRT-RL') < 0.9 * regrets(d, 'GRPO'),
    ),
    every(
      '90% sooner by 1.2 times',
      lambda d: (
        d['derived']['GRPO']['to_90'] >= 1.2 * d['derived']['MRT-RL']['to_90']
      ),
    ),
    every(
      'accuracy within two points or better',
      lambda d: (
        by_seed(d['MRT-RL']['right'], d['num_seeds'])
        > by_seed(d['GRPO']['right'], d['num_seeds']) - 0.02
      ),
    ),
  ],
  controls=[
    text(figures('base')),
    text(
      lambda d: (
        'likely why: at first right responses take '
        f'{d["base"]["length_right"].mean():.1f} tokens and wrong ones '
        f'{d["base"]["length_wrong"].mean():.1f}, so the outcome alone does '
        'away with repetitions (right ones then take '
        f'{d["GRPO"]["length_right"].mean():.1f}, of at least 11), and before '
        'the last two products no answer is better than a guess, so most '
        'episodes make no progress that could be rewarded'
      )
    ),
    text(figures('end scalar')),
    every(
      'the end scalar gains less than 10%',
      lambda d: regrets(d, 'end scalar') > 0.9 * regrets(d, 'GRPO'),
    ),
  ],
  derive=derive,
)
