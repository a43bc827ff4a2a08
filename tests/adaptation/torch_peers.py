"""Published torch code of test-time adaptation, loaded for comparison.

`TTC_TTA_PEER` names a folder of checkouts: `test-time-adaptation`
(mariodoebler, 8b2ed63), `SAR` (mr-eggplant, 20f6e24), `petal` (dhanajitb,
ae61118). Without it, whoever imports this is skipped.
"""

import functools
import importlib
import os
import pathlib
import sys
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.adaptation import Batch, Source
from ttc.models.vision import convnet

torch = pytest.importorskip('torch')
PEERS = os.environ.get('TTC_TTA_PEER')
if not PEERS:
  pytest.skip('TTC_TTA_PEER names no checkouts', allow_module_level=True)

K, SIDE, ROWS, STEPS = 4, 8, 12, 20
KEY = jax.random.key(0)
NETWORK = convnet(K, (4, 8, 8), (1, 2, 1), (0.0,), (1.0,))


class Features(torch.nn.Module):
  """The layers of `NETWORK` below the head."""

  def __init__(self):
    super().__init__()
    widths, strides = (1, 4, 8, 8), (1, 2, 1)
    pairs = zip(widths[:-1], widths[1:], strides, strict=True)
    for i, (given, width, stride) in enumerate(pairs):
      conv = torch.nn.Conv2d(given, width, 3, stride, bias=False)
      setattr(self, f'conv{i}', conv)
      # Only the official code calls a last stage `layer4`.
      setattr(
        self, f'{"layer4_" * (i == 2)}norm{i}', torch.nn.BatchNorm2d(width)
      )

  def forward(self, x):
    norms = self.norm0, self.norm1, self.layer4_norm2
    for i, norm in enumerate(norms):
      pad = (0, 1, 0, 1) if i == 1 else (1, 1, 1, 1)
      conv = getattr(self, f'conv{i}')
      y = torch.relu(norm(conv(torch.nn.functional.pad(x, pad))))
      x = x + y if x.shape == y.shape else y
    return x.mean((2, 3))


class Peer(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.features, self.head = Features(), torch.nn.Linear(8, K)
    self.model_preprocess = None

  def forward(self, x):
    return self.head(self.features(x))


def ours_of(name):
  """The path of a torch parameter among ours."""
  name = name.replace('features.', '').replace('layer4_', '')
  layer, leaf = name.split('.')
  if 'norm' in layer:
    return f'{layer}/{"scale" if leaf == "weight" else "bias"}'
  return f'{layer}/{"kernel" if leaf == "weight" else "bias"}'


def to_torch(value):
  value = np.asarray(value, np.float64)
  order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim)
  value = value if order is None else value.transpose(order)
  return torch.tensor(value.copy())


def images_to_torch(images):
  return torch.tensor(np.asarray(images, np.float64).transpose(0, 3, 1, 2))


def peer_of(params):
  """A torch network with our parameters, and moments of nothing."""
  peer = Peer()
  with torch.no_grad():
    for name, p in peer.named_parameters():
      p.copy_(to_torch(params[ours_of(name)]))
  return peer


@functools.cache
def drawn():
  """Weights of a network that says different things, and a drifting stream."""
  keys = jax.random.split(KEY, 3)
  shape = (STEPS, ROWS, SIDE, SIDE, 1)
  images = jax.random.uniform(keys[0], shape, jnp.float64)
  tilt = jax.random.normal(keys[1], (STEPS, ROWS, 2), jnp.float64)
  ramp = jnp.linspace(-0.5, 0.5, SIDE)
  images += jnp.einsum('tbi,h->tbhi', tilt[..., :1], ramp)[..., None, :]
  images += jnp.einsum('tbi,w->tbwi', tilt[..., 1:], ramp)[:, :, None]
  drift = jnp.linspace(1, 0.5, STEPS).reshape(-1, 1, 1, 1, 1)
  images = jnp.clip(images, 0, 1) ** drift
  variables = NETWORK.init(keys[2], images[0])
  variables = jax.tree.map(lambda x: x.astype(jnp.float64), variables)
  head = variables['params']['head']
  features = NETWORK.apply(variables, images[0], 'batch').features
  head['kernel'] = 8 * head['kernel']
  head['bias'] = -jnp.mean(features, 0) @ head['kernel']
  known = jax.random.uniform(
    jax.random.key(2), (24, SIDE, SIDE, 1), jnp.float64
  )
  source = Source(variables, known, jnp.arange(24, dtype=jnp.int32) % K)
  return source, Batch(images, jnp.ones((STEPS, ROWS), bool))


def stubs(**modules):
  """Modules that the published code imports and does not need here."""
  made = {}
  for name, members in modules.items():
    module = types.ModuleType(name.replace('__', '.'))
    module.__dict__.update(members)
    module.__path__ = []
    made[module.__name__] = module
  return made


def load(repository, folder, name, extra):
  """One module of a checkout, beside stand-ins for what it imports."""
  root = pathlib.Path(PEERS) / repository / folder
  if not root.is_dir():
    pytest.skip(f'{root} is no folder')
  package = types.ModuleType('methods')
  package.__path__ = [str(root / 'methods')]
  before = set(sys.modules)
  with (
    mock.patch.dict(sys.modules, extra | {'methods': package}),
    mock.patch.object(sys, 'path', [str(root), *sys.path]),
  ):
    module = importlib.import_module(name)
    for loaded in set(sys.modules) - before:
      if loaded.split('.')[0] in ('methods', 'utils', 'sam', 'sar', 'petal'):
        del sys.modules[loaded]
  return module


def benchmark(name, loader=()):
  """A method of the benchmark."""
  compose = type('Compose', (), {})
  extra = stubs(
    torchvision={'transforms': types.SimpleNamespace(Compose=compose)},
    torchvision__transforms={'Compose': compose},
    models={},
    models__model={
      'ResNetDomainNet126': type('ResNetDomainNet126', (), {}),
      'split_up_model': lambda model, arch, data: (model.features, model.head),
    },
    datasets={},
    datasets__data_loading={
      'get_source_loader': lambda **options: (None, loader)
    },
    augmentations={},
    augmentations__transforms_cotta={
      'get_tta_transforms': lambda *args, **options: None
    },
  )
  return load(
    'test-time-adaptation', 'classification', f'methods.{name}', extra
  )


def config(directory='', **groups):
  """What the benchmark's methods read, for CIFAR."""
  space = types.SimpleNamespace
  base = {
    'MODEL': {'EPISODIC': False, 'RESET_AFTER_NUM_UPDATES': 0, 'ARCH': 'x',
              'ADAPTATION': 'x', 'CKPT_PATH': ''},
    'CORRUPTION': {'DATASET': 'cifar10_c'},
    'OPTIM': {'STEPS': 1, 'METHOD': 'SGD', 'LR': 0.05, 'MOMENTUM': 0.9,
              'DAMPENING': 0.0, 'WD': 0.0, 'NESTEROV': False, 'BETA': 0.9},
    'TEST': {'BATCH_SIZE': ROWS, 'WINDOW_LENGTH': 1, 'N_AUGMENTATIONS': 3},
    'SOURCE': {'NUM_SAMPLES': 24, 'PERCENTAGE': 1.0, 'NUM_WORKERS': 0},
    'EATA': {'MARGIN_E0': 0.4, 'D_MARGIN': 0.6, 'FISHER_ALPHA': 5.0},
    'M_TEACHER': {'MOMENTUM': 0.9},
    'COTTA': {'RST': 0.1, 'AP': 0.67},
    'SAR': {'RESET_CONSTANT_EM': 0.2},
    'ROID': {'USE_WEIGHTING': True, 'USE_PRIOR_CORRECTION': True,
             'USE_CONSISTENCY': True, 'MOMENTUM_SRC': 0.99,
             'MOMENTUM_PROBS': 0.9, 'TEMPERATURE': 1 / 3},
    'ROTTA': {'MEMORY_SIZE': 16, 'LAMBDA_T': 1.0, 'LAMBDA_U': 1.0, 'NU': 0.1,
              'UPDATE_FREQUENCY': 16, 'ALPHA': 0.05},
    'CONTRAST': {'MODE': 'all', 'TEMPERATURE': 0.1, 'PROJECTION_DIM': 6},
    'RMT': {'LAMBDA_CE_SRC': 1.0, 'LAMBDA_CE_TRG': 1.0, 'LAMBDA_CONT': 1.0,
            'NUM_SAMPLES_WARM_UP': 48},
  }  # fmt: skip
  for group, values in groups.items():
    base[group] = base[group] | values
  made = space(**{group: space(**values) for group, values in base.items()})
  made.DATA_DIR, made.CKPT_DIR, made.MIXED_PRECISION = '', directory, False
  return made


class Loader(list):
  """Batches over and over."""

  def __init__(self, batches, size):
    super().__init__(batches)
    self.batch_size = size


def projector_layers(projector):
  """What `torch.nn.Linear` makes: the two layers of our projector."""
  weights = [
    (projector.kernel0, projector.bias0),
    (projector.kernel1, projector.bias1),
  ]
  linear = torch.nn.Linear

  def make(given, size):
    layer = linear(given, size)
    kernel, bias = weights.pop(0)
    with torch.no_grad():
      layer.weight.copy_(to_torch(kernel))
      layer.bias.copy_(to_torch(bias))
    return layer

  return make


def masks_of(peer):
  """What `torch.rand` draws for restores: our draws, parameter by parameter."""
  names = [
    f'{module}.{leaf}'
    for module, m in peer.named_modules()
    for leaf, _ in m.named_parameters()
    if leaf in ('weight', 'bias')
  ]
  paths = sorted(ours_of(name) for name in names)
  _, key = jax.random.split(KEY)  # that of the stream
  calls = iter(range(STEPS * len(names)))

  def rand(shape):
    step, i = divmod(next(calls), len(names))
    _, restore_key = jax.random.split(jax.random.fold_in(key, step))
    leaf_key = jax.random.fold_in(restore_key, paths.index(ours_of(names[i])))
    back = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(shape)]
    drawn = jax.random.uniform(
      leaf_key, tuple(shape[j] for j in back), jnp.float32
    )
    return to_torch(drawn)

  return rand
