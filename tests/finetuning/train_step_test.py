"""The loss, the train step, and what a restart changes: nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import finetuning, io, models, tasks

TASK = tasks.permutation_word_problem('s3', 3)
MODEL = models.transformer(
  models.TransformerConfig(
    vocab_size=TASK.vocab_size,
    num_layers=1,
    embed_dim=16,
    mlp_dim=16,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
  )
)
OPTIMIZER = optax.adamw(1e-2)
INIT = jax.jit(functools.partial(finetuning.init_state, MODEL.init, OPTIMIZER))
STEP = finetuning.make_train_step(
  lambda params, batch: finetuning.next_token_loss(
    MODEL, params, batch.tokens, batch.is_trace
  ),
  OPTIMIZER,
)


def batch_fn(key):
  draw = lambda key: tasks.training_sequence(TASK.generate(key))
  return jax.vmap(draw)(jax.random.split(key, 16))


run_ten = jax.jit(
  functools.partial(finetuning.run_steps, STEP, batch_fn, num_steps=10)
)


def bits(state):
  state = state._replace(key=jax.random.key_data(state.key))
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(state)]


def test_loss_of_a_table_is_the_mean_over_what_counts():
  table = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [1, 1, 1]]))
  loss = functools.partial(
    finetuning.next_token_loss, models.table_model(3), table
  )
  tokens = jnp.array([[0, 1, 2], [0, 0, 1]])
  mask = jnp.array([[True, True, True], [False, False, True]])
  # 0 to 1, 1 to 2 in the first; 0 to 1 in the second. No token precedes the
  # first of a sequence.
  want = -np.log([0.25, 0.7, 0.25]).mean()
  np.testing.assert_allclose(loss(tokens, mask), want, rtol=1e-6)
  assert float(loss(tokens, jnp.zeros((2, 3), bool))) == 0.0
  # What does not count does not matter.
  other = loss(jnp.array([[0, 1, 2], [2, 0, 1]]), mask)
  np.testing.assert_allclose(other, want, rtol=1e-6)


def test_loss_begins_uniform_and_falls():
  state, metrics = run_ten(INIT(jax.random.key(0)))
  for _ in range(9):
    state, later = run_ten(state)
  # At first uniform, log 9; the trace is deterministic given the word.
  assert abs(float(metrics['loss'][0]) - np.log(9)) < 0.5
  assert float(later['loss'].mean()) < 0.75 * float(metrics['loss'].mean())
  assert int(state.step) == 100


def test_twenty_steps_are_ten_a_restart_and_ten_more(tmp_path):
  start = INIT(jax.random.key(1))
  half, first = run_ten(start)
  whole, second = run_ten(half)
  manager = io.open_checkpoints(tmp_path / 'checkpoints')
  io.save_checkpoint(manager, 10, half)
  manager.close()

  manager = io.open_checkpoints(tmp_path / 'checkpoints')
  restored = io.restore_checkpoint(
    manager, jax.eval_shape(INIT, jax.random.key(0))
  )
  manager.close()
  resumed, again = run_ten(restored)
  assert bits(resumed) == bits(whole)
  np.testing.assert_array_equal(again['loss'], second['loss'])
  assert np.any(np.asarray(first['loss']) != np.asarray(second['loss']))
