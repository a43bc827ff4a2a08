"""A table for a policy: compiles in no time, and every law can be enumerated.

Its answers do not depend on the problem, so accuracy is about that of guessing
and an exact verifier is all that helps. For trying out a new method.
"""

import jax
import jax.numpy as jnp

from ttc import models, search, tasks, verifiers
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size, World, of_problems

TASK = tasks.permutation_word_problem('s3', 3)
END_ID = TASK.vocab_size - 1  # what a thought ends with, here


def table(seed: int, size: Size, cache: Directory) -> World:
  """The world of one seed; nothing is trained."""
  del cache
  table_key, data_key = jax.random.split(jax.random.key(1000 + seed))
  model = models.table_model(TASK.vocab_size)
  params = model.init(table_key).at[:, TASK.pad_id].set(-jnp.inf)
  problems = jax.vmap(TASK.generate)(
    jax.random.split(data_key, size.problems(96))
  )

  def setting_fn(params, problems):
    return search.Setting(
      model=model,
      params=params,
      answer_fn=tasks.answer_fn(TASK, problems),
      score_fn=tasks.score_fn(TASK, problems),
      eos_ids=(TASK.eos_id,),
      capacity=6,
      max_steps=6,
      max_step_tokens=1,
      thinking=search.Thinking(END_ID, [END_ID], [3], answer_tokens=2),
      revise=(3,),
      question=verifiers.Question((3,), 4, 5, (TASK.eos_id,)),
    )

  return of_problems('table', problems, params, setting_fn, seed, 1.0)
