r"""What decoding takes on a slice of devices, before one is rented.

`D x M` devices hold `D` copies of a model, each split over `M`. Each copy
decodes its share `n` of the responses in step. A step reads the weights and the
caches, multiplies, and in each of `L` layers sums activations over the `M`
devices twice (tensor parallelism, 1909.08053), so it takes

.. math:: t = \frac{2 P n / M + F_\text{attn} / M}{\text{FLOP/s}}
    \oplus \frac{b P' / M + B_\text{KV}}{\text{bytes/s}}
    + \frac{2 (M - 1) / M \cdot 2 L \, n D_\text{model} b}{\text{link} / 2}

seconds, where :math:`\oplus` is a sum, as in Kinetics (2506.05333, eq. 4), or,
if reading and computing overlap, the larger one. `P` counts what one token
uses, `P'` what `n` tokens touch: of a mixture of experts more, and in memory
all. A ring sends those bytes while it receives as many: each way has half of a
link. Keys and values are split over `M` where that divides their heads, else
every device holds them all. Peaks are peaks: what is measured is slower.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from ttc.scaling.costs import ModelShape, prefill_flops
from ttc.scaling.hardware import HARDWARE, Hardware
from ttc.scaling.kinetics import DecodeCost, dense_cost, sparse_cost

_USABLE = 0.9  # of a memory; the rest is the program's own
_CORES_PER_CHIP = {'tpu_v5p': 2}  # whose slices are named by their cores


class Slice(NamedTuple):
  """Devices that are rented together."""

  hardware: Hardware
  num_devices: int


class Layout(NamedTuple):
  """How a model lies on a slice."""

  data: int  # copies of the model
  model: int  # devices of one copy


class Work(NamedTuple):
  """What is decoded at once.

  Attributes:
    prompt_tokens: of each problem, the context that it begins with.
    new_tokens: of each response.
    num_samples: `N`, responses to each problem; they share its prompt.
    num_problems: that are decoded together on the whole slice.
    kv_budget: tokens that a head attends to in a step; None for all.
    block_size: of the blocks that are chosen, if there is a budget.
  """

  prompt_tokens: int
  new_tokens: int
  num_samples: int
  num_problems: int = 1
  kv_budget: int | None = None
  block_size: int = 16


class Prediction(NamedTuple):
  """Of one layout; bytes and FLOPs are those of one device.

  Attributes:
    layout: the layout.
    param_bytes: of the weights in its memory.
    cache_bytes: of keys and values when the responses are at their ends.
    fits: whether both are within nine tenths of the memory.
    flops: of a decoding step in the middle of the responses.
    read_bytes: of that step.
    link_bytes: that it sends in that step; it receives as many.
    step_s: seconds of that step.
    prefill_s: seconds in which the prompts are read.
    tokens_per_s: of all devices, the prompts' reading included.
    usd_per_million_tokens: None without a price.
  """

  layout: Layout
  param_bytes: float
  cache_bytes: float
  fits: bool
  flops: float
  read_bytes: float
  link_bytes: float
  step_s: float
  prefill_s: float
  tokens_per_s: float
  usd_per_million_tokens: float | None


def parse_slice(name: str) -> Slice:
  """A slice by its usual name: `v5e-8`, `v5p-8` (four chips), `h100-8`.

  Raises:
    ValueError: naming the accepted ones.
  """
  kind, _, count = name.partition('-')
  known = {key.removeprefix('tpu_'): key for key in HARDWARE}
  if kind not in known or not count.isdecimal() or int(count) < 1:
    raise ValueError(
      f'{name!r} is not KIND-COUNT with a KIND of {sorted(known)}'
    )
  cores = _CORES_PER_CHIP.get(known[kind], 1)
  if int(count) % cores:
    raise ValueError(f'{name!r}: {kind} is counted in cores, {cores} to a chip')
  return Slice(HARDWARE[known[kind]], int(count) // cores)


def layouts(shape: ModelShape, devices: Slice) -> Iterator[Layout]:
  """Every way to split the devices over copies that the model allows."""
  most = min(shape.num_heads, devices.hardware.most_linked)
  for model in range(1, most + 1):
    divides = devices.num_devices % model == 0
    if divides and shape.num_heads % model == 0:
      yield Layout(devices.num_devices // model, model)


def predict(
  shape: ModelShape,
  embed_dim: int,
  devices: Slice,
  layout: Layout,
  work: Work,
  *,
  bytes_per_param: float = 2.0,
  combine: Literal['sum', 'max'] = 'sum',
) -> Prediction:
  """What a layout takes, by the formula of the module.

  Args:
    shape: numbers of the model.
    embed_dim: width of the activations that devices exchange.
    devices: the slice.
    layout: of the model on it; its product is the number of devices.
    work: what is decoded.
    bytes_per_param: 2 for bfloat16, 4 for float32.
    combine: how reading and computing add up.

  Returns:
    The prediction.

  Raises:
    ValueError: if the layout has not as many devices as the slice.
  """
  if layout.data * layout.model != devices.num_devices:
    raise ValueError(
      f'{layout} has not the {devices.num_devices} devices of the slice'
    )
  hardware, split = devices.hardware, layout.model
  prompt = np.array([work.prompt_tokens])
  problems = math.ceil(work.num_problems / layout.data)
  rows = problems * work.num_samples
  cost = _decode_cost(shape, work, rows)
  steps = work.new_tokens
  kv_split = split if shape.num_kv_heads % split == 0 else 1
  flops = problems * float(cost.flops) / steps / split
  reads = (
    problems * float(cost.param_bytes) * bytes_per_param / 2 / split
    + problems * float(cost.kv_bytes) / kv_split
  ) / steps
  activations = embed_dim * shape.bytes_per_element
  sent = 2 * (split - 1) / split * 2 * shape.num_layers * activations

  def seconds(flops, read_bytes, tokens):
    times = flops / hardware.flops, read_bytes / hardware.bandwidth
    busy = sum(times) if combine == 'sum' else max(times)
    return busy + (2 * tokens * sent / hardware.link if split > 1 else 0)

  step_s = seconds(flops, reads, rows)
  prompt_flops = problems * float(prefill_flops(shape, prompt)[0])
  prompt_tokens = problems * work.prompt_tokens
  param_bytes = bytes_per_param * _all_params(shape) / split
  prefill_s = seconds(prompt_flops / split, param_bytes, prompt_tokens)
  tokens = work.num_problems * work.num_samples * steps
  total_s = prefill_s + steps * step_s
  cached = prompt_tokens + rows * steps
  cache_bytes = shape.kv_bytes_per_token / kv_split * cached
  usd = None
  if hardware.price is not None:
    hours = total_s / 3600 * devices.num_devices
    usd = 1e6 / tokens * hours * hardware.price
  return Prediction(
    layout=layout,
    param_bytes=param_bytes,
    cache_bytes=cache_bytes,
    fits=param_bytes + cache_bytes <= _USABLE * hardware.memory,
    flops=flops,
    read_bytes=reads,
    link_bytes=rows * sent,
    step_s=step_s,
    prefill_s=prefill_s,
    tokens_per_s=tokens / total_s,
    usd_per_million_tokens=usd,
  )


def best(predictions: list[Prediction]) -> Prediction | None:
  """The fastest that fits; None if none does."""
  fitting = [p for p in predictions if p.fits]
  return max(fitting, key=lambda p: p.tokens_per_s, default=None)


def _decode_cost(shape: ModelShape, work: Work, rows: int) -> DecodeCost:
  """Of the responses to one problem, where so many rows decode together."""
  lengths = work.prompt_tokens, work.new_tokens
  if work.kv_budget is None:
    return dense_cost(
      shape, *lengths, work.num_samples, include_param_reads=rows
    )
  return sparse_cost(
    shape,
    *lengths,
    work.kv_budget,
    work.num_samples,
    block_size=work.block_size,
    include_param_reads=rows,
  )


def _all_params(shape: ModelShape) -> int:
  unread = shape.num_experts - shape.top_k
  return shape.num_params + shape.expert_params * unread
