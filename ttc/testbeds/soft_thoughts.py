"""A pair of models, and soft thoughts of the assistant for the target.

Eight facts, to be followed for four hops. Half of the traces that both models
learned from are careless: a node in them is another one with chance .2. Up to
`NUM_POSITIONS` fillers stand before a trace, and in half of the sequences they
say of which kind it is; so there is something that thoughts in their place may
bring about. Training was cut short: the target is right or wrong by problem
more than by sample, and what its samples have in common other thoughts may
change.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ttc import finetuning, models, tasks
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

TASK = tasks.associative_recall(8, 4)
CARELESS_TASK = tasks.associative_recall(8, 4, noise=0.2)
CAREFUL, CARELESS = TASK.vocab_size, TASK.vocab_size + 1  # fillers
NUM_THOUGHTS, NUM_POSITIONS = 8, 4  # K and L
WIDTHS = {'assistant': 24, 'target': 32}  # of one layer
BASE_STEPS, SOFT_STEPS = 1600, 800


def config_of(name):
  """Shape of a model of the pair."""
  width = WIDTHS[name]
  return models.TransformerConfig(
    vocab_size=TASK.vocab_size + 2,
    num_layers=1,
    embed_dim=width,
    mlp_dim=2 * width,
    num_heads=4,
    num_kv_heads=4,
    head_dim=width // 4,
    max_length=TASK.prompt_length + NUM_POSITIONS + TASK.response_length,
  )


PAIR = finetuning.SoftPair(
  models.transformer(config_of('assistant')),
  models.transformer(config_of('target')),
)


def model_of_pair(
  name: str, seed: int, size: Size, cache: Directory
) -> models.Loaded:
  """The assistant or the target."""
  batch_fn = lambda key: jax.vmap(sequence)(jax.random.split(key, 64))
  recipe = Recipe((size.steps(BASE_STEPS),), weight_decay=0.0)
  return trained_transformer(
    f'soft_cot_{name}', config_of(name), recipe, [batch_fn], seed, cache
  )


def sequence(key):
  """A problem with fillers, its trace, and what to learn of it."""
  problem_key, gap_key, kind_key, told_key = jax.random.split(key, 4)
  is_careful = jax.random.bernoulli(kind_key)
  problem = jax.tree.map(
    lambda *leaves: jnp.where(is_careful, *leaves),
    *(
      tasks.on_split(task, 'train').generate(problem_key)
      for task in (TASK, CARELESS_TASK)
    ),
  )
  kind = jnp.where(is_careful, CAREFUL, CARELESS)
  word = jnp.where(jax.random.bernoulli(told_key), kind, TASK.pad_id)
  num_fillers = jax.random.randint(gap_key, (), 0, NUM_POSITIONS + 1)
  joined = tasks.training_sequence(with_fillers(problem, num_fillers, word))
  return joined.tokens, joined.is_trace


def with_fillers(problem, num_fillers, word: Any = TASK.pad_id):
  """The problem with a word, `num_fillers` times over, behind its prompt.

  All prompts of the task are of one length.
  """
  fillers = jnp.where(jnp.arange(NUM_POSITIONS) < num_fillers, word, 0)
  return problem._replace(
    prompt=jnp.append(problem.prompt, fillers),
    prompt_length=problem.prompt_length + num_fillers,
  )


def trained_thoughts(
  frozen: tuple[Params, Params],
  num_thoughts: int,
  weight: float,
  spread: float,
  seed: int,
  size: Size,
  cache: Directory,
  name: str,
) -> finetuning.SoftCoTParams:
  """Initial tokens and the projection, learned for a frozen pair.

  Args:
    frozen: parameters of the assistant and the target.
    num_thoughts: `K`.
    weight: of the contrastive term.
    spread: of the initial tokens.
    seed: of the training.
    size: of the bed.
    cache: directory.
    name: tells the pair apart from others in the cache.

  Returns:
    All parameters.
  """
  init = lambda key: finetuning.init_soft_thoughts(
    key, PAIR, frozen, num_thoughts, spread=spread
  )
  steps = size.steps(SOFT_STEPS)
  recipe = Recipe((steps,), warmup=50, weight_decay=0.0)
  depends_on = digest(name, num_thoughts, weight, spread, recipe)
  soft = trained_params(
    f'soft_thoughts-{depends_on}',
    seed,
    cache,
    lambda: init(jax.random.key(0)),
    lambda: train(
      functools.partial(thoughts_loss, frozen, weight),
      init,
      recipe,
      [thoughts_batch],
      jax.random.key(seed),
    ),
  )
  return finetuning.SoftCoTParams(*frozen, soft=soft)


def thoughts_loss(frozen, weight, soft, batch):
  """Of the learned part of a pair."""
  params = finetuning.SoftCoTParams(*frozen, soft=soft)
  return finetuning.soft_cot_loss(
    PAIR, params, batch, NUM_POSITIONS, contrastive_weight=weight
  )


def thoughts_batch(key):
  """Sixteen problems, their traces and keys of dropout."""
  data_key, dropout_key = jax.random.split(key)
  train_task = tasks.on_split(TASK, 'train')
  problems = jax.vmap(train_task.generate)(jax.random.split(data_key, 16))
  return finetuning.SoftCoTBatch(
    tasks.to_prompt(problems),
    problems.trace,
    problems.trace_length,
    jax.random.split(dropout_key, 16),
  )
