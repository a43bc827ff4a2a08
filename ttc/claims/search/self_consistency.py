"""Votes amplify the mode, right or wrong (Wang et al., 2022)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, scaling, search
from ttc.claims.claim import (
  Claim,
  agrees,
  curve,
  interval,
  standard_error,
  text,
)
from ttc.testbeds.calibrated import base_law, base_samples
from ttc.types import Prompt, Samples

BUDGETS = (1, 4, 16)
WRONG_MODE, NUM_VOTES = (0.3, 0.4, 0.3), 32


def measure(seed, size, cache):
  """Samples of the base, and votes of a table whose mode is wrong."""
  worse = one_token_votes(size.problems(4096), jax.random.key(seed))
  return {**base_samples(seed, size, cache), 'worse': worse}


@functools.partial(jax.jit, static_argnums=0)
def one_token_votes(num_problems, key):
  """Whether votes of answers of one token choose the answer 0."""
  table = jnp.zeros((3, 3)) + jnp.log(jnp.array(WRONG_MODE))
  prompt = Prompt(
    jnp.zeros((num_problems, 1), jnp.int32),
    jnp.ones((num_problems,), jnp.int32),
  )
  output = search.self_consistency(
    table,
    jax.random.split(key, num_problems),
    prompt,
    functools.partial(
      sampling.generate,
      model=models.table_model(3),
      capacity=1,
      stop=sampling.stop_rules(3),
    ),
    lambda prompt, samples: samples.tokens[..., 0],
    NUM_VOTES,
  )
  return (output.answers == 0).astype(jnp.float32)


def derive(data):
  """Votes `[problems, budgets]`, their law, and how far off they are."""
  votes = curve(
    search.majority_vote, Samples(**data['samples']), data['gold'], BUDGETS
  ).accuracy
  expected = np.array(
    [
      float(scaling.majority_accuracy_population(base_law(), 0, k))
      for k in BUDGETS
    ]
  )
  errors = [standard_error(column) for column in votes.T]
  far = np.abs(votes.mean(axis=0) - expected) / np.array(errors)
  return {'votes': votes, 'expected': expected, 'far': far.max()}


def figure(data):
  """At each budget, beside the law."""
  cells = [
    f'majority@{k} {interval(column)} for {100 * law:.1f}'
    for k, column, law in zip(
      BUDGETS, data['votes'].T, data['expected'], strict=True
    )
  ]
  return f'{"; ".join(cells)}; largest |z| {data["far"]:.1f}'


CLAIM = Claim(
  'self_consistency',
  '2203.11171',
  'voting amplifies the mode, as the multinomial law says',
  measure,
  checks=[
    text(
      figure,
      lambda d: (
        d['far'] < 3 and d['votes'][:, 2].mean() > d['votes'][:, 0].mean()
      ),
    )
  ],
  controls=[
    agrees(
      f'wrong mode, p=(.3, .4, .3): majority@{NUM_VOTES} ',
      'worse',
      lambda _: scaling.majority_accuracy_population(
        jnp.array(WRONG_MODE), 0, NUM_VOTES
      ),
    )
  ],
  derive=derive,
)
