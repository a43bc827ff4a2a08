"""Windows of attention as Hugging Face's configs spell them, both ways."""

from collections.abc import Callable, Mapping
from typing import Any

from ttc.models import fields
from ttc.models.transformer_config import TransformerConfig


def read_windows(
  values: Mapping[str, Any], architecture: str, file: str
) -> dict[str, Any]:
  """The sliding window, and the layers that have it.

  Args:
    values: the config.
    architecture: Llama's, Mistral's, Qwen's or that of a mixture of experts.
    file: for the error's line.

  Returns:
    `sliding_window` and `windowed_layers`, as far as there is something to say.
  """
  family = architecture.removesuffix('ForCausalLM')
  # Null is no window, and 0 where transformers writes it for none; a missing
  # one has the architecture's default.
  default = None if family == 'Mixtral' else 4096
  low = 0 if family in ('Qwen2Moe', 'Qwen3Moe') else 1
  window = (
    fields.integer(values, 'sliding_window', file, None, low=low)
    if 'sliding_window' in values
    else default
  )
  if family in ('Mistral', 'Mixtral'):
    return {'sliding_window': window}
  if family in ('Llama', 'Olmoe') or not window:
    return {}
  if not fields.boolean(values, 'use_sliding_window', file, False):
    return {}
  if family == 'Qwen3Moe':
    return {'sliding_window': window}
  windowed = _listed(values, file)
  if windowed is None:
    num_layers = fields.integer(values, 'num_hidden_layers', file)
    border = fields.integer(values, 'max_window_layers', file, 28, low=0)
    windowed = range(border, num_layers)
    if family == 'Qwen2Moe':  # every other layer before the border
      windowed = range(0, min(border, num_layers), 2)
  return {'sliding_window': window, 'windowed_layers': tuple(windowed)}


def read_alternating(
  values: Mapping[str, Any],
  file: str,
  has_window: Callable[[int], bool],
  default: int | None = 4096,
) -> dict[str, Any]:
  """The same where some layers have a window by the architecture's own rule.

  Args:
    values: the config, whose `layer_types` beat the rule.
    file: for the error's line.
    has_window: whether a layer has one.
    default: where the config does not say; null is an error then.

  Returns:
    `sliding_window` and `windowed_layers`; nothing where no layer has one.
  """
  count = fields.integer(values, 'num_hidden_layers', file)
  layers = _listed(values, file)
  if layers is None:
    layers = [i for i in range(count) if has_window(i)]
  if not layers:
    return {}
  window = fields.integer(values, 'sliding_window', file, default)
  if window is None:
    return {}
  layers = None if len(layers) == count else tuple(layers)
  return {'sliding_window': window, 'windowed_layers': layers}


def window_values(config: TransformerConfig) -> dict[str, Any]:
  """What `config.json` says of windows."""
  c = config
  layers = range(c.num_layers)
  if c.windowed_layers is not None:
    layers = c.windowed_layers
  if c.sliding_window is None:
    layers = ()
  kinds = ('full_attention', 'sliding_attention')
  return {
    'use_sliding_window': c.sliding_window is not None,
    'sliding_window': c.sliding_window,
    'layer_types': [kinds[i in layers] for i in range(c.num_layers)],
  }


def _listed(values: Mapping[str, Any], file: str) -> list[int] | None:
  """The layers whose attention has a window, by `layer_types`; None if null."""
  kinds = values.get('layer_types')
  if kinds is None:
    return None
  count = fields.integer(values, 'num_hidden_layers', file)
  if not isinstance(kinds, list) or len(kinds) != count:
    raise ValueError(
      f'{file}: layer_types is not a list of num_hidden_layers={count}'
    )
  known = ('full_attention', 'sliding_attention')
  for kind in kinds:
    if kind not in known:
      raise ValueError(
        f'{file}: layer_types {kind!r} is not one of {", ".join(known)}'
      )
  return [i for i, kind in enumerate(kinds) if kind == 'sliding_attention']
