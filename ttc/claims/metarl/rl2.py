"""A policy with a memory learns to find out what its task is (1611.02779)."""

import functools

from ttc.claims.claim import Claim, estimate, interval, low, signed, text, z
from ttc.testbeds import bernoulli_bandit
from ttc.testbeds.adaptive_policies import (
  ARMS,
  GOALS,
  SEARCH,
  best_returns,
  ppo_returns,
  rl2_returns,
  share_won,
)

BEDS = {'search': SEARCH, 'goals': GOALS}
PULLS = ARMS.num_episodes
BAYES = bernoulli_bandit.exact_return(PULLS)
UCB = bernoulli_bandit.exact_return(PULLS, bernoulli_bandit.ucb)
EITHER = bernoulli_bandit.exact_return(PULLS, bernoulli_bandit.uniform)
LEAST = 0.3  # of what is left after the first episode
OF_BAYES = 0.95  # of what it has over chance


@functools.cache
def thompson():
  """Return of Thompson sampling, exactly."""
  return bernoulli_bandit.exact_return(PULLS, bernoulli_bandit.thompson)


def measure(seed, size, cache):
  """Returns of new tasks by episode, and the best ones."""
  del cache
  num = size.problems(500)
  data = {}
  for name, bed in BEDS.items():
    updates = size.steps(bed.num_updates)
    data[name] = {
      'rl2': rl2_returns(bed, seed, updates, num),
      'ppo': ppo_returns(bed, seed, updates, num),
      'best': best_returns(bed, seed, num),
    }
  updates, num = size.steps(ARMS.num_updates), size.problems(20_000)
  pulls = rl2_returns(ARMS, seed, updates, num, greedy=True)
  return {**data, 'arms': pulls.sum(axis=1)}


def won(data, bed, learner):
  """The share of what the first episode left that the second one won."""
  first, second = data[bed][learner].T
  return share_won(first, second, data[bed]['best'])


def gain(bed, learner):
  """Returns of both episodes, and the share."""

  def say(data):
    first, second = data[bed][learner].mean(axis=0)
    return (
      f'{bed} {learner} {first:.2f}, {second:.2f} of '
      f'{data[bed]["best"].mean():.2f}, {signed(won(data, bed, learner))}% of '
      'what was left'
    )

  return say


def of_bayes(data):
  """Of each task: share of what the best policy has more than either arm."""
  return (data['arms'] - EITHER) / (BAYES - EITHER)


CLAIM = Claim(
  'RL^2 on PointRobot and two arms',
  '1611.02779',
  'the second episode of a new task wins 30% or more of what the first left to '
  'the optimum; on two Bernoulli arms 95% or more of what exact Bayes has over '
  'chance, and more than Thompson sampling',
  measure,
  checks=[
    *(
      text(gain(bed, 'rl2'), lambda d, bed=bed: low(won(d, bed, 'rl2')) > LEAST)
      for bed in BEDS
    ),
    text(
      lambda d: (
        f'{PULLS} pulls {d["arms"].mean():.2f} of {BAYES:.2f} by Bayes, '
        f'{thompson():.2f} by Thompson, {UCB:.2f} by UCB1, {EITHER:.2f} by '
        f'chance: {interval(of_bayes(d))}%'
      ),
      lambda d: (
        low(estimate(of_bayes(d))) >= OF_BAYES
        and low(estimate(d['arms'])) > thompson()
      ),
    ),
  ],
  controls=[
    text(gain(bed, 'ppo'), lambda d, bed=bed: abs(z(won(d, bed, 'ppo'))) < 3)
    for bed in BEDS
  ],
)
