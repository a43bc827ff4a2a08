"""What every test-time adaptation method promises, on every kind of network.

A method joins by a line in `METHODS` of `family`.
"""

import functools
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized
from family import KEY, METHODS, NETWORK, RATE, STEPS, K, drawn, experts

from ttc import adaptation
from ttc.adaptation import Batch
from ttc.adaptation.adapter import choose
from ttc.adaptation.losses import mean_label_loss
from ttc.io import checkpoints
from ttc.models.vision import resnet, vit, wide_resnet

EVERY = [(name, name) for name in METHODS]
# One of each kind for what compiles anew; the others are slow.
KINDS = ('tent', 'rotta', 'memo', 'lame')
SOME = [(name, name) for name in KINDS]
OTHERS = [row for row in EVERY if row not in SOME]
# Step by step each operation is a program.
STEPWISE = [row for row in EVERY if row[0] == 'tent']


def piece(stream, start, stop):
  return jax.tree.map(lambda x: x[start:stop], stream)


def kept(prediction, batch):
  """Logits of the rows that count."""
  return np.asarray(prediction.logits)[np.asarray(batch.mask)]


@functools.cache
def programs(name):
  """One method: a program of it that takes a rate, and its start.

  The rate is an argument of the program, as every hyper-parameter may be.
  """
  source, _ = drawn()
  traces = []

  def run(rate, state, stream):
    traces.append(1)
    return adaptation.run_stream(adapter_of(name, rate), state, stream)

  start = jax.jit(functools.partial(adaptation.start_stream, adapter_of(name)))
  # Where a file is read to, or what was read would be compiled for anew.
  state = jax.device_put(start(source, KEY), jax.devices()[0])
  return jax.jit(run), state, traces


def adapter_of(name, rate=RATE):
  return METHODS[name].make(NETWORK, optax.sgd(rate, momentum=0.9))


def stream_of(which=0):
  _, streams = drawn()
  return jax.tree.map(lambda x: x[which], streams)


@functools.cache
def two_pieces(name, rate=RATE, which=0):
  """What it says and what it came to, after two batches and after four."""
  run, start, _ = programs(name)
  stream = stream_of(which)
  middle = run(jnp.float32(rate), start, piece(stream, 0, 2))
  end = run(jnp.float32(rate), middle[1], piece(stream, 2, 4))
  return middle, end


class EveryAdapterTest(parameterized.TestCase):
  @parameterized.named_parameters(EVERY)
  def test_is_finite_and_traced_once(self, name):
    middle, end = two_pieces(name)
    chex.assert_tree_all_finite(middle[0])
    chex.assert_tree_all_finite(end[0])
    self.assertEqual(int(end[1].step), STEPS)
    for leaf in jax.tree.leaves(end[0]):
      self.assertIn(leaf.dtype, (jnp.float32, jnp.int32))
    two_pieces(name, 0.0)
    self.assertLen(programs(name)[2], 1)

  @parameterized.named_parameters(EVERY)
  def test_without_learning_it_is_its_baseline(self, name):
    if METHODS[name].baseline is None:
      self.skipTest('says something else from the start')
    stream = stream_of()
    middle, end = two_pieces(name, 0.0)
    for t, (said, _) in ((1, middle), (3, end)):
      wanted = baseline(METHODS[name].baseline, t)
      said = kept(piece(said, t % 2, t % 2 + 1), piece(stream, t, t + 1))
      np.testing.assert_allclose(said, wanted, atol=1e-6)

  @parameterized.named_parameters(STEPWISE)
  def test_not_compiled_and_not_filled_up_it_says_the_same(self, name):
    self.check_not_compiled(name)

  @parameterized.named_parameters([x for x in EVERY if x not in STEPWISE])
  @pytest.mark.slow
  def test_not_compiled_and_not_filled_up_others_do_too(self, name):
    self.check_not_compiled(name)

  def check_not_compiled(self, name):
    (_, middle), _ = two_pieces(name)
    tail = piece(stream_of(), 3, 4)
    empty = tail._replace(mask=jnp.zeros_like(tail.mask))
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), tail, empty)
    run, _, _ = programs(name)
    wanted, after = run(jnp.float32(RATE), middle, both)
    rows = int(tail.mask.sum())
    batch = Batch(tail.images[0, :rows], tail.mask[0, :rows])
    key = jax.random.fold_in(middle.key, middle.step)
    said, state = adapter_of(name).update(middle.adapter, batch, key)
    np.testing.assert_allclose(said.logits, wanted.logits[0, :rows], atol=1e-5)
    chex.assert_trees_all_close(state, after.adapter, atol=1e-5)

  @parameterized.named_parameters(SOME)
  def test_two_uncut_streams_at_once_are_two_cut_runs(self, name):
    self.check_two_at_once(name)

  @parameterized.named_parameters(OTHERS)
  @pytest.mark.slow
  def test_two_uncut_streams_at_once_of_the_others(self, name):
    self.check_two_at_once(name)

  def check_two_at_once(self, name):
    _, start, _ = programs(name)
    _, streams = drawn()
    run = functools.partial(adaptation.run_stream, adapter_of(name))
    said, _ = jax.jit(jax.vmap(run, (None, 0)))(start, streams)
    for which in range(2):
      pieces = two_pieces(name, which=which)
      for i, (alone, _) in enumerate(pieces):
        part = jax.tree.map(lambda x: x[which, 2 * i : 2 * i + 2], said)  # noqa: B023
        chex.assert_trees_all_close(part, alone, atol=1e-5)

  @parameterized.parameters('tent', 'rotta')
  def test_a_cut_stream_is_the_uncut_one_bit_for_bit(self, name):
    self.check_cut(name)

  @parameterized.parameters('eata', 'petal_at_random')
  @pytest.mark.slow
  def test_a_cut_stream_of_others_is_too(self, name):
    self.check_cut(name)

  def check_cut(self, name):
    _, start, _ = programs(name)
    middle, end = two_pieces(name)

    def run(rate, state, stream):
      return adaptation.run_stream(adapter_of(name, rate), state, stream)

    said, after = jax.jit(run)(jnp.float32(RATE), start, stream_of())
    chex.assert_trees_all_equal(piece(said, 0, 2), middle[0])
    chex.assert_trees_all_equal(piece(said, 2, 4), end[0])
    chex.assert_trees_all_equal(after, end[1])

  @parameterized.named_parameters(SOME)
  def test_saved_and_resumed_it_goes_on_bit_for_bit(self, name):
    self.check_resumed(name)

  @parameterized.named_parameters(OTHERS)
  @pytest.mark.slow
  def test_saved_and_resumed_the_others_do_too(self, name):
    self.check_resumed(name)

  def check_resumed(self, name):
    (_, middle), end = two_pieces(name)
    with tempfile.TemporaryDirectory() as directory:
      manager = checkpoints.open_checkpoints(directory)
      checkpoints.save_checkpoint(manager, 2, middle)
      abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), middle
      )
      restored = checkpoints.restore_checkpoint(manager, abstract)
      manager.close()
    chex.assert_trees_all_equal(restored, middle)
    run, _, _ = programs(name)
    resumed = run(jnp.float32(RATE), restored, piece(stream_of(), 2, 4))
    chex.assert_trees_all_equal(resumed, end)

  @parameterized.named_parameters(EVERY)
  def test_an_empty_batch_changes_not_a_bit(self, name):
    (_, middle), _ = two_pieces(name)
    empty = piece(stream_of(), 0, 2)
    empty = empty._replace(mask=jnp.zeros_like(empty.mask))
    said, after = programs(name)[0](jnp.float32(RATE), middle, empty)
    chex.assert_trees_all_equal(after.adapter, middle.adapter)
    np.testing.assert_array_equal(said.num_backward, 0)

  @parameterized.named_parameters(EVERY)
  def test_what_fills_a_batch_up_does_not_matter(self, name):
    (_, middle), end = two_pieces(name)
    tail = piece(stream_of(), 2, 4)
    hidden = ~tail.mask[..., None, None, None]
    tail = tail._replace(images=jnp.where(hidden, 0.7, tail.images))
    said, after = programs(name)[0](jnp.float32(RATE), middle, tail)
    chex.assert_trees_all_close(after.adapter, end[1].adapter, atol=1e-6)
    np.testing.assert_allclose(kept(said, tail), kept(end[0], tail), atol=1e-6)

  @parameterized.named_parameters(EVERY)
  def test_parameters_that_are_not_chosen_stay(self, name):
    if METHODS[name].trains_networks:
      self.skipTest('trains networks')
    _, (_, end) = two_pieces(name)
    source, _ = drawn()
    chosen = choose(source.variables, METHODS[name].select)
    for variables in variables_of(end.adapter):
      chex.assert_trees_all_equal(variables, source.variables)
    for params in params_of(end.adapter):
      self.assertContainsSubset(params.keys(), chosen.keys())

  @parameterized.named_parameters(EVERY)
  def test_the_order_of_rows_does_not_matter(self, name):
    if METHODS[name].is_ordered:
      self.skipTest('remembers images in the order in which they come')
    run, start, _ = programs(name)
    (wanted, _), _ = two_pieces(name)
    order = np.array([3, 0, 5, 1, 4, 2])
    shuffled = jax.tree.map(lambda x: x[:, order], piece(stream_of(), 0, 2))
    said, _ = run(jnp.float32(RATE), start, shuffled)
    np.testing.assert_allclose(said.logits, wanted.logits[:, order], atol=2e-5)

  @parameterized.named_parameters(EVERY)
  def test_with_64_bits_it_keeps_its_32(self, name):
    source, _ = drawn()
    shapes = jax.eval_shape(lambda: (source, stream_of(), KEY))
    with jax.enable_x64(True):
      adapter = METHODS[name].make(NETWORK, optax.adam(RATE))
      start = functools.partial(adaptation.start_stream, adapter)
      state = jax.eval_shape(start, shapes[0], shapes[2])
      said, _ = jax.eval_shape(
        functools.partial(adaptation.run_stream, adapter), state, shapes[1]
      )
    for leaf in jax.tree.leaves((said, state)):
      if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        self.assertIn(leaf.dtype, (jnp.float32, jnp.int32, bool))


# What a rate makes, where it can be learned.
LEARNABLE = {
  'tent': lambda rate: adapter_of('tent', rate),
  'itta': lambda rate: adapter_of('itta', rate),
  'ecotta': lambda rate: adapter_of('ecotta', rate),
  'meta_dmoe': lambda rate: adaptation.meta_dmoe(
    NETWORK, *experts(NETWORK), rate=rate, num_heads=2
  ),
}


class DifferentiableTest(parameterized.TestCase):
  def test_a_later_loss_has_a_gradient_in_rate_and_source(self):
    self.has_a_gradient('tent')

  @parameterized.parameters('itta', 'ecotta', 'meta_dmoe')
  @pytest.mark.slow
  def test_a_later_loss_of_larger_ones_has_too(self, name):
    self.has_a_gradient(name)

  def has_a_gradient(self, name):
    source, _ = drawn()
    LEARNABLE[name](RATE)  # makes what it starts from
    stream = piece(stream_of(), 0, 2)

    def later_loss(rate, variables):
      adapter = LEARNABLE[name](rate)
      state = adaptation.start_stream(
        adapter, source._replace(variables=variables), KEY
      )
      said, _ = adaptation.run_stream(adapter, state, stream)
      return mean_label_loss(said.logits[-1], source.labels)

    grads = jax.jit(jax.grad(later_loss, (0, 1)))(RATE, source.variables)
    chex.assert_tree_all_finite(grads)
    self.assertNotEqual(float(grads[0]), 0)
    self.assertGreater(float(optax.tree.norm(grads[1]['params'])), 0)


NETWORKS = {
  'resnet': lambda: resnet(K, mean=(0.0,), std=(1.0,)),
  'resnet_gn': lambda: resnet(K, norm='group', mean=(0.0,), std=(1.0,)),
  'wide': lambda: wide_resnet(K, 10, mean=(0.0,), std=(1.0,)),
  'vit': lambda: vit(K, width=8, depth=4, num_heads=2),
}
EVERYWHERE = (
  'source', 'tent', 'eta', 'sar', 'cotta', 'roid', 'rotta', 'memo', 'rmt',
  'psmt', 'lame', 't3a', 'adanpc',
)  # fmt: skip


class EveryNetworkTest(parameterized.TestCase):
  @parameterized.parameters('resnet_gn', 'vit')
  def test_what_it_may_learn_of_another_network(self, network):
    made, (source, _) = NETWORKS[network](), drawn()
    adapter = METHODS['sar'].make(made, optax.sgd(RATE))

    def start(key, source):
      variables = made.init(key, source.images)
      return adaptation.start_stream(
        adapter, source._replace(variables=variables), key
      )

    state = jax.eval_shape(start, KEY, source)
    self.learns_what_it_may(state, made)

  @parameterized.product(network=tuple(NETWORKS), name=EVERYWHERE)
  @pytest.mark.slow
  def test_every_method_on_every_network(self, network, name):
    self.runs_on(network, name)

  def runs_on(self, network, name):
    """It runs there, and learns only what it may."""
    made, (source, _) = NETWORKS[network](), drawn()
    variables = jax.jit(made.init)(KEY, source.images)
    source = source._replace(variables=variables)
    adapter = METHODS[name].make(made, optax.sgd(RATE))

    @jax.jit
    def run(source, stream):
      state = adaptation.start_stream(adapter, source, KEY)
      return adaptation.run_stream(adapter, state, stream)

    said, state = run(source, piece(stream_of(), 2, 4))
    chex.assert_tree_all_finite(said)
    for held in variables_of(state.adapter):
      chex.assert_trees_all_equal(held, variables)
    if name == 'sar':
      self.learns_what_it_may(state, made)

  def learns_what_it_may(self, state, made):
    learned = {path.split('/')[0] for path in state.adapter.learning.params}
    self.assertNotEmpty(learned)
    self.assertNoCommonElements(learned, made.last_stage)


@functools.cache
def baseline(kind, t):
  """The source's logits by either moments; twice where two networks agree."""
  source, _ = drawn()
  batch = jax.tree.map(lambda x: x[t], stream_of())
  moments, _, times = kind.partition('_')
  seen = jax.jit(NETWORK.apply, static_argnums=2)(
    source.variables, batch.images, moments, batch.mask
  )
  return kept(seen, batch) * (2 if times else 1)


def is_variables(tree):
  return isinstance(tree, dict) and 'params' in tree


def variables_of(state):
  """The networks in a state that should be as they were."""
  leaves = jax.tree.leaves(state, is_leaf=is_variables)
  return [leaf for leaf in leaves if is_variables(leaf)]


def params_of(state):
  """What learns in a state: parameters by path."""
  is_params = lambda x: isinstance(x, dict) and any('/' in k for k in x)
  leaves = jax.tree.leaves(
    state, is_leaf=lambda x: is_variables(x) or is_params(x)
  )
  return [leaf for leaf in leaves if is_params(leaf)]


if __name__ == '__main__':
  absltest.main()
