"""Rejections at an exact rate, and turns without a barrier (ATTS)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row
from ttc import scaling, search

NUM_TRIALS, NUM_SCORES, NUM_NEW = 200, 99, 100  # of a seed
TAUS, ALPHAS = (0.3, 0.5, 0.6, 0.9), (0.05, 0.1, 0.4)
NUM_TURNS, DRIFT = 15, 0.1  # a turn moves log scores by a fifth of their spread
CHAINS = (1, 4, 16, 64, 256)
TOKENS, LIMIT, TARGET_COST = 250, 500, 4  # of a turn; per token, to the draft's


def reproduce(num_seeds: int) -> Row:
  """The rates, what breaks them, and the time that a barrier costs."""
  keys = jax.random.split(jax.random.key(0), num_seeds * NUM_TRIALS)
  rates = jax.device_get(jax.vmap(rates_of)(keys))
  taus, alphas = np.array(TAUS), np.array(ALPHAS)
  want = np.concatenate(
    [
      search.rank_test_rate(NUM_SCORES, taus),
      search.p_value_test_rate(NUM_SCORES, alphas),
    ]
  )
  mean, error = over_trials(rates)
  exact = np.all(np.abs(mean - want) < 3 * error)

  first, own = map(over_trials, jax.device_get(jax.vmap(rates_by_turn)(keys)))
  of_all, of_accepted = map(
    over_trials, jax.device_get(jax.vmap(running_rates)(keys))
  )
  rate = float(search.rank_test_rate(NUM_SCORES, 0.6))
  repaired = np.all(np.abs(own[0] - rate) < 3 * own[1])
  broken = np.all(first[0][1:] > rate + 3 * first[1][1:])

  tailed = barrier_costs(num_seeds, limit=None)
  limited = barrier_costs(num_seeds, limit=LIMIT)
  spread = spread_costs(num_seeds)
  never_later = all(np.all(x >= 1) for x in (*tailed, *limited, *spread))
  tailed, limited, spread = (
    [float(x.mean()) for x in costs] for costs in (tailed, limited, spread)
  )
  grows = np.all(np.diff(tailed) > 0) and np.all(np.diff(spread) > 0)
  names = [f'rank {t}' for t in TAUS] + [f'p {a}' for a in ALPHAS]
  cells = [
    f'{name}: {100 * m:.2f} for {100 * w:.0f} ({(m - w) / e:+.1f} s.e.)'
    for name, m, e, w in zip(names, mean, error, want, strict=True)
  ]
  listed = lambda costs: ', '.join(f'{cost:.2f}' for cost in costs)
  return Row(
    f'conformal test of ATTS ({len(keys)} trials, {NUM_SCORES} scores)',
    'rejections at the exact rate; no barrier is never slower, and gains more '
    'with more chains and with more spread lengths',
    f'{"; ".join(cells)}; time with to without a barrier for '
    f'{", ".join(map(str, CHAINS))} chains {listed(tailed)} (geometric '
    f'lengths), 16 chains of lengths {TOKENS} +- 0, 50, 100, 200 '
    f'{listed(spread)}',
    f'scores that drift: by the first turn {100 * first[0][-1]:.1f} rejected '
    f'in turn {NUM_TURNS} for {100 * rate:.0f}, by its own '
    f'{100 * own[0][-1]:.1f}; running calibration, after 200 scores, of all '
    f'{100 * of_all[0]:.1f}, of the accepted {100 * of_accepted[0]:.1f}; '
    f'lengths cut at {LIMIT} tokens {listed(limited)}',
    bool(exact and broken and repaired and never_later and grows),
  )


def over_trials(rates):
  """Mean and standard error; the new scores of a trial share a calibration."""
  return rates.mean(axis=0), rates.std(axis=0, ddof=1) / len(rates) ** 0.5


@jax.jit
def rates_of(key):
  """How many of 100 new scores each test rejects, after one calibration."""
  scores = jnp.exp(jax.random.normal(key, (NUM_SCORES + NUM_NEW,)))
  calibration = search.calibrate(scores[:NUM_SCORES])
  by_level = lambda test: jax.vmap(test, in_axes=(None, None, 0))
  new = scores[NUM_SCORES:]
  rejected = [
    by_level(search.rank_test)(calibration, new, jnp.array(TAUS)),
    by_level(search.p_value_test)(calibration, new, jnp.array(ALPHAS)),
  ]
  return jnp.mean(jnp.concatenate(rejected), axis=1)


@jax.jit
def rates_by_turn(key):
  """By the first turn's calibration and by each turn's own; scores drift."""
  shape = (NUM_TURNS, NUM_SCORES + NUM_NEW)
  drift = DRIFT * jnp.arange(NUM_TURNS)[:, None]
  scores = jnp.exp(0.5 * jax.random.normal(key, shape) + drift)
  turns = jax.vmap(search.calibrate)(scores[:, :NUM_SCORES])
  first = jax.tree.map(lambda x: x[0], turns)
  new = scores[:, NUM_SCORES:]
  by_first = search.rank_test(first, new, 0.6)
  by_own = jax.vmap(search.rank_test, in_axes=(0, 0, None))(turns, new, 0.6)
  return jnp.mean(by_first, axis=1), jnp.mean(by_own, axis=1)


@jax.jit
def running_rates(key):
  """After 200 scores, appended if tested and if accepted; no drift."""
  scores = jax.random.normal(key, (NUM_SCORES + 200 + NUM_NEW,))
  start, stream, new = jnp.split(scores, [NUM_SCORES, NUM_SCORES + 200])

  def rate(all_of_them):
    def step(calibration, score):
      keep = all_of_them | ~search.rank_test(calibration, score, 0.6)
      return search.append_scores(calibration, score[None], keep[None]), None

    calibration, _ = jax.lax.scan(step, search.calibrate(start), stream)
    return jnp.mean(search.rank_test(calibration, new, 0.6))

  return rate(True), rate(False)


def barrier_costs(num_seeds, limit):
  """Time with to without a barrier, an array over trials for each of CHAINS.

  Drafts of geometric lengths; after 40% of them the target writes as much, at
  four times the time per token. All drafts of a turn are waited for.
  """

  @functools.partial(jax.jit, static_argnums=1)
  @functools.partial(jax.vmap, in_axes=(0, None))
  def ratio(key, num_chains):
    draft_key, target_key, test_key = jax.random.split(key, 3)
    shape = (num_chains, NUM_TURNS)
    rejected = jax.random.bernoulli(test_key, 0.4, shape)
    draft, target = (
      jnp.minimum(jax.random.geometric(k, 1 / TOKENS, shape), limit or jnp.inf)
      for k in (draft_key, target_key)
    )
    target = jnp.where(rejected, TARGET_COST * target, 0)
    both = scaling.makespans(scaling.barrier_segments(draft, target))
    return both.synchronous / both.asynchronous

  keys = jax.random.split(jax.random.key(1), num_seeds * NUM_TRIALS)
  return [np.asarray(ratio(keys, k)) for k in CHAINS]


def spread_costs(num_seeds, widths=(0, 50, 100, 200)):
  """The same ratio for 16 chains of uniform lengths, drafts only."""

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None))
  def ratio(key, width):
    uniform = jax.random.uniform(key, (16, NUM_TURNS), minval=-1)
    both = scaling.makespans(jnp.round(TOKENS + width * uniform))
    return both.synchronous / both.asynchronous

  keys = jax.random.split(jax.random.key(2), num_seeds * NUM_TRIALS)
  return [np.asarray(ratio(keys, width)) for width in widths]
