"""A small model that answers expressions at once, if they are small.

It has learned expressions of at most `SMALL` definitions. The prompt has room
for twice as many, and empty places are dots, so a large question is as long as
a small one and no position is new to the model: only the number of definitions
is. A response is one token, the value: what a model would write behind it does
not count against it.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import optax
from absl import flags

from ttc import finetuning, models, search, tasks
from ttc.tasks import expressions
from ttc.types import Prompt

SMALL, LARGE = 2, 4  # definitions: the most in training, and in the test
GRAMMAR = expressions.Grammar(modulus=5, num_places=LARGE, ops='+-')
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


def task_of(min_ops, max_ops):
  """Expressions of so many definitions, all written alike."""
  return expressions.expression_task(GRAMMAR, max_ops, min_ops)


def read_value(prompt, responses):
  """The value that a response begins with, -1 for none; an `AnswerFn`."""
  del prompt
  is_value = responses.tokens[..., :1] == jnp.array(VALUE_IDS)
  value = jnp.argmax(is_value, axis=-1)
  return jnp.where(jnp.any(is_value, axis=-1), value, -1)


def prompt_atoms():
  """Prompts as questions: parsed exactly, by no model."""
  parse = jax.vmap(functools.partial(expressions.parse, GRAMMAR))
  render = functools.partial(expressions.render, GRAMMAR)

  def decompose(prompt):
    x = parse(prompt.tokens)
    return search.QuestionGraph(
      jax.vmap(expressions.dependencies)(x), x.ops >= 0
    )

  def subquestions(prompt):
    each = jax.vmap(expressions.definitions)(parse(prompt.tokens))
    tokens = jax.vmap(jax.vmap(render))(each)
    return Prompt(tokens, jnp.full(tokens.shape[:2], tokens.shape[2]))

  def contract(prompt, mask, answers):
    x = jax.vmap(expressions.substitute)(parse(prompt.tokens), mask, answers)
    return prompt._replace(tokens=jax.vmap(render)(x))

  return search.Atoms(decompose, subquestions, contract)


def trained(seed):
  """Parameters of a model; trains it unless that was done before."""
  path = pathlib.Path(flags.FLAGS.workdir) / f'expressions_{seed}'
  if not (path / 'transformer.json').exists():
    models.save_checkpoint(path, MODEL, train(jax.random.key(seed)))
  return models.load(str(path)).params


@jax.jit
def train(key):
  """Learns to answer small expressions."""
  model = models.transformer(MODEL)
  task = task_of(1, SMALL)
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adamw(
      optax.warmup_cosine_decay_schedule(0.0, 3e-3, 100, NUM_STEPS), b2=0.98
    ),
  )
  step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )

  def batch_fn(key):
    draw = lambda key: tasks.training_sequence(task.generate(key))
    sequences = jax.vmap(draw)(jax.random.split(key, BATCH_SIZE))
    return sequences.tokens, sequences.is_trace

  state = finetuning.init_state(model.init, optimizer, key)
  state, _ = finetuning.run_steps(step, batch_fn, state, NUM_STEPS)
  return state.params
