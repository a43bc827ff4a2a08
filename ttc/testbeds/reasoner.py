"""A small model that solves, thinks on, revises and checks its own solutions.

Words of S3 of three difficulties (see `revision`). Behind an attempt, ended or
not, and `AGAIN` the model copies the attempt with probability .6 and else makes
a fresh one that errs half as often; behind an ended attempt and `ASK` it works
out what each product should have been, with the errors of a first attempt, and
says no at the first that differs. The verifier is that of `calibrated`. Here
every method has what it needs.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ttc import models, search, tasks
from ttc.testbeds.calibrated import noisy_steps, unseen
from ttc.testbeds.revision import (
  FRESH,
  LENGTH,
  MODEL,
  NOISE,
  TASK,
  attempt,
  level,
  trained_on,
)
from ttc.testbeds.solver_verifier import ASK, NO, QUESTION, verification
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size, World, flops_per_token, of_problems

AGAIN = NO + 1
KEEP = 0.6
NUM_ATTEMPTS = 3  # of a chain in training, and the room there is
CONFIG = dataclasses.replace(
  MODEL,
  vocab_size=AGAIN + 1,
  max_length=TASK.prompt_length + NUM_ATTEMPTS * (TASK.response_length + 1),
)


def reasoner(seed: int, size: Size, cache: Directory) -> World:
  """The model and its words; trained in two minutes."""
  loaded = trained_on(sequence, 'reasoner', 4000, CONFIG, seed, size, cache)
  params = loaded.params
  model = models.transformer(CONFIG)
  data_key, noise_key = jax.random.split(jax.random.key(700 + seed))

  def setting_fn(params, problems):
    return search.Setting(
      model=model,
      params=params['policy'],
      answer_fn=tasks.answer_fn(TASK, problems),
      score_fn=noisy_steps(problems, params['noise']),
      eos_ids=(TASK.eos_id,),
      capacity=TASK.response_length,
      max_steps=TASK.response_length,
      max_step_tokens=1,
      thinking=search.Thinking(TASK.eos_id, [TASK.eos_id], [AGAIN]),
      revise=(AGAIN,),
      question=QUESTION,
    )

  return of_problems(
    'S3, model that thinks, revises and checks',
    unseen(TASK, data_key, size.problems(96)),
    {'policy': params, 'noise': noise_key},
    setting_fn,
    seed,
    flops_per_token(CONFIG, params, TASK.prompt_length, TASK.response_length),
  )


def sequence(key):
  """A problem and what follows, in one of three forms, a third each.

  Attempts that end and are revised; attempts that are thought on before they
  end; an attempt and a verification of it.
  """
  keys = jax.random.split(key, 3 + 2 * NUM_ATTEMPTS)
  problem = tasks.on_split(TASK, 'train').generate(keys[0])
  noise = jnp.asarray(NOISE)[level(problem)]
  attempts = [attempt(keys[4], problem, noise)]
  for copy_key, fresh_key in keys[5:].reshape(-1, 2):
    fresh = attempt(fresh_key, problem, FRESH * noise)
    copies = jax.random.bernoulli(copy_key, KEEP)
    attempts.append(jnp.where(copies, attempts[-1], fresh))
  check = verification(keys[1:3], problem, attempts[0][:LENGTH], noise)
  again = jnp.array([AGAIN])
  between = lambda parts: [x for part in parts for x in (part, again)][:-1]
  forms = [
    between(attempts),
    between([*(x[:LENGTH] for x in attempts[:-1]), attempts[-1]]),
    [attempts[0], jnp.array([ASK]), check],
  ]
  width = CONFIG.max_length
  pad = lambda x: jnp.pad(x, (0, width - x.size), constant_values=TASK.pad_id)
  tokens = jnp.stack(
    [pad(jnp.concatenate([problem.prompt, *form])) for form in forms]
  )[jax.random.randint(keys[3], (), 0, len(forms))]
  given = (tokens == AGAIN) | (tokens == ASK) | (tokens == TASK.pad_id)
  return tokens, (jnp.arange(width) >= problem.prompt.size) & ~given
