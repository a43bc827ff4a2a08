"""Rejections at an exact rate, and turns without a barrier (ATTS)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling, search
from ttc.claims.claim import Claim, text

NUM_TRIALS, NUM_SCORES, NUM_NEW = 200, 99, 100  # of a seed
TAUS, ALPHAS = (0.3, 0.5, 0.6, 0.9), (0.05, 0.1, 0.4)
NUM_TURNS, DRIFT = 15, 0.1  # a turn moves log scores by a fifth of their spread
CHAINS = (1, 4, 16, 64, 256)
TOKENS, LIMIT, TARGET_COST = 250, 500, 4  # of a turn; per token, to the draft's
WIDTHS = (0, 50, 100, 200)  # of uniform lengths


def measure(seed, size, cache):
  """Rates of all tests and times to those without a barrier, by trial."""
  del cache
  num = size.problems(NUM_TRIALS)

  def keys(i):
    split = jax.random.split(jax.random.key(i), (seed + 1) * num)
    return split[seed * num :]

  first, own = jax.vmap(rates_by_turn)(keys(0))
  of_all, of_accepted = jax.vmap(running_rates)(keys(0))
  barrier = lambda limit: {
    str(k): barrier_ratio(keys(1), k, limit) for k in CHAINS
  }
  return {
    'rates': jax.vmap(rates_of)(keys(0)),
    'first': first,
    'own': own,
    'of all': of_all,
    'of accepted': of_accepted,
    'tailed': barrier(None),
    'limited': barrier(LIMIT),
    'spread': {str(w): spread_ratio(keys(2), w) for w in WIDTHS},
  }


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


@functools.partial(jax.jit, static_argnums=(1, 2))
@functools.partial(jax.vmap, in_axes=(0, None, None))
def barrier_ratio(key, num_chains, limit):
  """Time with to without a barrier.

  Drafts of geometric lengths; after 40% of them the target writes as much, at
  four times the time per token. All drafts of a turn are waited for.
  """
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


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def spread_ratio(key, width):
  """The same ratio for 16 chains of uniform lengths, drafts only."""
  uniform = jax.random.uniform(key, (16, NUM_TURNS), minval=-1)
  both = scaling.makespans(jnp.round(TOKENS + width * uniform))
  return both.synchronous / both.asynchronous


def derive(data):
  """Means and errors of the rates, what they should be, mean times."""
  rank = search.rank_test_rate(NUM_SCORES, np.array(TAUS))
  p_value = search.p_value_test_rate(NUM_SCORES, np.array(ALPHAS))
  times = {
    name: [float(data[name][str(k)].mean()) for k in which]
    for name, which in (
      ('tailed', CHAINS),
      ('limited', CHAINS),
      ('spread', WIDTHS),
    )
  }
  return {
    'mean rates': over_trials(data['rates']),
    'want': np.concatenate([rank, p_value]),
    'by first': over_trials(data['first']),
    'by own': over_trials(data['own']),
    'rate': float(search.rank_test_rate(NUM_SCORES, 0.6)),
    'times': times,
  }


def figure(data):
  """Rates beside the exact ones, and times."""
  names = [f'rank {t}' for t in TAUS] + [f'p {a}' for a in ALPHAS]
  cells = [
    f'{name}: {100 * m:.2f} for {100 * w:.0f} ({(m - w) / e:+.1f} s.e.)'
    for name, m, e, w in zip(
      names, *data['mean rates'], data['want'], strict=True
    )
  ]
  return (
    f'{"; ".join(cells)}; time with to without a barrier for '
    f'{", ".join(map(str, CHAINS))} chains {listed(data["times"]["tailed"])} '
    f'(geometric lengths), 16 chains of lengths {TOKENS} +- '
    f'{", ".join(map(str, WIDTHS))} {listed(data["times"]["spread"])}'
  )


def control(data):
  """What breaks the rates and what repairs them."""
  last = lambda name: 100 * data[name][0][-1]
  return (
    f'scores that drift: by the first turn {last("by first"):.1f} rejected '
    f'in turn {NUM_TURNS} for {100 * data["rate"]:.0f}, by its own '
    f'{last("by own"):.1f}; running calibration, after 200 scores, of all '
    f'{100 * data["of all"].mean():.1f}, of the accepted '
    f'{100 * data["of accepted"].mean():.1f}; lengths cut at {LIMIT} tokens '
    f'{listed(data["times"]["limited"])}'
  )


def listed(ratios):
  """Ratios of times."""
  return ', '.join(f'{ratio:.2f}' for ratio in ratios)


def is_exact(data):
  """Rates up to three standard errors; times that grow from one."""
  mean, error = data['mean rates']
  never_later = all(
    np.all(x >= 1)
    for name in ('tailed', 'limited', 'spread')
    for x in data[name].values()
  )
  grows = all(
    np.all(np.diff(data['times'][name]) > 0) for name in ('tailed', 'spread')
  )
  exact = np.all(np.abs(mean - data['want']) < 3 * error)
  return exact and never_later and grows


def breaks(data):
  """Drift breaks the rates of one calibration, not of each turn's own."""
  (first, first_error), (own, own_error) = data['by first'], data['by own']
  return np.all(first[1:] > data['rate'] + 3 * first_error[1:]) and np.all(
    np.abs(own - data['rate']) < 3 * own_error
  )


CLAIM = Claim(
  f'conformal test of ATTS ({NUM_SCORES} scores, {NUM_TRIALS} trials a seed)',
  '2509.15148',
  'rejections at the exact rate; no barrier is never slower, and gains more '
  'with more chains and with more spread lengths',
  measure,
  checks=[text(figure, is_exact)],
  controls=[text(control, breaks)],
  derive=derive,
)
