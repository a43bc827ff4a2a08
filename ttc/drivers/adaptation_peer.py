"""TENT, EATA and CoTTA of a public torch library, on our networks.

mariodoebler/test-time-adaptation, commit 8b2ed63: a checkout has to be there,
and torch on the Python that runs this. What it asks for beside torch is
replaced: views are the image itself, as on our side, and its readers of data
are not used.
"""

import os
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from ttc.models.vision.classifier import Variables

METHODS = {'tent': 'Tent', 'eata': 'EATA', 'cotta': 'CoTTA'}


def make_peer(
  name: str,
  checkout: str | os.PathLike[str],
  variables: Variables,
  source: Float[np.ndarray, 'n H W C'],
  moments: tuple[float, float],
  strides: tuple[int, ...],
  num_views: int,
) -> Callable[[Any], Any]:
  """A method of the peer, `images [B, C, H, W] -> logits`, in torch.

  Args:
    name: 'tent', 'eata' or 'cotta'.
    checkout: directory of the peer.
    variables: of a `convnet`.
    source: images for EATA's Fisher information.
    moments: mean and standard deviation that images are normalised with.
    strides: of the convolutions.
    num_views: of CoTTA.

  Raises:
    FileNotFoundError: if the directory holds something else.
    ImportError: without torch.
  """
  place = pathlib.Path(checkout) / 'classification'
  if not (place / 'methods' / f'{name}.py').is_file():
    raise FileNotFoundError(
      f'{checkout} does not hold classification/methods/{name}.py of '
      'mariodoebler/test-time-adaptation'
    )
  try:
    import torch
  except ImportError:
    raise ImportError('the peer needs torch: pip install torch') from None
  batches = [to_torch(x) for x in source.reshape(-1, 100, *source.shape[1:])]
  _replace_imports(str(place), [(batch,) for batch in batches])
  module = __import__(f'methods.{name}', fromlist=['x'])
  network = _network(torch, variables, moments, strides)
  kind = getattr(module, METHODS[name])
  return kind(_config(num_views, len(source)), network, 10)


def to_torch(images: Float[np.ndarray, 'B H W C']) -> Any:
  """Images as torch orders them."""
  import torch

  return torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _network(torch, variables, moments, strides):
  """Our network with our weights."""
  nn = torch.nn
  params = variables['params']
  kernels = [
    np.asarray(params[f'conv{i}']['kernel']) for i in range(len(strides))
  ]

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
      for kernel, stride in zip(kernels, strides, strict=True):
        _, _, given, width = kernel.shape
        self.convs.append(nn.Conv2d(given, width, 3, stride, bias=False))
        self.norms.append(nn.BatchNorm2d(width))
      self.head = nn.Linear(kernels[-1].shape[-1], 10)
      self.model_preprocess = None

    def forward(self, x):
      x = (x - moments[0]) / moments[1]
      for conv, norm, stride in zip(
        self.convs, self.norms, strides, strict=True
      ):
        # As XLA's 'SAME': with stride 2 an even side is padded at its end.
        pad = (1, 1, 1, 1) if stride == 1 or x.shape[-1] % 2 else (0, 1, 0, 1)
        y = torch.relu(norm(conv(nn.functional.pad(x, pad))))
        x = x + y if x.shape == y.shape else y
      return self.head(x.mean((2, 3)))

  net = Net()
  with torch.no_grad():
    for i, kernel in enumerate(kernels):
      net.convs[i].weight.copy_(_copy(torch, kernel.transpose(3, 2, 0, 1)))
      norm = params[f'norm{i}']
      net.norms[i].weight.copy_(_copy(torch, norm['scale']))
      net.norms[i].bias.copy_(_copy(torch, norm['bias']))
    net.head.weight.copy_(_copy(torch, np.asarray(params['head']['kernel']).T))
    net.head.bias.copy_(_copy(torch, params['head']['bias']))
  return net


def _copy(torch, values):
  return torch.tensor(np.array(values, np.float32))


def _replace_imports(place, batches):
  """Puts stand-ins where the peer imports what is not there."""

  def module(name, **names):
    found = types.ModuleType(name)
    for key, value in names.items():
      setattr(found, key, value)
    sys.modules[name] = found
    return found

  nothing = type('Nothing', (), {})
  functional = module('torchvision.transforms.functional')
  transforms = module(
    'torchvision.transforms',
    functional=functional,
    Compose=nothing,
    ColorJitter=nothing,
    Lambda=nothing,
  )
  module('torchvision', transforms=transforms)
  model = module('models.model', ResNetDomainNet126=nothing)
  module('models', model=model)
  loading = module(
    'datasets.data_loading', get_source_loader=lambda **_: (None, batches)
  )
  module('datasets', data_loading=loading)
  views = module(
    'augmentations.transforms_cotta',
    get_tta_transforms=lambda *_: lambda images: images,
  )
  module('augmentations', transforms_cotta=views)
  # Its package imports every method, with all that they need.
  module('methods').__path__ = [f'{place}/methods']
  if place not in sys.path:
    sys.path.insert(0, place)


def _config(num_views, num_source):
  """What the peer reads from a file."""
  space = types.SimpleNamespace
  return space(
    MIXED_PRECISION=False,
    DATA_DIR='',
    MODEL=space(
      EPISODIC=False, RESET_AFTER_NUM_UPDATES=0, ADAPTATION='', CKPT_PATH=''
    ),
    CORRUPTION=space(DATASET='cifar10_c'),
    OPTIM=space(STEPS=1, METHOD='Adam', LR=1e-3, BETA=0.9, WD=0.0),
    TEST=space(WINDOW_LENGTH=1, BATCH_SIZE=100, N_AUGMENTATIONS=num_views),
    SOURCE=space(NUM_SAMPLES=num_source, PERCENTAGE=1.0, NUM_WORKERS=1),
    EATA=space(MARGIN_E0=0.4, D_MARGIN=0.4, FISHER_ALPHA=1.0),
    M_TEACHER=space(MOMENTUM=0.999),
    COTTA=space(RST=0.01, AP=0.92),
  )
