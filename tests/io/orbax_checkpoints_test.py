import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from ttc import io

OPTIMIZER = optax.adam(1e-2)


class State(NamedTuple):
  params: Any
  opt_state: Any
  step: jax.Array
  key: jax.Array


def init(key):
  params_key, key = jax.random.split(key)
  params = {
    'w': jax.random.normal(params_key, (3, 2)),
    'b': jnp.zeros(2, jnp.bfloat16),
    'empty': jnp.zeros((2, 0)),
  }
  return State(params, OPTIMIZER.init(params), jnp.int32(0), key)


@jax.jit
def train_step(state):
  data_key, key = jax.random.split(state.key)
  x = jax.random.normal(data_key, (8, 3))
  loss = lambda p: jnp.mean((x @ p['w'] + p['b'] - jnp.sum(x, 1)[:, None]) ** 2)
  grads = jax.grad(loss)(state.params)
  updates, opt_state = OPTIMIZER.update(grads, state.opt_state)
  params = optax.apply_updates(state.params, updates)
  return State(params, opt_state, state.step + 1, key)


def train(state, num_steps):
  for _ in range(num_steps):
    state = train_step(state)
  return state


def bits(state):
  state = state._replace(key=jax.random.key_data(state.key))
  return [np.asarray(x).tobytes() for x in jax.tree.leaves(state)]


class CheckpointsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory()), 'checkpoints'
    )
    self.abstract = jax.eval_shape(init, jax.random.key(0))

  def open(self, **options):
    manager = io.open_checkpoints(self.directory, **options)
    self.addCleanup(manager.close)
    return manager

  def test_a_disk_without_room_is_named_before_anything_is_written(self):
    state = init(jax.random.key(0))
    room = shutil.disk_usage(self.directory.parent)._replace(free=1 << 20)
    with io.open_checkpoints(self.directory) as manager:
      with mock.patch('shutil.disk_usage', return_value=room):
        with self.assertRaisesRegex(OSError, f'No space.*{self.directory}'):
          io.save_checkpoint(manager, 0, state)
      self.assertEmpty(manager.all_steps())
      self.assertTrue(io.save_checkpoint(manager, 0, state))
    with io.open_checkpoints(self.directory, save_interval_steps=2) as manager:
      with mock.patch('shutil.disk_usage', return_value=room):
        self.assertFalse(io.save_checkpoint(manager, 1, state))  # is not due

  def test_ten_steps_are_five_a_restart_and_five_more(self):
    start = init(jax.random.key(0))
    half = train(start, 5)
    writer = self.open()
    self.assertTrue(io.save_checkpoint(writer, 5, half))
    writer.wait_until_finished()
    restored = io.restore_checkpoint(self.open(), self.abstract)
    self.assertEqual(jax.tree.structure(restored), jax.tree.structure(half))
    self.assertEqual(bits(restored), bits(half))
    self.assertEqual(bits(train(restored, 5)), bits(train(start, 10)))

  def test_latest_named_and_deleted_steps(self):
    manager = self.open(max_to_keep=2, save_interval_steps=5)
    for step in (5, 7, 10, 15):
      state = init(jax.random.key(0))._replace(step=jnp.int32(step))
      saved = io.save_checkpoint(manager, step, state)
      self.assertEqual(saved, step != 7)
    latest = io.restore_checkpoint(manager, self.abstract)
    self.assertEqual(int(latest.step), 15)
    named = io.restore_checkpoint(manager, self.abstract, step=10)
    self.assertEqual(int(named.step), 10)
    with self.assertRaisesRegex(FileNotFoundError, r'step 5.*\[10, 15\]'):
      io.restore_checkpoint(manager, self.abstract, step=5)

  def test_an_empty_directory_is_named(self):
    message = f'no checkpoint in {self.directory}'
    with self.assertRaisesRegex(FileNotFoundError, message):
      io.restore_checkpoint(self.open(), self.abstract)

  def test_a_checkpoint_of_something_else_is_refused_by_leaf(self):
    manager = self.open()
    io.save_checkpoint(manager, 0, init(jax.random.key(0)))
    other = self.abstract._replace(
      params={
        'w': jax.ShapeDtypeStruct((3, 4), jnp.float32),
        'b': jax.ShapeDtypeStruct((2,), jnp.float32),
        'empty': jax.ShapeDtypeStruct((2, 0), jnp.float32),
        'extra': jax.ShapeDtypeStruct((), jnp.int32),
      }
    )
    message = (
      r'params\.b \(saved bfloat16\[2\], expected float32\[2\]\); '
      r'params\.extra \(saved None, expected int32\[\]\); '
      r'params\.w \(saved float32\[3, 2\], expected float32\[3, 4\]\)$'
    )
    with self.assertRaisesRegex(ValueError, message):
      io.restore_checkpoint(manager, other)


class ImportTest(absltest.TestCase):
  def test_heavy_packages_wait_until_they_are_needed(self):
    code = (
      'import sys; from ttc import evaluation, io, scaling\n'
      "heavy = {'matplotlib', 'orbax', 'scipy.stats', 'tensorboardX', 'wandb',"
      " 'pyarrow', 'tensorflow_datasets'}\n"
      'sys.exit(str(heavy & set(sys.modules) or ""))'
    )
    done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    self.assertEqual(done.stderr.strip(), '')
