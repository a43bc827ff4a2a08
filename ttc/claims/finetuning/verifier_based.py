"""Learning with a verifier beside cloning, by horizon (2502.12118)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import finetuning
from ttc.claims.claim import Claim, every, text
from ttc.testbeds import planted_subsequence as bed

HORIZONS = (30, 60, 120)
NUM_TRACES = (32, 128, 512)
RADIUS = 10.0  # of the ball, in which the best speed lies
PESSIMISM = 1.0  # standard errors


def _speeds(kind, horizon):
  scaled = bed.scaled_speeds(horizon)
  return {
    'scaled': scaled,
    'fixed': bed.SPEEDS,
    'one': (scaled[1],) * 3,
    'near': tuple(np.clip(scaled[1] * np.array([0.8, 1.0, 1.25]), 0, 1)),
  }[kind]


KINDS = ('scaled', 'fixed', 'near', 'one')


def measure(seed, size, cache):
  """Exact returns of what both learned from n traces, over repetitions."""
  del cache
  repetitions = size.problems(32)
  found = {}
  for horizon in HORIZONS:
    for n in NUM_TRACES:
      learn = jax.jit(
        lambda key, speeds, success, h=horizon, n=n: jax.vmap(
          lambda key: _learn(key, speeds, success, h, n)
        )(jax.random.split(key, repetitions))
      )
      for i, kind in enumerate(KINDS):
        speeds = _speeds(kind, horizon)
        returns, success = (
          jnp.array([of(u, horizon) for u in speeds], jnp.float32)
          for of in (bed.expected_return, lambda *x: bed.law(*x)[1])
        )
        key = jax.random.fold_in(jax.random.key(200 + seed), i)
        free, based = learn(key, jnp.array(speeds, jnp.float32), success)
        found[f'{kind} {horizon} {n}'] = {
          'free': free @ returns,
          'based': based @ returns,
        }
  return found


def _learn(key, speeds, success, horizon, n):
  """What each makes of n traces: correct ones, and labelled ones."""
  free_key, based_key = jax.random.split(key)
  weights = jnp.ones(speeds.size, jnp.float32) / speeds.size

  # A cloner is given n correct traces; four times as many are drawn, of which
  # the first n correct ones count. Their law is that of success.
  drawn = bed.draw_traces(free_key, speeds, horizon, 4 * n)
  right = drawn.time <= horizon
  counts = right & (jnp.cumsum(right) <= n)
  logs = bed.log_likelihoods(drawn, speeds, horizon) - jnp.log(success)
  cloned = finetuning.clone(jnp.where(counts[:, None], logs, -jnp.inf), weights)

  drawn = bed.draw_traces(based_key, speeds, horizon, n)
  model = finetuning.fit_returns(
    bed.log_likelihoods(drawn, speeds, horizon),
    weights,
    bed.returned(drawn, horizon),
  )
  improved = finetuning.improve_in_ball(
    weights, model.returns - PESSIMISM * model.standard_errors, RADIUS
  )
  return cloned, improved


def gap(data, kind, horizon, n=NUM_TRACES[-1]):
  """Mean of each seed."""
  runs = data[f'{kind} {horizon} {n}']
  return np.reshape(runs['based'] - runs['free'], (data['num_seeds'], -1)).mean(
    axis=1
  )


def exact(kind, horizon):
  """The closed form of both."""
  speeds = _speeds(kind, horizon)
  return bed.verifier_based_return(speeds, horizon) - bed.verifier_free_return(
    speeds, horizon
  )


def told(kind, asks=lambda data: True):
  """Gap by horizon, and its closed form."""

  def say(data):
    parts = [
      f'{gap(data, kind, h).mean():.2f} ({exact(kind, h):.2f})'
      for h in HORIZONS
    ]
    return f'{kind} speeds, gap at H = 30, 60, 120: {", ".join(parts)}'

  return text(say, asks)


def by_traces(data):
  """The gap at the longest horizon, by the number of traces."""
  parts = [f'{gap(data, "scaled", 120, n).mean():.2f}' for n in NUM_TRACES]
  return f'scaled speeds, H = 120, from 32, 128, 512 traces: {", ".join(parts)}'


CLAIM = Claim(
  'Verifier-based and verifier-free learning of a planted subsequence',
  '2502.12118',
  'from 512 traces learning with a verifier returns more than cloning, by a '
  'gap that grows with the horizon where the base is heterogeneous and is '
  'within 5% of its closed form, in every seed',
  measure,
  checks=[
    told('scaled'),
    told('fixed'),
    every(
      'the gap grows with the horizon',
      lambda d: [
        gap(d, kind, b) > gap(d, kind, a)
        for kind in ('scaled', 'fixed')
        for a, b in itertools.pairwise(HORIZONS)
      ],
    ),
    every(
      'it is within 5% of the closed form',
      lambda d: [
        np.abs(gap(d, kind, h) / exact(kind, h) - 1) < 0.05
        for kind in ('scaled', 'fixed')
        for h in HORIZONS
      ],
    ),
    text(by_traces),
  ],
  controls=[
    told(
      'one',
      lambda d: all(np.all(abs(gap(d, 'one', h)) < 1e-3) for h in HORIZONS),
    ),
    told(
      'near',
      lambda d: all(
        np.all(gap(d, 'near', h) < gap(d, 'scaled', h) / 2) for h in HORIZONS
      ),
    ),
    text(
      lambda d: (
        'heterogeneity of near, scaled at H = 120: '
        + ', '.join(
          f'{bed.heterogeneity(_speeds(k, 120), 120):.0f}'
          for k in ('near', 'scaled')
        )
      ),
    ),
  ],
)
