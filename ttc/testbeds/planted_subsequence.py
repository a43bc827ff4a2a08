r"""A planted subsequence: the environment of 2502.12118, with its closed forms.

A trace of H tokens succeeds at the first step by which k planted tokens have
occurred in their order, gaps allowed. A policy of speed u emits the next of
them with chance u and else one of V tokens at random, so it advances with
chance `p = u + (1 - u) / V`, and the time of success is negative binomial,

.. math:: P(\tau = t) = \binom{t - 1}{k - 1} p^k (1 - p)^{t - k}.

Returns are in the sum form, `H - tau + 1` steps after success, 0 for none. The
base draws a speed for each trace.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

NUM_PLANTED = 5  # k
VOCAB_SIZE = 30  # V
SPEEDS = (0.1, 0.3, 0.9)
FRACTIONS = (0.2, 0.5, 0.9)  # of the horizon, that a scaled speed needs


def scaled_speeds(horizon: int) -> tuple[float, ...]:
  """Speeds that need fixed shares of the horizon: `u = k / (f H)`."""
  return tuple(NUM_PLANTED / (f * horizon) for f in FRACTIONS)


def rollout(
  key: PRNGKeyArray,
  planted: Int[Array, ' k'],
  speed: Float[Array, ''],
  horizon: int,
) -> Int[Array, ' H']:
  """The tokens of a policy that knows what is planted, and is slow."""
  speed_key, token_key = jax.random.split(key)
  moves = jax.random.uniform(speed_key, (horizon,)) < speed
  fillers = jax.random.randint(token_key, (horizon,), 0, VOCAB_SIZE)

  def step(progress, drawn):
    moves, filler = drawn
    wanted = planted[jnp.minimum(progress, planted.size - 1)]
    token = jnp.where(moves, wanted, filler)
    hit = (token == wanted) & (progress < planted.size)
    return progress + hit, token

  return jax.lax.scan(step, jnp.int32(0), (moves, fillers))[1]


class Trace(NamedTuple):
  """What a verifier sees of a trace.

  Attributes:
    time: of success, 1 ... H; H + 1 for none.
    progress: planted tokens found within H.
  """

  time: Int[Array, '*n']
  progress: Int[Array, '*n']


def verify(tokens: Int[Array, ' H'], planted: Int[Array, ' k']) -> Trace:
  """When the planted tokens have occurred in order."""

  def step(progress, token):
    wanted = planted[jnp.minimum(progress, planted.size - 1)]
    hit = (token == wanted) & (progress < planted.size)
    return progress + hit, progress + hit

  last, progress = jax.lax.scan(step, jnp.int32(0), tokens)
  time = 1 + jnp.sum(progress < planted.size)
  return Trace(time.astype(jnp.int32), last)


def returned(trace: Trace, horizon: int) -> Float[Array, '*n']:
  """Steps after success, its own included."""
  return jnp.float32(horizon + 1 - trace.time)


def log_likelihoods(
  trace: Trace, speeds: Float[Array, ' U'], horizon: int
) -> Float[Array, 'n U']:
  """Of traces up to their success, under each speed, up to what all share."""
  p = _advance(speeds)
  steps = jnp.minimum(trace.time, horizon)
  hits = trace.progress[:, None]
  return hits * jnp.log(p) + (steps[:, None] - hits) * jnp.log1p(-p)


def law(speed: float, horizon: int) -> tuple[np.ndarray, float]:
  """`P(tau = t)` for t = 1 ... H and the chance of success, float64."""
  k, p = NUM_PLANTED, speed + (1 - speed) / VOCAB_SIZE
  chance = np.zeros(horizon + 1)
  if horizon >= k:
    chance[k] = p**k
  for t in range(k + 1, horizon + 1):
    chance[t] = chance[t - 1] * (1 - p) * (t - 1) / (t - k)
  return chance[1:], float(chance.sum())


def expected_return(speed: float, horizon: int) -> float:
  """`E[H - tau + 1]` of one speed."""
  chance, _ = law(speed, horizon)
  return float(np.arange(horizon, 0, -1) @ chance)


def base_return(speeds, horizon: int) -> float:
  """Of the base, all speeds equally often."""
  return float(np.mean([expected_return(u, horizon) for u in speeds]))


def verifier_free_return(speeds, horizon: int) -> float:
  """Of the cloned law: speeds as they are among correct traces."""
  success = np.array([law(u, horizon)[1] for u in speeds])
  returns = [expected_return(u, horizon) for u in speeds]
  return float(success / success.sum() @ returns)


def verifier_based_return(speeds, horizon: int) -> float:
  """Of the best speed in the base's support."""
  return max(expected_return(u, horizon) for u in speeds)


def heterogeneity(speeds, horizon: int) -> float:
  r"""`sigma_b^2` of the base, exact.

  .. math:: E \sum_h \mathrm{Var}_{a \sim \pi_b(\cdot \mid s_h)} Q(s_h, a)

  A state is (step, progress), which is all that tells speeds apart; the value
  averages over the speed that the state speaks for.
  """
  k, H = NUM_PLANTED, horizon
  p = np.array([u + (1 - u) / VOCAB_SIZE for u in speeds])
  # value[u, h, j] of a policy that keeps its speed.
  value = np.zeros((len(p), H + 1, k + 1))
  value[:, :, k] = H - np.arange(H + 1)
  gain = lambda h, j: float(j + 1 == k)  # the step of success counts itself
  for h in range(H - 1, -1, -1):
    for j in range(k):
      value[:, h, j] = (
        p * (value[:, h + 1, j + 1] + gain(h, j)) + (1 - p) * value[:, h + 1, j]
      )
  reach = np.zeros((len(p), H + 1, k + 1))  # with the weight of the speed
  reach[:, 0, 0] = 1 / len(p)
  total = 0.0
  for h in range(H):
    for j in range(k):
      here = reach[:, h, j]
      reach[:, h + 1, j + 1] += here * p
      reach[:, h + 1, j] += here * (1 - p)
      if here.sum() == 0:
        continue
      hit, miss = (here * p).sum(), (here * (1 - p)).sum()
      q_hit = (here * p) @ value[:, h + 1, j + 1] / hit + gain(h, j)
      q_miss = (here * (1 - p)) @ value[:, h + 1, j] / miss
      total += hit * miss / (hit + miss) * (q_hit - q_miss) ** 2
  return total


def draw_traces(
  key: PRNGKeyArray, speeds: Float[Array, ' U'], horizon: int, count: int
) -> Trace:
  """`n` traces of the base, each on a planted sequence of its own."""

  def one(key):
    plant_key, speed_key, roll_key = jax.random.split(key, 3)
    planted = jax.random.randint(plant_key, (NUM_PLANTED,), 0, VOCAB_SIZE)
    speed = jax.random.choice(speed_key, speeds)
    return verify(rollout(roll_key, planted, speed, horizon), planted)

  return jax.vmap(one)(jax.random.split(key, count))


def _advance(speeds):
  return speeds + (1 - speeds) / VOCAB_SIZE
