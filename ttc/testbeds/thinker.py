"""A small model of `v_1 ... v_m END answer EOS` from words of S3.

Words have 1 to 8 factors. Half of the traces think all products; the others are
cut after a random number of them and answer there, with END given and not
learned: the model ends its thinking by itself at the last product, and can
answer wherever it is cut. The answer is the last product of the whole, noisy
trace.
"""

import jax
import jax.numpy as jnp

from ttc import models, tasks
from ttc.testbeds.calibrated import LENGTH
from ttc.testbeds.revision import trained_on
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size

NOISE = 0.05
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE, min_length=1)
END_ID = TASK.vocab_size
CONFIG = models.TransformerConfig(
  vocab_size=TASK.vocab_size + 1,
  num_layers=2,
  embed_dim=64,
  mlp_dim=176,
  num_heads=4,
  num_kv_heads=4,
  head_dim=16,
  max_length=64,
)


def thinker(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model; trained in half a minute."""
  return trained_on(sequence, 'thinking', 900, CONFIG, seed, size, cache)


def sequence(key):
  """A problem, its noisy trace whole or cut, and which tokens to learn."""
  task_key, half_key, cut_key = jax.random.split(key, 3)
  problem = TASK.generate(task_key)
  needed = problem.trace_length - 1
  cut = jax.random.randint(cut_key, (), 0, needed + 1)
  m = jnp.where(jax.random.bernoulli(half_key), needed, cut)
  t = jnp.arange(LENGTH + 3)
  thoughts = problem.trace[jnp.minimum(t, LENGTH - 1)]
  last = jnp.where(t == m, END_ID, problem.trace[needed - 1])
  last = jnp.where(t == m + 2, TASK.eos_id, last)
  trace = jnp.where(t < m, thoughts, last)
  joined = tasks.training_sequence(
    problem._replace(trace=trace, trace_length=m + 3)
  )
  at_end = jnp.arange(joined.tokens.size) == problem.prompt_length + m
  given = at_end & (m < needed)
  return joined.tokens, joined.is_trace & ~given
