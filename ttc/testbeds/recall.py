"""Small models that retrieve facts from a long prompt, trained from scratch.

Sixteen facts lie among 240 words without meaning; a response follows them for
1 to 12 hops. Models learn to retrieve from short prompts and are then shown
long ones, all with dense attention. They can go on learning with the attention
that they are decoded with, as NSA (2502.11089) and MoBA (2502.13189) do:
prompts are read densely and responses token by token, with gradients through
the blocks that were chosen and none through the choice.
"""

import functools

import jax
import jax.numpy as jnp

from ttc import models, sampling, tasks
from ttc.kernels import block_topk
from ttc.testbeds.train import (
  Directory,
  Recipe,
  digest,
  train,
  trained_params,
  trained_transformer,
)
from ttc.testbeds.world import Size
from ttc.types import Params

NUM_NODES, NUM_HOPS, NUM_FILLERS = 16, 12, 240
SIZES = {'small': (1, 32), 'medium': (2, 64), 'large': (3, 96)}  # layers, width
_STEPS = ((16, 700), (NUM_FILLERS, 150))  # fillers, training steps
BLOCK_SIZE, BUDGET = 4, 32  # of the block top-k that models learn on with
_MORE_STEPS = 200


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


def learned_on(
  name: str, seed: int, size: Size, cache: Directory, sparsely: bool
) -> Params:
  """Parameters of `recaller` after more steps on long prompts.

  Args:
    name: of the size of the model.
    seed: of both trainings.
    size: of the bed.
    cache: directory.
    sparsely: whether responses are read with block top-k; else densely.

  Returns:
    The parameters.
  """
  config, params = config_of(name), recaller(name, seed, size, cache).params
  attention, score = None, sampling.score
  if sparsely:
    attention = with_budget(block_topk.mean_pool, BLOCK_SIZE, BUDGET)
    score = sampling.score_stepwise  # which chooses anew at each token
  model = models.transformer(config, attention)
  task = tasks.on_split(task_of(), 'train')
  recipe = Recipe(
    (size.steps(_MORE_STEPS),), 2e-3, warmup=20, b2=0.98, clip=1.0
  )

  def loss_fn(params, problems):
    state = sampling.prefill(
      model, params, tasks.to_prompt(problems), 1, task.response_length
    )
    lengths = problems.trace_length[:, None]
    log_probs = score(model, params, state, problems.trace[:, None], lengths)
    return -jnp.sum(log_probs) / jnp.sum(lengths)

  batch_fn = lambda key: jax.vmap(task.generate)(jax.random.split(key, 64))
  return trained_params(
    f'recall_{name}_on-{digest(config, recipe, sparsely, BLOCK_SIZE, BUDGET)}',
    seed,
    cache,
    lambda: params,
    lambda: train(
      loss_fn, lambda key: params, recipe, [batch_fn], jax.random.key(50 + seed)
    ),
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


def respond(
  name, params, seed, size, attention, num_samples=1, temperature=0.0
):
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

  return task, *run(params, jax.random.key(300 + seed))
