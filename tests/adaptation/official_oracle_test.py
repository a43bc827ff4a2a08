"""Twenty steps in float64 beside the published torch code (`torch_peers`).

Weights, batches, views and restore masks are the same on both sides.
"""

import copy
import functools
import math
import tempfile
from unittest import mock

import jax
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

pytestmark = pytest.mark.oracle
torch = pytest.importorskip('torch')

from torch_peers import (  # noqa: E402
  KEY,
  NETWORK,
  ROWS,
  STEPS,
  K,
  Loader,
  benchmark,
  config,
  drawn,
  images_to_torch,
  load,
  masks_of,
  ours_of,
  peer_of,
  projector_layers,
  stubs,
  to_torch,
)  # fmt: skip

from ttc import adaptation  # noqa: E402


class Recorder:
  """Views that are drawn here, kept for the other side."""

  def __init__(self):
    self.kept = []

  def view(self, key, images):
    seen = adaptation.COTTA_VIEW(key, images)
    jax.debug.callback(
      lambda x: self.kept.append(np.asarray(x)), seen, ordered=True
    )
    return seen

  def replay(self, images):
    return images_to_torch(self.kept.pop(0)) if self.kept else images


def say(adapter):
  """Logits of ours along the stream, and the state after it."""
  source, stream = drawn()
  start = adaptation.start_stream(adapter, source, KEY)
  run = functools.partial(adaptation.run_stream, adapter)
  said, state = jax.jit(run)(start, stream)
  jax.effects_barrier()
  return np.asarray(said.logits), said, state


def peer_says(method):
  _, stream = drawn()
  said = [
    method(images_to_torch(images)).detach().numpy().copy()
    for images in stream.images
  ]
  return np.stack(said)


class OfficialTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    context = jax.enable_x64(True)
    context.__enter__()
    self.addCleanup(context.__exit__, None, None, None)
    torch.set_default_dtype(torch.float64)
    self.addCleanup(torch.set_default_dtype, torch.float32)

  def peer(self):
    source, _ = drawn()
    params = adaptation.choose(source.variables, 'all')
    return peer_of(params)

  def source_batches(self, size):
    source, _ = drawn()
    return [
      (
        images_to_torch(source.images[i : i + size]),
        torch.tensor(np.asarray(source.labels[i : i + size], np.int64)),
      )
      for i in range(0, len(source.images), size)
    ]

  def agree(self, ours, theirs):
    self.assertGreater(np.abs(ours[-1] - ours[0]).max(), 1e-2)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)

  @parameterized.parameters(False, True)
  def test_tent(self, with_adam):
    optimizer, name = optax.sgd(0.05, momentum=0.9), 'SGD'
    if with_adam:
      optimizer, name = optax.adam(0.05), 'Adam'
    ours, _, _ = say(adaptation.tent(NETWORK, optimizer))
    cfg = config(OPTIM={'METHOD': name})
    theirs = peer_says(benchmark('tent').Tent(cfg, self.peer(), K))
    self.agree(ours, theirs)

  @parameterized.parameters(False, True)
  def test_eata(self, has_fisher):
    batches = self.source_batches(10)
    adapter = adaptation.eata(
      NETWORK, optax.sgd(0.05, momentum=0.9), redundancy=0.6, strength=5.0,
      margin=0.7, fisher='batch' if has_fisher else None, fisher_batch=10,
    )  # fmt: skip
    ours, said, _ = say(adapter)
    cfg = config(
      EATA={'FISHER_ALPHA': 5.0 if has_fisher else 0.0, 'MARGIN_E0': 0.7}
    )
    theirs = peer_says(benchmark('eata', batches).EATA(cfg, self.peer(), K))
    self.agree(ours, theirs)
    some = np.asarray(said.num_backward)
    self.assertTrue(((some > 0) & (some < ROWS)).any())

  def test_sar_of_the_benchmark(self):
    """Resets clear its mean, not its momentum."""
    said = {}
    for collapse in (0.05, 0.5):
      adapter = adaptation.sar(
        NETWORK, optax.sgd(0.05, momentum=0.9), margin=0.7, collapse=collapse,
        steps_on_nothing=True, keeps_momentum=True,
      )  # fmt: skip
      ours, _, _ = say(adapter)
      cfg = config(EATA={'MARGIN_E0': 0.7}, SAR={'RESET_CONSTANT_EM': collapse})
      said[collapse] = peer_says(benchmark('sar').SAR(cfg, self.peer(), K))
      self.agree(ours, said[collapse])
    self.assertGreater(np.abs(said[0.05] - said[0.5]).max(), 0.01)

  def test_sar_of_its_authors(self):
    """Steps on nothing, and after a reset keeps the mean that caused it."""
    adapter = adaptation.sar(
      NETWORK, optax.sgd(0.05, momentum=0.9), margin=0.5, collapse=0.2,
      steps_on_nothing=True, keeps_mean=True, keeps_momentum=True,
    )  # fmt: skip
    ours, _, state = say(adapter)
    sar, sam = load('SAR', '.', 'sar', {}), load('SAR', '.', 'sam', {})
    peer = sar.configure_model(self.peer())
    params, names = sar.collect_params(peer)
    self.assertFalse([name for name in names if 'layer4' in name])
    optimizer = sam.SAM(params, torch.optim.SGD, lr=0.05, momentum=0.9)
    method = sar.SAR(peer, optimizer, margin_e0=0.5 * math.log(K))
    self.agree(ours, peer_says(method))
    self.assertTrue(bool(state.adapter.has_mean))

  @parameterized.product(with_adam=(False, True), large=(False, True))
  def test_cotta(self, with_adam, large):
    optimizer, name = optax.sgd(0.05, momentum=0.9), 'SGD'
    if with_adam:
      optimizer, name = optax.adam(1e-3), 'Adam'
    recorder = Recorder()
    ours, said, _ = say(
      adaptation.cotta(
        NETWORK, optimizer, momentum=0.9, restore=0.1, threshold=0.67,
        view=recorder.view, num_views=3, symmetric=large,
      )
    )  # fmt: skip
    asked = np.asarray(said.num_forward)
    self.assertEqual(len(set(asked.tolist())), 2, 'the gate opens and closes')
    cfg = config(
      OPTIM={'METHOD': name, 'LR': 1e-3 if with_adam else 0.05},
      CORRUPTION={'DATASET': 'imagenet_c' if large else 'cifar10_c'},
    )
    method = benchmark('cotta').CoTTA(cfg, self.peer(), K)
    method.transform = recorder.replay
    with mock.patch.object(torch, 'rand', masks_of(method.model)):
      theirs = peer_says(method)
    self.agree(ours, theirs)
    self.assertEmpty(recorder.kept)

  def test_rmt(self):
    recorder, size = Recorder(), 24
    adapter = adaptation.rmt(
      NETWORK, optax.sgd(0.05, momentum=0.9), momentum=0.9,
      view=recorder.view, projector_size=6, source_batch=size, warm_up=2,
    )  # fmt: skip
    source, _ = drawn()
    start = jax.jit(adapter.init)(source, jax.random.split(KEY)[0])
    ours, _, _ = say(adapter)
    fresh = adaptation.rmt(NETWORK, projector_size=6, source_batch=size)
    # The projector does not move in practice: nothing asks for it.
    projector = fresh.init(source, jax.random.split(KEY)[0]).lesson.pupil[1]
    cfg = config(tempfile.mkdtemp(), TEST={'BATCH_SIZE': size})
    batches = self.source_batches(size)
    module = benchmark('rmt', Loader(batches, size))
    rmt = functools.partial(module.RMT, cfg, self.peer(), K)
    with mock.patch.object(torch.nn, 'Linear', projector_layers(projector)):
      method = rmt()
    for name, p in method.model.named_parameters():
      np.testing.assert_allclose(
        p.detach(), to_torch(start.lesson.pupil.params[ours_of(name)]),
        atol=1e-9,
      )  # fmt: skip
    method.tta_transform = recorder.replay
    self.agree(ours, peer_says(method))

  @parameterized.parameters(False, True)
  def test_petal(self, at_random):
    recorder = Recorder()
    source, _ = drawn()
    params = adaptation.choose(source.variables, 'all')
    var = jax.tree.map(lambda p: 0.01 + p**2, params)
    ours, _, _ = say(
      adaptation.petal(
        NETWORK, adaptation.Posterior(source.variables, var),
        optax.sgd(0.05, momentum=0.9), momentum=0.9, strength=1e-3,
        share=None if at_random else 0.3, restore=0.1, threshold=2.0,
        view=recorder.view,
      )
    )  # fmt: skip
    extra = stubs(torchvision={}, torchvision__transforms={}, my_transforms={})
    petal = load('petal', 'cifar', 'petal', extra)
    peer, cov = petal.configure_model(self.peer()), peer_of(var)
    params, _ = petal.collect_params(peer)
    optimizer = torch.optim.SGD(params, lr=0.05, momentum=0.9)
    make = petal.PETALSRes if at_random else petal.PETALFim
    rest = {} if at_random else {'perc': 0.3}
    cuda = mock.patch.object(torch.Tensor, 'cuda', lambda self: self)
    with (
      mock.patch.object(petal, 'get_tta_transforms', lambda: recorder.replay),
      mock.patch.object(torch, 'rand', masks_of(peer)),
      cuda,
    ):
      method = make(
        peer, copy.deepcopy(peer), cov, optimizer, mt_alpha=0.9, rst_m=0.1,
        ap=2.0, spw=1e-3, **rest,
      )  # fmt: skip
      self.agree(ours, peer_says(method))

  def test_roid(self):
    adapter = adaptation.roid(
      NETWORK, optax.sgd(0.05, momentum=0.9), view=mirror, prior='logits',
    )  # fmt: skip
    ours, _, _ = say(adapter)
    method = benchmark('roid').ROID(config(), self.peer(), K)
    method.tta_transform = mirror_torch
    self.agree(ours, peer_says(method))

  def test_rotta(self):
    """Its entropies have 1e-6 in the logarithm: ages decide among equals."""
    adapter = adaptation.rotta(
      NETWORK, optax.sgd(0.05, momentum=0.9), view=mirror, momentum=0.9,
      num_places=16, update_every=16,
    )  # fmt: skip
    ours, said, _ = say(adapter)
    self.assertEqual(int((said.num_backward > 0).sum()), STEPS * ROWS // 16)
    module = benchmark('rotta')
    method = module.RoTTA(config(), self.peer(), K)
    method.transform = mirror_torch
    # Its own call passes one argument too many.
    loss = functools.partial(module.RoTTA.loss_calculation, method)
    method.loss_calculation = lambda x: loss()
    self.agree(ours, peer_says(method))


def mirror(key, images):
  del key
  return images[:, :, ::-1] * 0.9


def mirror_torch(images):
  return images.flip(3) * 0.9


if __name__ == '__main__':
  absltest.main()
