"""The benchmark of environments: its table, its refusals, a small run."""

import dataclasses
import json
import os
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc import envs
from ttc.drivers import bench_envs, env_peers


class BenchEnvsTest(absltest.TestCase):
  def test_bad_input_is_named(self):
    for bench, message in (
      (bench_envs.Bench(names=('chess',)), "'chess' is not known"),
      (bench_envs.Bench(num_envs=()), r'num_envs=\(\)'),
      (bench_envs.Bench(repetitions=0), 'repetitions=0'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        bench_envs.bench_envs(bench)

  def test_without_the_reference_the_extra_is_named(self):
    for peer in ('jaxmarl', 'gymnax'):
      names = [c.name for c in env_peers.CASES if c.peer == peer]
      with mock.patch.dict('sys.modules', {peer: None}):
        with self.assertRaisesRegex(ImportError, f'{peer}.*oracle'):
          bench_envs.bench_envs(bench_envs.Bench(tuple(names)))

  def test_every_case_has_a_maker(self):
    for case in env_peers.CASES:
      make = case.make or getattr(envs, case.name)
      self.assertTrue(callable(make), case.name)

  def test_medians_and_ratios(self):
    result = {
      'name': 'game',
      'peer': 'jaxmarl',
      'num_envs': 4,
      'step_us': {'ttc': [1.0, 2.0, 3.0], 'peer': [4.0, 4.0, 4.0]},
      'compile_s': {'ttc': [0.5, 9.0, 0.4], 'peer': [1.0, 1.0, 1.0]},
      'seconds': 61.2,
    }
    row = bench_envs.markdown([result]).splitlines()[-1]
    self.assertEqual(
      row,
      '| game | jaxmarl | 4 | 2.000 (1.000 to 3.000) | 4.000 (4.000 to 4.000) '
      '| 0.50 | 0.50 | 1.00 | 0.50 | 61 |',
    )

  def test_our_run_is_that_of_single_steps(self):
    env = envs.switch_riddle()
    keys, actions = env_peers.inputs(env, False, 2, 24)
    self.assertEqual(actions.shape, (12, 2, 3))
    obs, rewards, ends = jax.jit(
      lambda k, a: env_peers.our_run(env, False, k, a)
    )(keys, actions)
    step = jax.jit(envs.auto_reset(env).step)
    for i in range(2):
      _, state = env.reset(keys[0, i], env.default_params)
      total, done = 0.0, 0
      for t in range(12):
        out = step(keys[t, i], state, actions[t, i], env.default_params)
        state, total = out.state, total + out.reward
        done += int(out.terminated | out.truncated)
      np.testing.assert_array_equal(obs[i], out.obs)
      np.testing.assert_allclose(rewards[i], total)
      self.assertEqual(ends[i], done)

  def test_only_legal_actions_are_taken(self):
    env = dataclasses.replace(
      envs.switch_riddle(),
      legal=lambda s, p: jnp.ones((3, 3)) * jnp.array([1, 1, 0]) > 0,
    )
    keys, noise = env_peers.inputs(env, True, 2, 24)
    self.assertEqual(noise.shape, (12, 2, 3, 3))
    _, rewards, ends = jax.jit(lambda k, a: env_peers.our_run(env, True, k, a))(
      keys, noise
    )
    np.testing.assert_array_equal(rewards, 0.0)  # nobody ever tells
    np.testing.assert_array_equal(ends, 2)

  def test_legal_actions_follow_the_noise(self):
    noise = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4]])
    legal = np.array([[False, True, True], [True, True, False]])
    np.testing.assert_array_equal(env_peers._best(noise, legal), [2, 1])

  @pytest.mark.oracle
  def test_a_small_run(self):
    pytest.importorskip('jaxmarl')
    pytest.importorskip('gymnax')
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, 'bench.json')
      table = bench_envs.bench_envs(bench_envs.CHECK, path)
      with open(path, encoding='utf-8') as file:
        report = json.load(file)
    self.assertLen(table.splitlines(), 5)
    self.assertEqual(
      [r['name'] for r in report['results']],
      ['simple', 'switch_riddle', 'cart_pole'],
    )
    for result in report['results']:
      self.assertLen(result['step_us']['ttc'], 2)


if __name__ == '__main__':
  absltest.main()
