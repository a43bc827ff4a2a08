"""Three models of words of S4, each of which has learned words of some lengths.

They cost the same and differ in what they are good at: outside its lengths a
model has learned nothing. So who answers must be found for every word, as with
language models of different strengths (Archon, 2409.15254).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, tasks
from ttc.testbeds.three_sizes import NUM_STEPS, TASK, config_of
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size

BANDS = {'long': (9, 12), 'middle': (5, 8), 'short': (1, 4)}  # factors
_CANDIDATES = 8  # words drawn for one of a band


def specialist(
  name: str, seed: int, size: Size, cache: Directory
) -> models.Loaded:
  """A trained model of one of `BANDS`, of the medium of three sizes."""
  draw = functools.partial(sequence, *BANDS[name])
  batch_fn = lambda key: jax.vmap(draw)(jax.random.split(key, 64))
  recipe = Recipe((size.steps(NUM_STEPS),), learning_rate=5e-3)
  return trained_transformer(
    f'specialist_{name}', config_of('medium'), recipe, [batch_fn], seed, cache
  )


def sequence(low, high, key):
  """A word of so many factors with its trace, and which tokens to learn.

  None are learned where there is no such word among the candidates.
  """
  generate = tasks.on_split(TASK, 'train').generate
  words = jax.vmap(generate)(jax.random.split(key, _CANDIDATES))
  fits = (words.data.num_steps >= low) & (words.data.num_steps <= high)
  first = jnp.argmax(fits)
  chosen = tasks.training_sequence(jax.tree.map(lambda x: x[first], words))
  return chosen.tokens, chosen.is_trace & fits[first]


def draw_problems(key, num_problems):
  """Unseen words, as many of each band, in turn."""
  generate = jax.jit(jax.vmap(tasks.on_split(TASK, 'test').generate))
  problems = jax.device_get(
    generate(jax.random.split(key, 16 * max(num_problems, 8)))
  )
  lengths = problems.data.num_steps
  rows = [
    np.flatnonzero((lengths >= low) & (lengths <= high))[:num_problems]
    for low, high in BANDS.values()
  ]
  return jax.tree.map(lambda x: x[np.stack(rows, axis=1).ravel()], problems)
