"""Expressions twice as large as what the policy has learned to answer.

Answered at once, seldom rightly; taken apart, the parts are small. The score of
a response is the probability of its one token.
"""

import jax

from claims.expression_world import (
  GRAMMAR,
  LARGE,
  MODEL,
  VALUE_IDS,
  prompt_atoms,
  read_value,
  task_of,
  trained,
)
from ttc import models, search
from worlds.smollm2 import confidence
from worlds.world import World, flops_per_token, of_problems


def build(seed: int, num_problems: int) -> World:
  """The world of one seed; trains its policy in two minutes if need be."""
  task, params = task_of(LARGE, LARGE), trained(seed)
  keys = jax.random.split(jax.random.key(1200 + seed), num_problems)

  def setting_fn(params, problems):
    del problems
    return search.Setting(
      model=models.transformer(MODEL),
      params=params,
      answer_fn=read_value,
      score_fn=confidence,
      eos_ids=VALUE_IDS,
      capacity=1,
      max_steps=1,
      atoms=prompt_atoms(),
    )

  return of_problems(
    f'{LARGE} operations modulo {GRAMMAR.modulus}',
    jax.vmap(task.generate)(keys),
    params,
    setting_fn,
    seed,
    flops_per_token(MODEL, params, task.prompt_length, 1),
  )
