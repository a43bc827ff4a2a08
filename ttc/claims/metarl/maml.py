"""A step of policy gradients leads far from where MAML begins (1703.03400)."""

from ttc.claims.claim import Claim, difference, low, signed, text
from ttc.metarl import PolicyMAML
from ttc.testbeds.adaptive_policies import (
  GOALS,
  best_returns,
  maml_returns,
  share_won,
)

UPDATES = 150
EXACT = PolicyMAML(num_epochs=3)
VARIANTS = {
  'maml': EXACT,
  'first_order': EXACT._replace(first_order=True),
  'pretrained': EXACT._replace(rate=0.0),  # for the mean over tasks
}
LEAST = 0.3  # of what is left before the step


def measure(seed, size, cache):
  """Returns of new tasks before and after a step, and the best ones."""
  del cache
  num, updates = size.problems(200), size.steps(UPDATES)
  returns = {
    name: maml_returns(GOALS, seed, updates, num, numbers, EXACT)
    for name, numbers in VARIANTS.items()
  }
  return {**returns, 'best': best_returns(GOALS, seed, num)}


def won(data, name):
  """The share of what was left before the step that it won."""
  before, after = data[name].T
  return share_won(before, after, data['best'])


def gain(name):
  """Returns before and after, and the share."""

  def say(data):
    before, after = data[name].mean(axis=0)
    return (
      f'{name} {before:.2f}, {after:.2f} of {data["best"].mean():.2f}, '
      f'{signed(won(data, name))}% of what was left'
    )

  return say


def after_better(ours, theirs):
  """Paired by task, the whole interval."""
  return lambda data: low(difference(data[ours][:, 1], data[theirs][:, 1])) > 0


CLAIM = Claim(
  'MAML on PointRobot',
  '1703.03400',
  'one inner step on 20 episodes of a new task wins 30% or more of what is '
  'left to the optimum, and leads further than from parameters that were '
  'trained for the mean over tasks',
  measure,
  checks=[
    text(gain('maml'), lambda d: low(won(d, 'maml')) > LEAST),
    text(gain('first_order')),
  ],
  controls=[text(gain('pretrained'), after_better('maml', 'pretrained'))],
)
