"""The U-Net in torch, and the loop of diffusers that samples with it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ttc.diffusion import Model


def peer_sampler(
  model: Model, num_images: int, num_steps: int, label: int, threads: int = 0
) -> tuple[Callable[[], Any], Callable[[Any, float], Any]]:
  """A loop over diffusers' Euler steps of a flow, on torch's CPU.

  Args:
    model: a U-Net that answers with velocities.
    num_images: drawn side by side.
    num_steps: `T`.
    label: of all of them.
    threads: of torch; 0 for as many as it takes.

  Returns:
    `draw() -> images`, and `predict(images, time) -> velocity` on numpy arrays.

  Raises:
    ImportError: naming the extra, without torch or diffusers.
  """
  try:
    import diffusers
    import torch
  except ImportError:
    raise ImportError(
      "the peer needs diffusers and torch: pip install 'ttc-jax[peers]'"
    ) from None
  if threads:
    torch.set_num_threads(threads)
  network = _UNet(torch, model.params['params'])
  labels = torch.full((num_images,), label)

  @torch.inference_mode()
  def draw():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(
      sigmas=np.linspace(1, 1 / num_steps, num_steps).tolist()
    )
    x = torch.randn(num_images, 1, 28, 28)
    for t in scheduler.timesteps:
      times = (t / 1000).expand(num_images)
      x = scheduler.step(network(x, times, labels), t, x).prev_sample
    return x

  @torch.inference_mode()
  def predict(images, time):
    x = torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)
    times = torch.full((x.shape[0],), time)
    out = network(x, times, labels[:1].expand(x.shape[0]))
    return out.permute(0, 2, 3, 1).numpy()

  return draw, predict


class _UNet:
  """`ttc.models.vision.unet.UNet` on torch tensors, from Flax parameters."""

  def __init__(self, torch, params):
    self.torch, self.f = torch, torch.nn.functional
    self.params = _tensors(torch, params)

  def __call__(self, x, time, labels):
    p, f = self.params, self.f
    condition = self._condition(p['Condition_0'], time, labels)
    x = self._conv(p['Conv_0'], f.pixel_unshuffle(x, 2))
    x = first = self._block(p['_Block_0'], x, condition)
    x = second = self._block(p['_Block_1'], x, condition)
    x = self._conv(p['Conv_1'], x, 2)
    x = self._block(p['_Block_2'], x, condition)
    x = self._attend(x) + x
    x = self._block(p['_Block_3'], x, condition)
    x = self._conv(p['Conv_2'], f.interpolate(x, scale_factor=2))
    for name, skip in (('_Block_4', second), ('_Block_5', first)):
      x = self._block(p[name], self.torch.cat([x, skip], 1), condition)
    x = f.silu(self._norm(p['GroupNorm_1'], x))
    return f.pixel_shuffle(self._conv(p['Conv_3'], x), 2)

  def _condition(self, p, time, labels):
    torch, f = self.torch, self.f
    num = p['Dense_0']['kernel'].shape[0]
    speeds = torch.exp(torch.linspace(0.0, float(np.log(1000)), num // 2))
    angles = time[:, None] * speeds
    x = torch.cat([angles.sin(), angles.cos()], 1)
    x = self._dense(p['Dense_0'], x) + p['Embed_0']['embedding'][labels]
    return f.silu(self._dense(p['Dense_1'], f.silu(x)))

  def _block(self, p, x, condition):
    f = self.f
    given = x
    x = self._conv(p['Conv_0'], f.silu(self._norm(p['GroupNorm_0'], x)))
    both = self._dense(p['Dense_0'], condition)[:, :, None, None]
    scale, shift = both.chunk(2, 1)
    x = f.silu(self._norm(p['GroupNorm_1'], x) * (1 + scale) + shift)
    x = self._conv(p['Conv_1'], x)
    if 'Dense_1' in p:
      given = self._dense(p['Dense_1'], given.movedim(1, -1)).movedim(-1, 1)
    return given + x

  def _attend(self, x):
    p = self.params
    x = self._norm(p['GroupNorm_0'], x)
    tokens = x.flatten(2).transpose(1, 2)
    q, k, v = self._dense(p['Dense_0'], tokens).chunk(3, -1)
    mixed = self.f.scaled_dot_product_attention(q, k, v)
    out = self._dense(p['Dense_1'], mixed)
    return out.transpose(1, 2).reshape(x.shape)

  def _dense(self, p, x):
    return x @ p['kernel'] + p['bias']

  def _norm(self, p, x):
    return self.f.group_norm(x, 8, p['scale'], p['bias'], 1e-6)

  def _conv(self, p, x, stride=1):
    kernel = p['kernel']  # [O, C, 3, 3]
    pad = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)  # as XLA's SAME
    x = self.f.pad(x, pad)
    return self.f.conv2d(x, kernel, p['bias'], stride)


def _tensors(torch, params, name=''):
  """Nested dictionaries of tensors, kernels of convolutions turned."""
  if isinstance(params, dict):
    return {k: _tensors(torch, x, k) for k, x in params.items()}
  array = np.asarray(params, np.float32)
  if name == 'kernel' and array.ndim == 4:
    array = array.transpose(3, 2, 0, 1)
  return torch.tensor(array)
