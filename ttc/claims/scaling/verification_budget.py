"""When to solve and when to verify (Singhi et al., 2025).

The first verification that can be afforded is one of each of two solutions, at
a budget of 4, and is right with p + p (1 - p) (tpr - fpr). So there votes win
as long as what a vote of four gains on one sample is more than that: whether
they do is of the problems, not of the verifier alone. Where the right answer
stands out by 1.5 nats they do up to a difference of .42, and where it stands
out by .8, and a vote gains half as much, up to .24. So at .3 votes should win
on the easy problems, and verification at once on the hard ones. Power: at .3
they lie .024 and -.010 apart with a standard deviation of .07 over problems
that are not reported; 3000 problems leave an error of .0013.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling
from ttc.claims.claim import (
  Claim,
  estimate,
  high,
  interval,
  low,
  signed,
  text,
)
from ttc.tasks import answer_world

BUDGETS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])  # solutions
SOLUTIONS = np.arange(1, 33)
VERIFICATIONS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16])
# True and false positive rates, by rising difference.
VERIFIERS = ((0.6, 0.4), (0.65, 0.35), (0.7, 0.3), (0.8, 0.2), (0.9, 0.1))
EDGES = {'hard': 0.8, 'easy': 1.5}  # of the right answer, in nats
SMALL = BUDGETS.searchsorted([3, 4])  # where votes win on easy problems
NUM_PROBLEMS = 1000  # of a seed


def measure(seed, size, cache):
  """Laws of the answers of random problems, by difficulty."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  return {name: draw_laws(seed, edge, num) for name, edge in EDGES.items()}


def draw_laws(seed, edge, num_problems):
  """Laws of the answers of random problems; the first answer is right."""

  @jax.jit
  @jax.vmap
  def draw(key):
    world = answer_world.random_world(key, 5, 1, edge=edge, answer_spread=0.8)
    return answer_world.answer_law(world, 5)

  return np.asarray(draw(jax.random.split(jax.random.key(seed), num_problems)))


def vote_accuracies(laws):
  """Exact accuracy of votes, `[problems, budgets]`."""
  exact = lambda k: jax.vmap(
    lambda law: scaling.majority_accuracy_population(law, 0, k)
  )(laws)
  return np.stack([exact(int(k)) for k in BUDGETS], axis=1)


def compare(grid, votes):
  """The best cells of the mean grid, and where they overtake the votes."""
  best = scaling.optimal_verification(
    grid.mean(axis=0), SOLUTIONS, VERIFICATIONS, BUDGETS
  )
  return best, scaling.crossover_budget(
    BUDGETS, best.accuracy, votes.mean(axis=0)
  )


def verified_grid(right, true_positive_rate, false_positive_rate):
  """Accuracy of every problem, `S` and `V`: `[problems, S, V]`."""
  columns = [
    verified_column(right, int(v), true_positive_rate, false_positive_rate)
    for v in VERIFICATIONS
  ]
  return np.asarray(jnp.stack(columns, axis=2), np.float64)


@functools.partial(jax.jit, static_argnums=1)
def verified_column(right, num_verifications, *rates):
  """Of one `V`: `[problems, S]`."""
  accuracy = lambda p, s: scaling.verified_accuracy(
    p, s, num_verifications, *rates
  )
  over_s = jax.vmap(accuracy, in_axes=(None, 0))
  return jax.vmap(over_s, in_axes=(0, None))(right, jnp.asarray(SOLUTIONS))


def scaling_exponents(grid):
  """Exponents of the best `S` and `V` from a budget of 4 on."""
  budgets = BUDGETS[BUDGETS >= 4]
  best = scaling.optimal_verification(
    grid.mean(axis=0), SOLUTIONS, VERIFICATIONS, budgets
  )
  return [
    scaling.scaling_exponent(budgets, amount)
    for amount in (best.num_solutions, best.num_verifications)
  ]


def derive(data):
  """By difficulty: where verifiers overtake votes, and how amounts grow."""
  return {
    f'{name} compared': compare_verifiers(
      data[name], data['num_seeds'], name == 'easy'
    )
    for name in EDGES
  }


def first_verification(laws, votes, difference):
  """What a vote of four is ahead of one verification of two solutions."""
  p = laws[:, 0]
  four = votes[:, SMALL[-1]]
  return estimate(four - p - p * (1 - p) * difference)


def compare_verifiers(laws, num_seeds, votes_win):
  """Words on each verifier, whether all is as claimed, and the control."""
  votes = vote_accuracies(laws)
  crossovers, parts, holds = [], [], True
  for rates in VERIFIERS:
    grid = verified_grid(laws[:, 0], *rates)
    best, crossover = compare(grid, votes)
    crossovers.append(crossover)
    seeds = zip(
      np.split(grid, num_seeds), np.split(votes, num_seeds), strict=True
    )
    by_seed = sorted(compare(g, v)[1] for g, v in seeds)
    gap = rates[0] - rates[1]
    parts.append(
      f'{gap:.1f}: {crossover:.0f} [{by_seed[0]:.0f}, {by_seed[-1]:.0f}]'
    )
    if gap <= 0.3 + 1e-6:
      lead = votes.mean(axis=0)[SMALL] - best.accuracy[SMALL]
      at_four = first_verification(laws, votes, gap)
      parts[-1] += (
        f' (votes ahead by {100 * lead[0]:+.1f} at 3, {signed(at_four)} at 4)'
      )
      if votes_win:
        holds &= bool(np.all(lead > 0)) and low(at_four) > 0
      elif gap > 0.25:
        holds &= high(at_four) < 0
  holds &= crossovers[-1] < crossovers[0]
  holds &= all(b <= a for a, b in itertools.pairwise(crossovers))
  a, b = scaling_exponents(verified_grid(laws[:, 0], 0.8, 0.2))
  blind = verified_grid(laws[:, 0], 0.5, 0.5)
  return {
    'words': f'one sample {interval(votes[:, 0])}, vote at 64 '
    f'{interval(votes[:, -1])}; crossover by difference {", ".join(parts)}; '
    f'at .6 S grows as C^{a:.2f}, V as C^{b:.2f}',
    'holds': bool(holds and a > b),
    'off': np.abs(blind - laws[:, 0][:, None, None]).max(),
  }


def farthest(data):
  """Of a verifier that knows nothing, from one sample."""
  return max(data[f'{name} compared']['off'] for name in EDGES)


CLAIM = Claim(
  'verification_budget (AnswerWorld of 5 answers, lambda 1, exact laws)',
  '2504.01005',
  'the crossover falls as tpr - fpr grows; for tpr - fpr up to .3 votes win at '
  'budgets 3 and 4 on easy problems, and at .3 verification wins at 4 on hard '
  'ones; solutions grow faster than verifications',
  measure,
  checks=[
    text(
      lambda d, name=name: f'{name}: {d[f"{name} compared"]["words"]}',
      lambda d, name=name: d[f'{name} compared']['holds'],
    )
    for name in EDGES
  ]
  + [text(lambda _: 'in brackets the range over seeds')],
  controls=[
    text(
      lambda d: (
        f'tpr = fpr: one sample to within {100 * farthest(d):.4f} points at '
        'all S and V'
      ),
      lambda d: farthest(d) < 1e-4,
    )
  ],
  derive=derive,
  history='votes were asked to win on hard problems too, where a vote of four '
  'gains less than a verification of two solutions, p (1 - p) (tpr - fpr): at '
  '.3 they were ahead by -0.010 at 4',
  because='what is said of votes holds, but on easy problems verifications '
  'grow faster than solutions, C^0.63 to C^0.57: up to a budget of 64 both go '
  'up one at a time, and where a few solutions hold a right one only surer '
  'verdicts help',
)
