"""The benchmark of meta-training: its refusals, its tables, its peer."""

import json
import os
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from ttc import agents, metarl
from ttc.agents.actor_critic import Judged, Outputs
from ttc.agents.distributions import Categorical
from ttc.agents.on_policy import Batch
from ttc.agents.rollouts import Rollout
from ttc.drivers import bench_meta, meta_profile
from ttc.metarl.rules.interface import Experience, Lifetime

T, E, N, M, W = 6, 3, 3, 4, 5  # steps, environments, actions, y, width


class TablesTest(parameterized.TestCase):
  @parameterized.parameters(
    ({'games': ('chess',)}, "game 'chess' is not known; there are catch"),
    ({'parts': ('heat',)}, "part 'heat' is not known; there are speed"),
    ({'num_pairs': 0}, 'num_pairs=0, expected at least 1'),
    ({'horizons': ()}, r'horizons=\(\), expected at least 1'),
    ({'pairs': (8, 12)}, 'pairs=12 is no multiple of chunk_size=8'),
  )
  def test_bad_input_is_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      bench_meta.bench_meta(bench_meta.Bench(**changes))

  def test_without_the_peer_the_extra_is_named(self):
    with mock.patch('importlib.util.find_spec', return_value=None):
      with self.assertRaisesRegex(ImportError, 'oracle'):
        bench_meta.check(bench_meta.CHECK)
      bench_meta.check(bench_meta.CHECK._replace(parts=('profile',)))

  def test_a_ratio_above_one_says_that_ours_is_faster(self):
    result = {
      'seconds': {'ttc': [0.5, 0.25, 1.0], 'evosax': [1.0, 1.0, 1.0]},
      'compile_s': {'ttc': 2.0, 'evosax': 3.0},
      'fitness': {'ttc': -0.5, 'evosax': -0.25},
    }
    row = bench_meta.markdown({'speed': {'game': result}}).splitlines()[-1]
    self.assertEqual(
      row,
      '| game | 2.00 (1.00 to 4.00) | 1.00 (1.00 to 1.00) '
      '| 2.00 (1.00 to 4.00) | 2.0 | 3.0 | -0.50 | -0.25 |',
    )

  def test_parts_are_differences(self):
    ends = dict(zip(meta_profile.PARTS, (1, 2, 4, 5, 9, 10), strict=True))
    seconds = {name: [x / 10, x / 5] for name, x in ends.items()}
    lines = meta_profile.markdown({'game': seconds}).splitlines()[2:]
    share = [int(line.split('|')[4].strip(' %')) for line in lines]
    self.assertEqual(share, [10, 10, 20, 10, 40, 10])

  def test_growth_is_relative_to_the_first_line(self):
    lines = [
      {'num_pairs': p, 'horizon': h, 'temp_bytes': 2**20, 'seconds': [s]}
      for p, h, s in ((2, 10, 1.0), (4, 10, 2.0), (2, 30, 2.5))
    ]
    rows = bench_meta.markdown({'growth': {'game': lines}}).splitlines()[2:]
    cells = [[x.strip() for x in row.split('|')] for row in rows]
    self.assertEqual([row[2] for row in cells], ['4', '8', '4'])
    self.assertEqual([row[5] for row in cells], ['1.00', '2.00', '3.00'])
    self.assertTrue(cells[2][6].startswith('2.50'))
    self.assertEqual(cells[0][7], '1.00')


class PartsTest(absltest.TestCase):
  @pytest.mark.slow
  def test_first_and_last_rung(self):
    bench = bench_meta.CHECK._replace(horizon=1, num_steps=1)
    task, rule = bench_meta.training('catch', bench)
    rungs = meta_profile.ladder(task, rule)
    meta, key = rule.init(jax.random.key(0)), jax.random.key(1)
    self.assertLess(
      float(rungs['evolution'](meta, key) - meta_profile.digest(meta)), 1.0
    )
    got, wanted = jax.jit(
      lambda m, k: (
        rungs['final evaluation'](m, k),
        metarl.final_return(task, rule)(m, k),
      )
    )(meta, key)
    self.assertEqual(float(got), float(wanted))

  @pytest.mark.slow
  def test_each_part_counts(self):
    """Fitness of a rung depends on what it adds."""
    task, rule = bench_meta.training('catch', bench_meta.CHECK)
    rungs = meta_profile.ladder(task, rule)
    meta = rule.init(jax.random.key(0))
    at = lambda name, seed: float(
      jax.jit(rungs[name])(meta, jax.random.key(seed))
    )
    for name in meta_profile.PARTS[:-1]:
      self.assertNotEqual(at(name, 1), at(name, 2), name)

  @pytest.mark.slow
  def test_small_profile_and_growth(self):
    bench = bench_meta.CHECK._replace(parts=('profile', 'growth'))
    with tempfile.TemporaryDirectory() as folder:
      path = os.path.join(folder, 'bench.json')
      table = bench_meta.bench_meta(bench, path)
      with open(path, encoding='utf-8') as file:
        report = json.load(file)
    self.assertIn("the rule's network", table)
    self.assertLen(report['growth']['catch'], 3)
    self.assertGreater(report['growth']['catch'][0]['temp_bytes'], 0)


def lpg_of_peer(meta):
  """Our parameters of LPG as the peer's network has them."""
  ours = meta['params']
  own = ours['GRU_0']
  gate = lambda x, i: jnp.split(x, 3, axis=-1)[i]
  gru = {}
  for i, name in enumerate('rzn'):
    gru[f'i{name}'] = {k: gate(x, i) for k, x in own['Dense_0'].items()}
    gru[f'h{name}'] = {'kernel': gate(own['memory_kernel'], i)}
  gru['hn']['bias'] = own['memory_bias']
  return {
    'params': {
      'Dense_0': ours['Dense_0'],
      'Dense_1': ours['Dense_1'],
      'ScannedGRU_0': {'GRUCell_0': gru},
      'Dense_2': ours['Dense_2'],
    }
  }


@pytest.mark.oracle
class PeerTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    pytest.importorskip('evosax')
    pytest.importorskip('gymnax')
    from ttc.drivers import evosax_peer

    self.module = evosax_peer
    bench = bench_meta.CHECK._replace(num_envs=E, num_steps=T, rule_width=W)
    peer = bench_meta.peer_of('catch', bench)
    self.peer = peer._replace(num_predictions=M)

  def test_rule_and_loss_are_the_same(self):
    rule = metarl.lpg(M, W)
    meta = jax.tree.map(
      lambda x: x + 0.1, rule.init(jax.random.key(0))
    )  # biases too
    normal = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)
    obs, params = normal(1, T, E, 50), {'params': {'Dense_0': {}}}
    params['params']['Dense_0']['kernel'] = 0.1 * normal(2, 50, N + M)
    action = jax.random.randint(jax.random.key(3), (T, E), 0, N)
    done = jax.random.bernoulli(jax.random.key(4), 0.3, (T, E))
    reward, last = normal(5, T, E), normal(6, E, M)

    def outputs(params):
      out = obs @ params['params']['Dense_0']['kernel']
      law, further = Categorical(out[..., None, :N]), out[..., None, N:]
      return Outputs(law, jnp.zeros((T, E, 1)), further)

    now = outputs(params)
    log_prob = now.law.log_prob(action[..., None])
    active = jnp.ones((T, E, 1), bool)
    rollout = Rollout(
      obs[:, :, None],
      jnp.ones((T, E, 1, N), bool),
      active,
      active,
      action[..., None],
      reward[..., None],
      done,
      jnp.zeros_like(done),
      jnp.zeros((T, E, 0)),
      Judged(obs[:, :, None], log_prob, now.value, now.further),
    )
    end = Outputs(Categorical(now.law.logits[0]), now.value[0], last[:, None])
    hyper, time = agents.PPO(discount=self.peer.discount), Lifetime(0, 1)
    target, _ = rule.targets(
      meta, (), Experience(rollout, end, params, lambda p: None), time, hyper
    )
    loss = lambda params: rule.loss(
      meta, outputs(params), Batch(rollout, target), time, hyper
    )[0]

    played = self.module.Transition(
      obs,
      action,
      reward,
      done,
      jnp.exp(log_prob[..., 0]),
      jax.nn.softmax(now.further[..., 0, :]),
    )
    theirs = self.module.rule_targets(
      self.peer, lpg_of_peer(meta), played, jax.nn.softmax(last)
    )
    for a, b in zip(target, theirs, strict=True):
      np.testing.assert_allclose(a[:, :, 0], b, atol=1e-5)
    net = self.module.agent_net(self.peer)
    their_loss = lambda params: self.module.agent_loss(
      self.peer, net, params, played, theirs
    )
    for a, b in zip(
      jax.tree.leaves(jax.value_and_grad(loss)(params)),
      jax.tree.leaves(jax.value_and_grad(their_loss)(params)),
      strict=True,
    ):
      np.testing.assert_allclose(a, b, atol=1e-5)

  def test_evolution_climbs(self):
    """evosax minimises; the mean follows what lives return."""
    self.assertGreater(self.climbs(1.0), 0.0)
    self.assertLess(self.climbs(-1.0), 0.0)

  def climbs(self, sign):
    """By how much the mean grows if fitness is `sign` times the sum."""
    lives = lambda peer: lambda meta, key: sign * meta_profile.digest(meta)
    with mock.patch.object(self.module, 'fitness', lives):
      init, update = self.module.evolution(self.peer._replace(num_pairs=64))
    before = init(jax.random.key(0))
    after, _ = update(before)
    return float(jnp.sum(after[0].mean - before[0].mean))

  @pytest.mark.slow
  def test_a_small_run(self):
    table = bench_meta.bench_meta(bench_meta.CHECK._replace(parts=('speed',)))
    self.assertLen(table.splitlines(), 3)


def test_the_agents_optimiser_clips():
  optimizer = bench_meta.clipped(bench_meta.GAMES['catch'])
  grads = {'w': jnp.array([3.0, 4.0])}
  changes, _ = optimizer.update(grads, optimizer.init(grads))
  np.testing.assert_allclose(optax.global_norm(changes), 0.5, rtol=1e-6)


if __name__ == '__main__':
  absltest.main()
