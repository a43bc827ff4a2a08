"""The calibrated base of S3 with a step verifier that errs at a known rate.

One sample is right with a probability known in closed form. The verifier says
whether the last written product is right, and is wrong about one response in
ten: the same one whenever it is asked.
"""

import jax
import jax.numpy as jnp

from claims.calibrated_world import LENGTH, NOISE, train_base
from ttc import models, search, tasks, verifiers
from worlds.world import World, flops_per_token, of_problems

TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
ERROR_RATE = 0.1


def build(seed: int, num_problems: int) -> World:
  """The world of one seed; trains its base in half a minute if need be."""
  loaded = models.load(str(train_base(seed + 1)[seed]))
  data_key, noise_key = jax.random.split(jax.random.key(500 + seed))
  test_task = tasks.on_split(TASK, 'test')
  keys = jax.random.split(data_key, num_problems)

  def setting_fn(params, problems):
    return search.Setting(
      model=loaded.model,
      params=params['policy'],
      answer_fn=tasks.answer_fn(TASK, problems),
      score_fn=noisy_steps(problems, params['noise']),
      eos_ids=(TASK.eos_id,),
      capacity=TASK.response_length,
      max_steps=TASK.response_length,
      max_step_tokens=1,
    )

  return of_problems(
    'S3, noisy step verifier',
    jax.vmap(test_task.generate)(keys),
    {'policy': loaded.params, 'noise': noise_key},  # a key is no constant
    setting_fn,
    seed,
    flops_per_token(
      loaded.config, loaded.params, TASK.prompt_length, TASK.response_length
    ),
  )


def noisy_steps(problems, key):
  """A `ScoreFn`: .9 for steps it takes for right, .1 for the others."""
  exact = tasks.step_score_fn(TASK, problems)

  def score_fn(prompt, responses):
    right = exact(prompt, responses) > 0
    uniform = verifiers.response_uniform(
      key, responses.tokens, responses.lengths
    )
    return jnp.where(right ^ (uniform < ERROR_RATE), 0.9, 0.1)

  return score_fn
