"""Disco103: its network, values, loss and optimiser, with weights of chance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from ttc import agents, envs, metarl
from ttc.agents.actor_critic import Judged, Outputs
from ttc.agents.distributions import Categorical, masked
from ttc.agents.on_policy import Batch
from ttc.agents.rollouts import Rollout
from ttc.metarl.rules import (
  disco,
  disco_network,
  disco_values,
  disco_weights,
)

SIZES = disco_weights.Sizes(5, width=6, lifetime_width=4, hidden=3)
T, E, A, M = 7, 3, 4, SIZES.num_predictions
BINS = 7


def arrays(seed=0):
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=shape).astype(np.float32) / max(shape[-1:]) ** 0.5
    for name, shape in disco_weights.shapes_in_file(SIZES).items()
  }


@pytest.fixture(scope='module', name='path')
def weights_file(tmp_path_factory):
  path = tmp_path_factory.mktemp('disco') / 'weights.npz'
  np.savez(path, **arrays())
  return path


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def seen(seed=0):
  """Of `E` agents; the second episode begins after step 3."""
  done = jnp.zeros((T, E), bool).at[3].set(True)
  said = lambda s: disco_network.Said(
    normal(s, T + 1, E, A), normal(s + 1, T + 1, E, M),
    normal(s + 2, T + 1, E, A, M),
  )  # fmt: skip
  values = disco_values.Values(
    normal(seed + 6, T + 1, E),
    *(normal(seed + i, T, E) for i in (7, 8, 9)),
    *(normal(seed + i, T, E, A) for i in (10, 11, 12)),
  )
  found = disco_network.Seen(
    jax.random.randint(jax.random.key(seed), (T, E), 0, A, jnp.int32),
    normal(seed + 13, T, E),
    done,
    jnp.full((T, E), 1 / (T * E), jnp.float32),
    normal(seed + 14, T, E, A),
    said(seed + 15),
    said(seed + 18),
    values,
  )
  return jax.device_get(found)


def life(seed=30):
  return disco_network.LSTMState(normal(seed, 4), normal(seed + 1, 4))


@pytest.fixture(scope='module', name='teach')
def teach_with(path):
  params = disco_weights.load(path, SIZES)
  return jax.jit(functools.partial(disco_network.teach, params, life()))


def changed(seen, other, where):
  """Other things seen at steps, and of states before (and after the last)."""

  def change(old, new):
    places = [*where, T] if len(old) > T and T - 1 in where else where
    old = old.copy()
    old[places] = new[places]
    return old

  return jax.tree.map(change, seen, other)._replace(
    done=seen.done, weight=seen.weight
  )


@pytest.mark.slow
def test_nothing_leaks_over_the_end_of_an_episode(teach):
  before, other = seen(), seen(50)
  want, _ = teach(before)
  got, _ = teach(changed(before, other, [4, 5, 6]))
  for a, b in zip(got, want, strict=True):
    np.testing.assert_array_equal(a[:4], b[:4])
    assert np.abs(a[4:] - b[4:]).max() > 1e-3
  got, _ = teach(changed(before, other, [0, 1, 2, 3]))
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a[4:], b[4:], rtol=1e-5)
  # Within an episode the past is told of the future.
  got, _ = teach(changed(before, other, [3]))
  assert np.abs(got.y[0] - want.y[0]).max() > 1e-5


def test_what_does_not_count_is_not_remembered(teach):
  weight = np.zeros((T, E), np.float32)
  weight[:, 0] = 1 / T
  before, other = seen()._replace(weight=weight), seen(50)
  first_of = lambda a, b: np.concatenate([a[:, :1], b[:, 1:]], axis=1)
  mixed = jax.tree.map(first_of, before, other)
  (first, of_first), (second, of_second) = (
    teach(s._replace(weight=weight, done=before.done)) for s in (before, mixed)
  )
  np.testing.assert_allclose(
    np.asarray(first.pi)[:, 0], np.asarray(second.pi)[:, 0], rtol=1e-5
  )
  np.testing.assert_allclose(of_first.hidden, of_second.hidden, rtol=1e-5)
  _, other_life = teach(seen(50))
  assert np.abs(other_life.hidden - of_first.hidden).max() > 1e-4


def test_actions_have_no_order(teach):
  order = np.array([2, 0, 3, 1])
  before = seen()
  said = lambda s: s._replace(logits=s.logits[..., order], z=s.z[:, :, order])
  values = before.values
  after = before._replace(
    action=np.argsort(order)[before.action].astype(np.int32),
    behaviour=before.behaviour[..., order],
    agent=said(before.agent),
    target=said(before.target),
    values=values._replace(
      q=values.q[..., order],
      q_advantage=values.q_advantage[..., order],
      normalized_q_advantage=values.normalized_q_advantage[..., order],
    ),
  )
  (want, want_life), (got, got_life) = teach(before), teach(after)
  np.testing.assert_allclose(got.pi, np.asarray(want.pi)[..., order], atol=1e-5)
  np.testing.assert_allclose(got.z, want.z, atol=1e-5)
  np.testing.assert_allclose(got_life.cell, want_life.cell, atol=1e-5)


def test_it_reads_backwards():
  kernel, bias = np.asarray(normal(0, 2 + 3, 12)), np.asarray(normal(1, 12))
  x, done = np.asarray(normal(2, T, E, 2)), np.asarray(seen().done)
  layer = disco_weights.Dense(jnp.array(kernel), jnp.array(bias))
  got = np.asarray(jax.jit(disco_network.read_backwards)(layer, x, done))
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  h = c = np.zeros((E, 3), np.float32)
  for t in reversed(range(T)):
    keep = 1 - done[t][:, None]
    h, c = h * keep, c * keep
    gates = np.concatenate([x[t], h], axis=1) @ kernel + bias
    i, g, f, o = np.split(gates, 4, axis=1)
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(got[t], h, rtol=1e-4, atol=1e-6)


class ValuesTest(parameterized.TestCase):
  def test_expand_is_the_inverse_of_compress(self):
    x = np.array([-9e4, -30.0, -1.0, -1e-3, 0.0, 1e-6, 0.5, 7.0, 5e4])
    compressed = np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x
    got = jax.jit(disco_values.expand)(compressed.astype(np.float32))
    np.testing.assert_allclose(got, x, rtol=1e-5)
    got = jax.jit(disco_values.compress)(x.astype(np.float32))
    np.testing.assert_allclose(got, compressed, rtol=1e-5, atol=1e-7)

  def test_two_bins_say_the_value(self):
    value = jnp.array([-1e6, -100.0, 0.0, 0.3, 777.0, 1e6])
    two_bins = jax.jit(disco_values.two_bins, static_argnums=1)
    probs = np.asarray(two_bins(value, 601))
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-4)
    np.testing.assert_array_less((probs > 0).sum(-1), 3)
    logits = np.log(np.maximum(probs, 1e-30))
    said = jax.jit(disco_values.expected)(logits)
    np.testing.assert_allclose(said[1:-1], value[1:-1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
      disco_values.compress(said[jnp.array([0, 5])]), [-300, 300], rtol=1e-4
    )

  def test_retrace(self):
    r, q, c = normal(0, T, E), normal(1, T, E), jax.nn.sigmoid(normal(2, T, E))
    v, discount = normal(3, T + 1, E), 0.9 * (1 - seen().done)
    discount = discount.astype(np.float32)
    r, q, c, v = jax.device_get((r, q, c, v))
    got = np.asarray(jax.jit(disco_values.retrace)(r, discount, q, v, c))
    want = r[-1] + discount[-1] * v[-1]
    np.testing.assert_allclose(got[-1], want, rtol=1e-5)
    for t in reversed(range(T - 1)):
      want = v[t + 1] + c[t + 1] * (want - q[t + 1])
      want = r[t] + discount[t] * want
      np.testing.assert_allclose(got[t], want, rtol=1e-4, atol=1e-5)

  def test_an_average_of_one_update_is_its_own(self):
    x = normal(0, T, E)
    weight = jnp.full((T, E), 1 / (T * E), jnp.float32)
    average = disco_values.averaged(disco_values.new_average(), x, weight)
    got = disco_values.normalized(average, x)
    np.testing.assert_allclose(got, (x - x.mean()) / x.std(), rtol=1e-3)

  def test_values(self):
    """Of equal bins but one: by hand, and others' deeds count less."""
    shape = (T + 1, E, A)
    q = jnp.zeros((*shape, BINS), jnp.float32).at[..., 1, -1].set(50.0)
    largest = disco_values.expand(jnp.array(300.0))
    s, average = seen(), disco_values.new_average()
    values_of = jax.jit(disco_values.values_of, static_argnums=(9, 10))
    make = lambda logits, behaviour, trace: jax.device_get(
      values_of(
        average, s.reward, s.done, s.action, s.weight, logits, behaviour, q,
        q, 0.9, trace,
      )[0]
    )  # fmt: skip
    even = np.zeros(shape, np.float32)
    values = make(even, even[:-1], 1.0)
    np.testing.assert_allclose(values.value, largest / A, rtol=1e-4)
    np.testing.assert_allclose(values.q[..., 1], largest, rtol=1e-4)
    np.testing.assert_allclose(
      values.q_advantage.mean(-1), 0, atol=1e-4 * largest
    )
    np.testing.assert_allclose(
      values.advantage, values.returns - largest / A, rtol=1e-4, atol=1
    )
    never = even[:-1].copy()
    never[np.arange(T)[:, None], np.arange(E), s.action] = 30.0
    np.testing.assert_allclose(
      make(even, never, 0.0).returns, make(even, even[:-1], 0.0).returns
    )
    self.assertGreater(
      np.abs(make(even, never, 1.0).returns - values.returns).max(), 1
    )


def played(legal):
  s = jax.tree.map(jnp.asarray, seen())
  one = lambda x: x[:, :, None]
  zeros = jnp.zeros((T, E, 1), jnp.float32)
  return Rollout(
    zeros, jnp.broadcast_to(legal, (T, E, 1, A)), zeros > 0, zeros == 0,
    one(s.action * 0 + 1), one(s.reward), s.done, jnp.zeros_like(s.done),
    zeros, Judged(zeros, zeros, zeros, zeros[..., None]),
  )  # fmt: skip


@pytest.mark.slow
def test_the_loss_pulls_towards_what_was_taught():
  legal = jnp.array([True, True, True, False])
  rollout = played(legal)
  further = normal(0, T, E, 1, M + A * (M + A + BINS))
  logits = masked(normal(1, T, E, 1, A), rollout.legal)
  target = disco.DiscoTarget(
    masked(normal(2, T, E, 1, A), rollout.legal),
    normal(3, T, E, 1, M),
    normal(4, T, E, 1, M),
    normal(5, T, E, 1, A),
    10 * normal(6, T, E, 1),
  )

  def loss(logits, further):
    outputs = Outputs(Categorical(logits), rollout.reward, further)
    return disco.disco_loss(outputs, Batch(rollout, target), M, 0.2)[0]

  to_logits, to_further = jax.jit(jax.grad(loss, (0, 1)))(logits, further)
  softmax = jax.nn.softmax
  pull = lambda now, wanted: (softmax(now) - softmax(wanted)) / (T * E)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  close(to_logits, pull(logits, target.pi))
  assert not np.any(to_logits[..., 3])
  outputs = lambda x: Outputs(Categorical(logits), rollout.reward, x)
  now = disco.predictions_of(outputs(further), M)
  grads = disco.predictions_of(outputs(to_further), M)
  close(grads.y, pull(now.y, target.y))
  # Action 1 was taken throughout.
  close(grads.z[..., 1, :], pull(now.z[..., 1, :], target.z))
  assert not np.any(np.delete(grads.z, 1, axis=-2))
  wanted = disco_values.two_bins(target.returns, BINS)
  close(
    grads.q[..., 1, :], 0.2 * (softmax(now.q[..., 1, :]) - wanted) / (T * E)
  )
  after = pull(now.next_policy[..., 1, :], target.next_policy)
  close(grads.next_policy[..., 1, :], after.at[3].set(0))


def test_targets(path):
  """The policy of the state after is a target; nothing illegal ever is."""
  rule = metarl.disco103(path, SIZES, num_bins=BINS)
  meta, params = (
    jax.jit(rule.init)(jax.random.key(0)),
    {'shift': jnp.float32(0)},
  )
  rollout = played(jnp.array([True, True, True, False]))
  zeros = jnp.zeros((T + 1, E, 1), jnp.float32)
  logits = normal(1, T + 1, E, 1, A).at[..., 3].set(-1e10)
  further = normal(2, T + 1, E, 1, rule.num_further(A))

  def again(params):
    says = Outputs(Categorical(logits), zeros, further + params['shift'])
    split = lambda part: jax.tree.map(lambda x: x[part], says)
    return split(slice(T)), split(T)

  life = metarl.Lifetime(0, 1)

  @jax.jit
  def taught(meta, params):
    experience = metarl.Experience(rollout, again(params)[1], params, again)
    start = rule.start(meta, params)
    target, memory = rule.targets(meta, start, experience, life, None)
    batch = Batch(rollout, target)
    loss, _ = rule.loss(meta, again(params)[0], batch, life, None)
    return target, memory, loss

  target, memory, loss = taught(meta, params)
  np.testing.assert_array_equal(target.next_policy, logits[1:])
  np.testing.assert_array_equal(target.pi[..., 3], -1e10)
  assert np.abs(target.pi[..., :3]).max() < 1e3
  assert 0 < loss < 1e3
  # Ends are ends: there returns are rewards.
  np.testing.assert_allclose(target.returns[3], rollout.reward[3], rtol=1e-5)
  assert np.abs(memory.life.cell).max() > 0


def agent(rate=1e-2):
  return metarl.Agent(
    agents.PPO(num_envs=4, num_steps=5, num_epochs=1, num_minibatches=1),
    agents.Architecture((8,)),
    metarl.stopped_adam(rate),
  )


def test_a_life(path):
  """Nothing is NaN; the rule remembers its agent, and all its agent did."""
  rule = metarl.disco103(path, SIZES, num_bins=BINS)
  meta = jax.jit(rule.init)(jax.random.key(0))
  learner = metarl.learner(envs.matrix_game(), rule, meta, 3, agent())
  update = jax.jit(learner.update)
  state = jax.jit(learner.init)(jax.random.key(1))
  average = state.params
  for _ in range(3):
    average = jax.tree.map(
      lambda a, b: 0.9 * a + 0.1 * b, average, state.params
    )
    last_life = state.memory.life
    state, metrics = update(state)
    for name, x in metrics.items():
      assert np.all(np.isfinite(x)), name
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
      state.memory.target,
      average,
    )
    assert np.abs(state.memory.life.cell - last_life.cell).max() > 1e-3
  np.testing.assert_allclose(state.memory.average.missing, 0.99**3, rtol=1e-5)
  # Games of one step: its returns are its rewards.
  assert state.memory.average.second > 0


def test_other_files_are_refused(tmp_path):
  path = tmp_path / 'weights.npz'

  def refused(match, sizes=SIZES, path=path):
    with pytest.raises(ValueError, match=match):
      metarl.disco103(path, sizes)

  good = arrays()
  np.savez(path, **good)
  refused(r'is \(.*\) instead of \(.*\)', disco_weights.Sizes())
  np.savez(path, **{k: x for k, x in good.items() if k != 'lstm/linear/w'})
  refused("no 'lstm/linear/w'")
  np.savez(path, **good, extra=np.zeros(1))
  refused("'extra', which is unknown")
  path.write_text('no weights')
  refused('not an .npz')
  path.write_bytes(b'')
  refused('not an .npz')
  np.save(tmp_path / 'weights.npy', np.zeros(3))
  refused('not an .npz', path=tmp_path / 'weights.npy')
  with pytest.raises(FileNotFoundError):
    metarl.disco103(tmp_path / 'none.npz')


def test_bins_without_a_middle_are_refused(path):
  with pytest.raises(ValueError, match='num_bins=600, expected an odd'):
    metarl.disco103(path, SIZES, num_bins=600)


def test_continuous_actions_are_refused(path):
  rule = metarl.disco103(path, SIZES)
  with pytest.raises(ValueError, match='disco103 is for discrete actions'):
    metarl.learner(
      envs.simple_spread(continuous=True),
      rule,
      jax.jit(rule.init)(jax.random.key(0)),
      3,
    )


class StoppedAdamTest(parameterized.TestCase):
  def test_it_is_adam_within_its_limit(self):
    params = {'x': jnp.array([1.0, -2.0, 0.0])}
    ours, theirs = metarl.stopped_adam(0.1, 0.5), optax.adam(0.1)
    state, their_state = ours.init(params), theirs.init(params)
    for seed in range(3):
      grads = {'x': normal(seed, 3)}
      got, state = ours.update(grads, state)
      want, their_state = theirs.update(grads, their_state)
      want = np.clip(want['x'], -0.05, 0.05)
      np.testing.assert_allclose(got['x'], want, rtol=1e-5)

  @parameterized.parameters(0.0, 1e-3, 0.5)
  def test_derivatives_see_a_constant_denominator(self, gradient):
    optimizer = metarl.stopped_adam(1.0, 1e12)

    def step(g):
      return optimizer.update(g, optimizer.init(jnp.zeros(())))[0]

    got = jax.jit(jax.grad(step))(jnp.array(gradient))
    np.testing.assert_allclose(got, -1 / (gradient + 1e-8), rtol=1e-4)


if __name__ == '__main__':
  absltest.main()
