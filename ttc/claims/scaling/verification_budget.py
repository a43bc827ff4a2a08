"""When to solve and when to verify (Singhi et al., 2025)."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling
from ttc.claims.claim import Claim, interval, text
from ttc.tasks import answer_world

BUDGETS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64])  # solutions
SOLUTIONS = np.arange(1, 33)
VERIFICATIONS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 16])
# True and false positive rates, by rising difference.
VERIFIERS = ((0.6, 0.4), (0.65, 0.35), (0.7, 0.3), (0.8, 0.2), (0.9, 0.1))
EDGES = {'hard': 0.8, 'easy': 1.5}  # of the right answer, in nats
SMALL = BUDGETS.searchsorted([3, 4])  # where votes should win
NUM_PROBLEMS = 25  # of a seed


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
    f'{name} compared': compare_verifiers(data[name], data['num_seeds'])
    for name in EDGES
  }


def compare_verifiers(laws, num_seeds):
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
      parts[-1] += f' (votes ahead by {lead[0]:+.3f}, {lead[1]:+.3f} at 3, 4)'
      holds &= bool(np.all(lead > 0))
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
  'the crossover falls as tpr - fpr grows; votes win at budgets 3 and 4 for '
  'tpr - fpr up to .3; solutions grow faster than verifications',
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
)
