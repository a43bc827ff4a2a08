"""Words of two elements of S3, and a process reward model from rollouts.

No human labels: the value of a step is how often the policy goes on from it to
a right answer, and a head on the policy's own weights learns these values.
"""

import jax
import jax.numpy as jnp

from ttc import models, sampling, search, tasks, verifiers
from ttc.testbeds.calibrated import pretrained, unseen
from ttc.testbeds.train import (
  Directory,
  Recipe,
  digest,
  train,
  trained_params,
)
from ttc.testbeds.world import Size, World, flops_per_token, of_problems
from ttc.types import Params

# As in configs/pretrain_s3.py:generators.
TASK = tasks.permutation_word_problem('s3', 12, noise=0.08, num_generators=2)


def learned_verifier(seed: int, size: Size, cache: Directory) -> World:
  """The world of one seed; trains base and verifier in minutes if need be."""
  loaded = generators(seed, size, cache)
  data_key = jax.random.key(600 + seed)
  params = {
    'policy': loaded.params,
    'verifier': process_reward_model(seed, size, cache),
  }

  def setting_fn(params, problems):
    verifier = params['verifier']
    return search.Setting(
      model=loaded.model,
      params=params['policy'],
      answer_fn=tasks.answer_fn(TASK, problems),
      score_fn=lambda prompt, responses: verifiers.last_score(
        loaded.model, verifier, prompt, responses
      ),
      eos_ids=(TASK.eos_id,),
      capacity=TASK.response_length,
      max_steps=TASK.response_length,
      max_step_tokens=1,
    )

  per_token = flops_per_token(
    loaded.config, loaded.params, TASK.prompt_length, TASK.response_length
  )
  return of_problems(
    'words of two elements, learned verifier',
    unseen(TASK, data_key, size.problems(96)),
    params,
    setting_fn,
    seed,
    per_token,
    per_token * TASK.response_length,
  )


def generators(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The policy of words of two elements."""
  return pretrained('generators', TASK, 2, 64, seed, size, cache)


def process_reward_model(seed: int, size: Size, cache: Directory) -> Params:
  """The reward model of a policy, from its weights."""
  loaded = generators(seed, size, cache)
  num_problems = 2**14 if size.num_steps is None else 512
  num_steps = size.steps(1500)
  name = (
    f'process_reward_model-{digest(loaded.config, num_problems, num_steps)}'
  )
  return trained_params(
    name,
    seed,
    cache,
    lambda: verifiers.init_reward_model(
      loaded.model, jax.random.key(0), loaded.params
    ),
    lambda: train_process_reward_model(
      TASK,
      loaded.model,
      loaded.params,
      jax.random.key(400),
      num_problems,
      num_steps=num_steps,
    ),
  )


def train_process_reward_model(
  task, model, params, key, num_problems=2**14, num_rollouts=2, num_steps=1500
):
  """Learns from rollouts of the base on training problems, from its weights.

  To check a product takes three tokens at once, and is learned slowly: on sums
  modulo 5 or 7 nothing was learned in 3000 steps.
  """
  data_key, train_key = jax.random.split(key)
  stop = sampling.stop_rules(task.vocab_size, [task.eos_id])
  train_task = tasks.on_split(task, 'train')

  def label(key):
    problem_key, sample_key, rollout_key = jax.random.split(key, 3)
    problems = jax.vmap(train_task.generate)(jax.random.split(problem_key, 512))
    prompt = tasks.to_prompt(problems)
    samples = sampling.generate(
      params,
      jax.random.split(sample_key, 512),
      prompt,
      1,
      model=model,
      capacity=task.response_length,
      stop=stop,
      sampling=sampling.SamplingParams(temperature=1.3),  # more wrong steps
    )
    is_product = jnp.arange(task.vocab_size) != task.pad_id
    ends = verifiers.step_ends(samples.tokens, samples.lengths, is_product)
    targets = verifiers.step_values(
      model,
      params,
      jax.random.split(rollout_key, 512),
      prompt,
      samples.tokens,
      samples.lengths,
      ends,
      tasks.score_fn(task, problems),
      stop,
      num_rollouts,
      capacity=task.response_length,
    )
    return prompt, samples, targets, ends

  chunks = jax.random.split(data_key, num_problems // 512)
  labelled = jax.jit(lambda keys: jax.lax.map(label, keys))(chunks)
  data = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), labelled)

  def batch_fn(key):
    index = jax.random.randint(key, (128,), 0, num_problems)
    return jax.tree.map(lambda x: x[index], data)

  return train(
    lambda params, batch: verifiers.process_loss(model, params, *batch),
    lambda key: verifiers.init_reward_model(model, key, params),
    Recipe((num_steps,), learning_rate=2e-3),
    [batch_fn],
    train_key,
  )
