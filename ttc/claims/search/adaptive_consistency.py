"""Votes that stop when the leader is sure (Aggarwal et al., 2023).

It looks after every sample, so what is sure at 95% each time is wrong more
often than in one of twenty votes. Where that must cost, as a control: of two
answers of 55% and 45%, 128 votes are right in 87%, and a stop at the first sure
look on a seed that is not reported in 7 points less, with an error of 1.2.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import search
from ttc.claims.claim import (
  Claim,
  below,
  curve,
  difference,
  interval,
  signed,
  standard_error,
  text,
)
from ttc.testbeds.calibrated import NUM_SAMPLES, base_samples
from ttc.types import Samples

CLOSE, NUM_CLOSE, NUM_VOTES = (0.55, 0.45), 200, 128  # problems of a seed


def measure(seed, size, cache):
  """Samples of the base, and votes between two answers that are close."""
  close = close_answers(jax.random.key(seed), size.problems(NUM_CLOSE))
  return {**base_samples(seed, size, cache), **close}


def close_answers(key, num_problems):
  """Whether all votes, and those up to the stop, are right."""
  answers = jax.random.categorical(
    key, jnp.log(jnp.array(CLOSE)), shape=(num_problems, NUM_VOTES)
  )
  none, ones = jnp.zeros(answers.shape), jnp.ones(answers.shape, jnp.int32)
  samples = Samples(answers, none, none, ones, ones > 0)
  right = lambda select: jax.lax.map(
    lambda x: select(x, jnp.int32(NUM_VOTES)).answer == 0, samples, batch_size=8
  )
  return {
    'close, all': right(search.majority_vote).astype(np.float32),
    'close, stopped': right(search.beta_stopped_vote(0.95)).astype(np.float32),
  }


def derive(data):
  """Votes of all samples, stopped votes, and as many as these use."""
  samples, gold = Samples(**data['samples']), data['gold']
  vote = lambda select, n: curve(select, samples, gold, [n])
  full = vote(search.majority_vote, NUM_SAMPLES)
  stopped = vote(search.beta_stopped_vote(0.95), NUM_SAMPLES)
  used = float(NUM_SAMPLES * stopped.tokens.mean() / full.tokens.mean())
  fixed = vote(search.majority_vote, round(used)).accuracy[:, 0]
  full, stopped = full.accuracy[:, 0], stopped.accuracy[:, 0]
  return {
    'stopped': stopped,
    'gap': difference(stopped, full),
    'error': standard_error(full),
    'used': used,
    'fixed': fixed,
  }


CLAIM = Claim(
  'adaptive_consistency, beta stop at .95',
  '2305.11860',
  f'the accuracy of majority@{NUM_SAMPLES} within 1 s.e. at fewer samples',
  measure,
  checks=[
    text(
      lambda d: (
        f'{interval(d["stopped"])}, {signed(d["gap"])} to '
        f'majority@{NUM_SAMPLES} (s.e. {100 * d["error"]:.2f}), with '
        f'{d["used"]:.1f} of {NUM_SAMPLES} samples'
      ),
      lambda d: abs(d['gap'].mean) <= d['error'] and d['used'] < NUM_SAMPLES,
    )
  ],
  controls=[
    text(
      lambda d: (
        f'majority@{round(d["used"])}, as many for every problem: '
        f'{interval(d["fixed"])}'
      )
    ),
    below(
      f'answers of {CLOSE[0]} and {CLOSE[1]}, to majority@{NUM_VOTES} ',
      'close, stopped',
      'close, all',
    ),
  ],
  derive=derive,
)
