"""Words of S3: small models whose answers follow a known law.

Trained on noisy traces, they answer rightly with a probability that has a
closed form, and wrong answers are uniform. The verifier says whether the last
written product is right, and is wrong about one response in ten: the same one
whenever it is asked.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks, verifiers
from ttc.testbeds.train import (
  Directory,
  Recipe,
  trained_transformer,
)
from ttc.testbeds.world import Size, World, flops_per_token, of_problems

LENGTH, NOISE, NUM_VALUES = 8, 0.1, 6
NUM_PROBLEMS, NUM_SAMPLES = 256, 32  # of a seed; samples of each problem
ERROR_RATE = 0.1  # of the verifier
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
# As in configs/pretrain_s3.py:draft, to draft for the base.
DRAFT_TASK = tasks.permutation_word_problem('s3', LENGTH, noise=0.2)
NUM_STEPS, BATCH_SIZE = 900, 64


def calibrated(seed: int, size: Size, cache: Directory) -> World:
  """The base and a step verifier that errs; trained in half a minute."""
  loaded = base(seed, size, cache)
  data_key, noise_key = jax.random.split(jax.random.key(500 + seed))

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
    unseen(TASK, data_key, size.problems(96)),
    {'policy': loaded.params, 'noise': noise_key},  # a key is no constant
    setting_fn,
    seed,
    flops_per_token(
      loaded.config, loaded.params, TASK.prompt_length, TASK.response_length
    ),
  )


def noisy_steps(problems: tasks.Problem, key: jax.Array):
  """A `ScoreFn`: .9 for steps it takes for right, .1 for the others."""
  exact = tasks.step_score_fn(TASK, problems)

  def score_fn(prompt, responses):
    right = exact(prompt, responses) > 0
    uniform = verifiers.response_uniform(
      key, responses.tokens, responses.lengths
    )
    return jnp.where(right ^ (uniform < ERROR_RATE), 0.9, 0.1)

  return score_fn


def base(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """Two layers of 64, as in configs/pretrain_s3.py."""
  return pretrained('base', TASK, 2, 64, seed, size, cache)


def draft(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """One layer of 32 on noisier traces, as configs/pretrain_s3.py:draft."""
  return pretrained('draft', DRAFT_TASK, 1, 32, seed, size, cache)


def pretrained(
  name: str,
  task: tasks.TokenTask,
  num_layers: int,
  width: int,
  seed: int,
  size: Size,
  cache: Directory,
) -> models.Loaded:
  """Learns noisy traces of a task's training problems."""
  num_heads = width // 16
  config = models.TransformerConfig(
    vocab_size=task.vocab_size,
    num_layers=num_layers,
    embed_dim=width,
    mlp_dim=11 * width // 4,
    num_heads=num_heads,
    num_kv_heads=num_heads,
    head_dim=16,
    max_length=task.prompt_length + task.response_length,
  )
  train_task = tasks.on_split(task, 'train')

  def batch_fn(key):
    draw = lambda key: tasks.training_sequence(train_task.generate(key))
    sequence = jax.vmap(draw)(jax.random.split(key, BATCH_SIZE))
    return sequence.tokens, sequence.is_trace

  recipe = Recipe((size.steps(NUM_STEPS),), every=100)
  return trained_transformer(name, config, recipe, [batch_fn], seed, cache)


def base_law() -> np.ndarray:
  """Law of the answers of the base: the right one, then the wrong ones."""
  right = tasks.noisy_chain_accuracy(NOISE, LENGTH, NUM_VALUES)
  wrong = (1 - right) / (NUM_VALUES - 1)
  return np.array([right] + [wrong] * (NUM_VALUES - 1), np.float32)


def base_samples(seed: int, size: Size, cache: Directory):
  """Samples of the base on unseen problems, and the gold answers."""
  loaded = base(seed, size, cache)
  num_problems = size.problems(NUM_PROBLEMS)
  key = jax.random.key(100 + seed)
  samples, gold = _draw(loaded.model, num_problems, loaded.params, key)
  return {'samples': samples._asdict(), 'gold': gold}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw(model, num_problems, params, key):
  data_key, sample_key = jax.random.split(key)
  problems = unseen(TASK, data_key, num_problems)
  prompt = tasks.to_prompt(problems)
  generation = sampling.generate(
    params,
    jax.random.split(sample_key, num_problems),
    prompt,
    NUM_SAMPLES,
    model=model,
    capacity=TASK.response_length,
    stop=sampling.stop_rules(TASK.vocab_size, [TASK.eos_id]),
  )
  answer_fn = tasks.answer_fn(TASK, problems)
  return search.observe(prompt, generation, answer_fn), problems.answer


def unseen(
  task: tasks.TokenTask, key: jax.Array, num_problems: int
) -> tasks.Problem:
  """Problems that no model has been trained on."""
  keys = jax.random.split(key, num_problems)
  return jax.vmap(tasks.on_split(task, 'test').generate)(keys)
