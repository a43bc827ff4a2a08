r"""Parallel tests: forms of other items that are as hard and take as long.

"K-12 parallel tests by item-response simulation and optimal transport", 2023,
arXiv 2310.06837. Items are points (accuracy, log time), standardised; a form
takes for each of the m reference items an item of a pool of n:

.. math:: \min_P \sum_{ij} P_{ij} \lVert z_i - \hat z_j \rVert^2, \quad
  P 1 = 1, \; P^\top 1 \le 1

The exact solution is an assignment; the smooth one is Sinkhorn's, in
logarithms, with a slack row of no cost that takes the items which no form
takes. The paper's own relaxation could not be seen; this is the problem it
describes.

Cost: `m n` a step of Sinkhorn's; `m^2 n` for the assignment.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray


def matching_cost(
  reference: Float[Array, 'M D'], pool: Float[Array, 'N D']
) -> Float[Array, 'M N']:
  """Squared distances, in units of the pool's standard deviations.

  Args:
    reference: features of the items that are to be matched.
    pool: features of the items that may be taken.
  """
  scale = jnp.maximum(pool.std(axis=0), 1e-6)
  gap = (reference[:, None] - pool[None, :]) / scale
  return jnp.sum(gap**2, axis=-1)


def assign(cost: Float[Array, 'M N']) -> Int[np.ndarray, ' M']:
  """The columns of the cheapest assignment; on the host.

  Raises:
    ValueError: if there are more rows than columns.
  """
  from scipy import optimize

  _check(cost)
  rows, columns = optimize.linear_sum_assignment(np.asarray(cost))
  return columns[np.argsort(rows)].astype(np.int32)


def greedy(cost: Float[Array, 'M N']) -> Int[np.ndarray, ' M']:
  """Takes for one row after another the cheapest column that is left."""
  _check(cost)
  left = np.array(cost, np.float64)
  columns = []
  for row in range(left.shape[0]):
    columns.append(int(left[row].argmin()))
    left[:, columns[-1]] = np.inf
  return np.array(columns, np.int32)


def random_form(
  key: PRNGKeyArray, num_items: int, pool_size: int
) -> Int[Array, ' M']:
  """Different items of the pool, drawn evenly."""
  return jax.random.permutation(key, pool_size)[:num_items]


def sinkhorn(
  cost: Float[Array, 'M N'],
  max_steps: int = 20_000,
  *,
  epsilon: ArrayLike | None = None,
  tolerance: ArrayLike = 1e-4,
) -> Float[Array, 'M N']:
  r"""The plan of entropic optimal transport with slack.

  Minimises :math:`\langle P, C \rangle - \epsilon H(P)` over the plan with its
  slack row, by updates of potentials in turn (Cuturi, 2013, arXiv 1306.0895).

  Args:
    cost: of giving a row a column; fewer rows than columns, or as many.
    max_steps: at most; static.
    epsilon: of the entropy; by default a twentieth of the median cost.
    tolerance: the largest error of a row's sum at which it ends.

  Returns:
    The plan without slack: rows sum to 1, columns to at most 1.
  """
  m, n = cost.shape
  if epsilon is None:
    epsilon = jnp.maximum(0.05 * jnp.median(cost), 1e-6)
  kernel = -cost / jnp.asarray(epsilon, jnp.float32)
  if m < n:
    kernel = jnp.concatenate([kernel, jnp.zeros((1, n), jnp.float32)])
  mass = jnp.ones(kernel.shape[0], jnp.float32)
  log_mass = jnp.log(mass if m == n else mass.at[-1].set(n - m))

  def error(rows, columns):
    plan = jnp.exp(kernel + rows[:, None] + columns[None, :])
    return jnp.max(jnp.abs(plan.sum(axis=1)[:m] - 1))

  def columns_of(rows):
    return -jax.nn.logsumexp(kernel + rows[:, None], axis=0)

  def step(state):
    _, columns, count = state
    rows = log_mass - jax.nn.logsumexp(kernel + columns[None, :], axis=1)
    return rows, columns_of(rows), count + 1  # so columns' sums are exact

  def unfinished(state):
    rows, columns, count = state
    return (count < max_steps) & (error(rows, columns) >= tolerance)

  start = jnp.zeros(kernel.shape[0], jnp.float32)
  rows, columns, _ = jax.lax.while_loop(
    unfinished, step, (start, columns_of(start), jnp.int32(0))
  )
  return jnp.exp(kernel + rows[:, None] + columns[None, :])[:m]


def round_plan(plan: Float[Array, 'M N']) -> Int[np.ndarray, ' M']:
  """The assignment that a plan favours most."""
  return assign(-plan)


def disjoint_forms(
  cost: Float[Array, 'M N'], num_forms: int
) -> Int[np.ndarray, 'K M']:
  """Forms that share no item, of the least total cost.

  Args:
    cost: of one form; the pool must hold all.
    num_forms: how many.
  """
  m = cost.shape[0]
  return assign(jnp.tile(cost, (num_forms, 1))).reshape(num_forms, m)


def total_cost(
  cost: Float[Array, 'M N'], columns: Int[Array, ' M'] | Int[np.ndarray, ' M']
) -> Float[Array, '']:
  """What a form costs."""
  return cost[jnp.arange(cost.shape[0]), jnp.asarray(columns)].sum()


def pearson(x: Float[Array, ' S'], y: Float[Array, ' S']) -> Float[Array, '']:
  """Correlation of students' totals."""
  x, y = x - x.mean(), y - y.mean()
  return jnp.sum(x * y) / jnp.sqrt(jnp.sum(x**2) * jnp.sum(y**2))


def cronbach_alpha(scores: Float[Array, 'S M']) -> Float[Array, '']:
  r"""Inner consistency of a form.

  .. math:: \alpha = \frac{m}{m - 1}
    \left(1 - \frac{\sum_j \sigma_j^2}{\sigma_T^2}\right)
  """
  m = scores.shape[1]
  share = scores.var(axis=0).sum() / scores.sum(axis=1).var()
  return m / (m - 1) * (1 - share)


def spearman_brown(r: Float[Array, '...']) -> Float[Array, '...']:
  """Reliability of a form from that of its halves, `2 r / (1 + r)`."""
  return 2 * r / (1 + r)


def split_half(scores: Float[Array, 'S M']) -> Float[Array, '']:
  """Reliability by the halves of odd and even items."""
  halves = (scores[:, ::2].sum(axis=1), scores[:, 1::2].sum(axis=1))
  return spearman_brown(pearson(*halves))


def _check(cost) -> None:
  if cost.ndim != 2 or cost.shape[0] > cost.shape[1]:
    raise ValueError(
      f'cost has the shape {cost.shape}; expected [items of the forms, items '
      'of the pool], with no more rows than columns'
    )
