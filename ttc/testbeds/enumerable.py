"""Tables so small that every response, and every law, can be enumerated.

The small world has an exact reward; its chains of proposals can be multiplied
out. In the world of proxies each response gives one of six answers, and what a
reward says of a response errs by a fixed sum: with heavy tails, or by little
but for a few wrong responses that it takes for better than all right ones.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models

# The small world: tokens 0, 1 and the end; token 3 only starts responses.
SMALL = np.array(
  [[0.3, 0.3, 0.4, 0], [0.2, 0.5, 0.3, 0], [1, 0, 0, 0], [0.5, 0.3, 0.2, 0]]
)
# The world of proxies: tokens 0 to 2 and the end, responses of up to 5 tokens,
# each with one of six answers; the proxy errs on each response by a fixed sum.
END, LENGTH, NUM_ANSWERS, SCALE = 3, 5, 6, 0.3
RARE, BONUS = 0.02, 2.0  # share of the wrong that is taken for better, by what


def small_reward(tokens, lengths):
  """Ones, less half a point for each token."""
  return (tokens == 1).sum(axis=-1) - 0.5 * lengths


def proposals():
  """Responses with a chance, their lengths, chances, and moves `[i, y, y']`."""
  table = jnp.log(jnp.asarray(SMALL))
  world = models.enumerate_sequences(table, 3, 2, 4)
  real = np.isfinite(np.asarray(world.log_probs))
  tokens, lengths = world.tokens[real], world.lengths[real]
  before = np.concatenate([np.full((len(tokens), 1), 3), tokens[:, :-1]], 1)
  steps = np.where(np.arange(4) < lengths[:, None], SMALL[before, tokens], 1.0)
  moves = []
  for cut in range(4):
    same = (tokens[:, None, :cut] == tokens[:, :cut]).all(axis=-1)
    legal = same & (cut < lengths[:, None]) & (cut < lengths)
    moves.append(legal * steps[:, cut:].prod(axis=1) / lengths[:, None])
  return tokens, lengths, steps, moves


def rewritten(law, probs):
  """Mean tokens of a proposed response, kept ones included, under the law."""
  _, lengths, _, moves = proposals()
  return (law[probs > 0] / law.sum()) @ sum(moves) @ lengths


def wrong_kernels():
  """How far off the laws of two wrong rules are: no lengths; QUEST's mean."""
  tokens, lengths, steps, moves = proposals()
  reward = small_reward(tokens, lengths) / 0.5

  def off(by_length, mean, law):
    kernel = np.zeros((len(tokens), len(tokens)))
    for cut, move in enumerate(moves):
      log_ratio = reward - reward[:, None]
      if by_length:
        log_ratio = log_ratio + np.log(lengths[:, None] / lengths)
      if mean:
        ending = np.log(steps[:, cut:]).sum(axis=1)
        ending /= np.maximum(lengths - cut, 1)
        log_ratio = log_ratio + ending[:, None] - ending
      kernel += move * np.minimum(1, np.exp(log_ratio))
    kernel += np.diag(1 - kernel.sum(axis=1))
    law = law / law.sum()
    stationary = np.linalg.matrix_power(kernel, 2**14)[0]
    return np.abs(stationary - law).sum() / 2

  weights = np.exp(reward)
  return (
    off(False, False, weights * steps.prod(axis=1)),
    off(True, True, weights),
  )


class Worlds(NamedTuple):
  """`B` problems on one table: answers and scores of its `R` responses."""

  responses: models.Sequences
  answers: np.ndarray  # [B, R], 0 is right
  proxy: np.ndarray  # [B, R], 1 for right ones, plus the error


@functools.cache
def table():
  """Logits of the policy."""
  with jax.ensure_compile_time_eval():  # a program may be the first to ask
    return 0.5 * jax.random.normal(jax.random.key(1), (4, 4))


def make_worlds(key, num_problems, error: Literal['heavy', 'rare'] = 'heavy'):
  """Draws problems: who gives which answer, and how the proxy errs."""
  responses = models.enumerate_sequences(table(), 0, END, LENGTH)
  shape = (num_problems, len(responses.lengths))
  answer_key, error_key = jax.random.split(key)
  answers = jax.random.randint(answer_key, shape, 0, NUM_ANSWERS)
  if error == 'heavy':
    off = SCALE * jax.random.t(error_key, 2.0, shape)
  else:
    noise_key, rare_key = jax.random.split(error_key)
    taken = jax.random.bernoulli(rare_key, RARE, shape) & (answers != 0)
    off = SCALE * jax.random.normal(noise_key, shape) + BONUS * taken
  return Worlds(responses, *map(np.asarray, (answers, (answers == 0) + off)))


def exact_votes(worlds, beta):
  """By problem: is the most likely answer right; how likely is the right one.

  Under QAlign's law, the limit of its votes.
  """
  log_weights = worlds.responses.log_probs + worlds.proxy / beta
  law = np.asarray(jax.nn.softmax(log_weights, axis=-1))
  given = worlds.answers[..., None] == np.arange(NUM_ANSWERS)
  shares = (law[..., None] * given).sum(axis=1)
  return (shares.argmax(axis=1) == 0).astype(float), shares[:, 0]
