"""Half the samples by path probabilities (Zhou et al., 2025)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, search
from ttc.claims.claim import (
  Claim,
  compares,
  interval,
  shows,
  text,
)
from ttc.search.rpc import (
  first_copies,
  log_confidences,
  path_weights,
  surviving_paths,
)
from ttc.tasks import answer_world

NUM_PROBLEMS = 500  # of a seed


def measure(seed, size, cache):
  """Every method with what the paths say, and with that permuted."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  return {
    'told': answers_of(seed, num, False),
    'untold': answers_of(seed, num, True),
  }


@functools.partial(jax.jit, static_argnums=(1, 2))
def answers_of(seed, num_problems, permuted):
  """Chance of being right and confidence, per problem, of each method.

  Args:
    seed: of the problems and the samples.
    num_problems: how many.
    permuted: give the paths each other's confidences, after drawing.

  Returns:
    By name, arrays over problems.
  """

  def problem(key):
    world_key, path_key, order_key = jax.random.split(key, 3)
    world = answer_world.random_world(world_key, 5, 16, path_spread=2.0)
    paths = answer_world.draw_paths(path_key, world, 32)
    if permuted:
      shuffled = jax.random.permutation(order_key, world.log_probs)
      world = world._replace(log_probs=shuffled)
    samples = answer_world.observe_paths(world, paths)

    def outcome(weights):
      shares = search.answer_shares(samples.answers, weights)
      right = search.split_accuracy(samples.answers, shares, jnp.int32(0))
      return {'right': right, 'sure': jnp.max(shares)}

    def rpc(mask, length_norm, prune):
      x = log_confidences(samples, length_norm=length_norm)
      kept = surviving_paths(x, mask) if prune else mask
      return outcome(path_weights(x, kept & first_copies(samples, mask)))

    x = samples.log_probs
    mask = jnp.arange(32) < 16
    best = mask & (x == jnp.max(jnp.where(mask, x, -jnp.inf)))
    return {
      'SC@32': outcome(jnp.ones(32)),
      'SC@16': outcome(mask.astype(jnp.float32)),
      'most probable path@16': outcome(best.astype(jnp.float32)),
      'PC@16': rpc(mask, False, False),
      'RPC@16': rpc(mask, False, True),
      'RPC@16 by geometric means': rpc(mask, True, True),
    }

  keys = jax.random.split(jax.random.key(seed), num_problems)
  return jax.vmap(problem)(keys)


def derive(data):
  """Errors of calibration, of each method and seed."""
  num_seeds, ece = data['num_seeds'], {}
  for name, x in data['told'].items():
    seeds = zip(
      x['right'].reshape(num_seeds, -1),
      x['sure'].reshape(num_seeds, -1),
      strict=True,
    )
    ece[name] = np.array(
      [
        evaluation.expected_calibration_error(jnp.asarray(c), jnp.asarray(r))
        for r, c in seeds
      ]
    )
  return {'ece': ece}


CLAIM = Claim(
  'rpc (AnswerWorld, 5 answers of 16 paths, path probabilities)',
  '2502.00511',
  'RPC@16 is as accurate as SC@32, and its ECE is lower',
  measure,
  checks=[
    text(
      lambda d: '; '.join(
        f'{name} {interval(x["right"])}, ECE {100 * d["ece"][name].mean():.1f}'
        for name, x in d['told'].items()
      )
    ),
    compares(
      'RPC@16 to SC@32 ',
      'told/RPC@16/right',
      'told/SC@32/right',
      lambda gap: gap.mean > -gap.standard_error,
    ),
    compares('to SC@16 ', 'told/RPC@16/right', 'told/SC@16/right'),
    compares(
      'ECE to SC@32 ', 'ece/RPC@16', 'ece/SC@32', lambda gap: gap.mean < 0
    ),
  ],
  controls=[
    shows('confidences permuted over paths: RPC@16 ', 'untold/RPC@16/right'),
    compares(
      'to SC@16 ',
      'untold/RPC@16/right',
      'untold/SC@16/right',
      lambda lost: lost.mean < 2 * lost.standard_error,
    ),
  ],
  derive=derive,
)
