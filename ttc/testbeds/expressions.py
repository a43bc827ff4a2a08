"""Expressions twice as large as what the policy has learned to answer at once.

It has learned expressions of at most `SMALL` definitions. The prompt has room
for twice as many, and empty places are dots, so a large question is as long as
a small one and no position is new to the model: only the number of definitions
is. A response is one token, the value: what a model would write behind it does
not count against it. The score of a response is its probability.
"""

import functools

import jax
import jax.numpy as jnp

from ttc import models, search, tasks, verifiers
from ttc.tasks import expressions as grammar
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size, World, flops_per_token, of_problems
from ttc.types import Prompt

SMALL, LARGE = 2, 4  # definitions: the most in training, and in the test
GRAMMAR = grammar.Grammar(modulus=5, num_places=LARGE, ops='+-')
VALUE_IDS = tuple(GRAMMAR.words.index(str(v)) for v in range(GRAMMAR.modulus))
NUM_STEPS, BATCH_SIZE = 1500, 128
MODEL = models.TransformerConfig(
  vocab_size=len(GRAMMAR.words),
  num_layers=3,
  embed_dim=64,
  mlp_dim=128,
  num_heads=4,
  num_kv_heads=4,
  head_dim=16,
  max_length=GRAMMAR.prompt_length + 2,
)


def expressions(seed: int, size: Size, cache: Directory) -> World:
  """Large expressions and a policy of small ones; trained in two minutes."""
  task, params = task_of(LARGE, LARGE), policy(seed, size, cache).params
  keys = jax.random.split(jax.random.key(1200 + seed), size.problems(96))

  def setting_fn(params, problems):
    del problems
    return search.Setting(
      model=models.transformer(MODEL),
      params=params,
      answer_fn=read_value,
      score_fn=verifiers.confidence,
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


def policy(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model of small expressions."""
  task = task_of(1, SMALL)

  def batch_fn(key):
    draw = lambda key: tasks.training_sequence(task.generate(key))
    sequences = jax.vmap(draw)(jax.random.split(key, BATCH_SIZE))
    return sequences.tokens, sequences.is_trace

  recipe = Recipe((size.steps(NUM_STEPS),), b2=0.98, clip=1.0)
  return trained_transformer(
    'expressions', MODEL, recipe, [batch_fn], seed, cache
  )


def task_of(min_ops, max_ops):
  """Expressions of so many definitions, all written alike."""
  return grammar.expression_task(GRAMMAR, max_ops, min_ops)


def read_value(prompt, responses):
  """The value that a response begins with, -1 for none; an `AnswerFn`."""
  del prompt
  is_value = responses.tokens[..., :1] == jnp.array(VALUE_IDS)
  value = jnp.argmax(is_value, axis=-1)
  return jnp.where(jnp.any(is_value, axis=-1), value, -1)


def prompt_atoms():
  """Prompts as questions: parsed exactly, by no model."""
  parse = jax.vmap(functools.partial(grammar.parse, GRAMMAR))
  render = functools.partial(grammar.render, GRAMMAR)

  def decompose(prompt):
    x = parse(prompt.tokens)
    return search.QuestionGraph(jax.vmap(grammar.dependencies)(x), x.ops >= 0)

  def subquestions(prompt):
    each = jax.vmap(grammar.definitions)(parse(prompt.tokens))
    tokens = jax.vmap(jax.vmap(render))(each)
    return Prompt(tokens, jnp.full(tokens.shape[:2], tokens.shape[2]))

  def contract(prompt, mask, answers):
    x = jax.vmap(grammar.substitute)(parse(prompt.tokens), mask, answers)
    return prompt._replace(tokens=jax.vmap(render)(x))

  return search.Atoms(decompose, subquestions, contract)
