"""Words of two elements of S3, and a process reward model from rollouts.

No human labels: the value of a step is how often the policy goes on from it to
a right answer, and a head on the policy's own weights learns these values.
"""

import pathlib

import jax
import jax.numpy as jnp
import optax

from claims.calibrated_world import train_base
from ttc import finetuning, io, models, sampling, search, tasks, verifiers
from worlds.world import World, flops_per_token, of_problems

# As in configs/pretrain_s3.py:generators.
TASK = tasks.permutation_word_problem('s3', 12, noise=0.08, num_generators=2)


def build(seed: int, num_problems: int) -> World:
  """The world of one seed; trains base and verifier in minutes if need be."""
  directory = train_base(seed + 1, 'pretrain_s3:generators')[seed]
  loaded = models.load(str(directory))
  test_task = tasks.on_split(TASK, 'test')
  keys = jax.random.split(jax.random.key(600 + seed), num_problems)
  params = {
    'policy': loaded.params,
    'verifier': process_reward_model(TASK, loaded, directory),
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
    jax.vmap(test_task.generate)(keys),
    params,
    setting_fn,
    seed,
    per_token,
    per_token * TASK.response_length,
  )


def process_reward_model(task, loaded, directory):
  """The reward model of a base, trained once and kept beside it."""
  init = lambda: verifiers.init_reward_model(
    loaded.model, jax.random.key(0), loaded.params
  )
  folder = pathlib.Path(directory).parent / 'process_reward_model'
  checkpoints = io.open_checkpoints(folder)
  if checkpoints.latest_step() is None:
    key = jax.random.key(400)
    params = train_process_reward_model(task, loaded.model, loaded.params, key)
    io.save_checkpoint(checkpoints, 0, params)
  params = io.restore_checkpoint(checkpoints, jax.eval_shape(init))
  checkpoints.close()
  return params


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

  optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(0.0, 2e-3, 100, num_steps)
  )
  train_step = finetuning.make_train_step(
    lambda params, batch: verifiers.process_loss(model, params, *batch),
    optimizer,
  )

  @jax.jit
  def train(key):
    init = lambda key: verifiers.init_reward_model(model, key, params)
    state = finetuning.init_state(init, optimizer, key)
    return finetuning.run_steps(train_step, batch_fn, state, num_steps)[0]

  return train(train_key).params
