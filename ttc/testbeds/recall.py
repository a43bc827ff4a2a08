"""Small models that retrieve facts from a long prompt, trained from scratch.

Sixteen facts lie among 240 words without meaning; a response follows them for
1 to 12 hops. Models learn to retrieve from short prompts and are then shown
long ones.
"""

import functools

import jax

from ttc import models, sampling, tasks
from ttc.kernels import block_topk
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size

NUM_NODES, NUM_HOPS, NUM_FILLERS = 16, 12, 240
SIZES = {'small': (1, 32), 'medium': (2, 64), 'large': (3, 96)}  # layers, width
_STEPS = ((16, 700), (NUM_FILLERS, 150))  # fillers, training steps


def recaller(
  name: str, seed: int, size: Size, cache: Directory
) -> models.Loaded:
  """A trained model of one of `SIZES`."""

  def batch_fn(task, key):
    problems = jax.vmap(task.generate)(jax.random.split(key, 64))
    sequence = jax.vmap(tasks.training_sequence)(problems)
    return sequence.tokens, sequence.is_trace

  recipe = Recipe(
    tuple(size.steps(num_steps) for _, num_steps in _STEPS),
    learning_rate=5e-3,
    b2=0.98,
    clip=1.0,
    every=700,
  )
  stages = [
    functools.partial(batch_fn, task_of(num_fillers))
    for num_fillers, _ in _STEPS
  ]
  return trained_transformer(
    f'recall_{name}', config_of(name), recipe, stages, seed, cache
  )


def task_of(num_fillers=NUM_FILLERS, num_hops=NUM_HOPS):
  """The task at some length of prompt and response."""
  return tasks.associative_recall(NUM_NODES, num_hops, num_fillers=num_fillers)


def config_of(name):
  """Shape of the model of a size."""
  layers, width = SIZES[name]
  return models.TransformerConfig(
    vocab_size=task_of().vocab_size,
    num_layers=layers,
    embed_dim=width,
    mlp_dim=2 * width,
    num_heads=4,
    num_kv_heads=2,
    head_dim=width // 2,
    max_length=512,
    rope_theta=1e6,  # content matters, not distance
  )


def with_budget(rule, block_size, budget):
  """Sparse attention in all layers; a window takes all of its budget."""
  local = block_size
  if rule is block_topk.sink_window:
    local = budget - 2 * block_size + 1
  return models.SparseAttention(
    rule, block_size, budget, sink=1, local=local, dense_layers=()
  )


def respond(name, seed, size, cache, attention, num_samples=1, temperature=0.0):
  """Task, unseen problems, and responses of a trained model to them."""
  model = models.transformer(config_of(name), attention)
  task = tasks.on_split(task_of(), 'test')
  num_problems = size.problems(128)

  @jax.jit
  def run(params, key):
    keys = jax.random.split(key, num_problems)
    problems = jax.vmap(task.generate)(keys)
    responses = sampling.generate(
      params,
      keys,
      tasks.to_prompt(problems),
      num_samples,
      model=model,
      capacity=task.response_length,
      stop=sampling.stop_rules(task.vocab_size, [task.eos_id]),
      sampling=sampling.SamplingParams(temperature=temperature),
    )
    return problems, responses

  params = recaller(name, seed, size, cache).params
  return task, *run(params, jax.random.key(300 + seed))
