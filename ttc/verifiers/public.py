"""Public verifiers: loaded from Hugging Face directories by their config.

What a directory holds says its `config.json` (or `verifier.json`, see
`kinds.py`). Two outputs of a head are folded into one, the difference, whose
sigmoid is the softmax of the second; so is a head over tokens, of which two
words matter.
"""

import functools
import json
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ttc.models import fields
from ttc.models.base import LanguageModel
from ttc.models.load import Loaded, load
from ttc.models.safetensors import architecture_in, load_beneath
from ttc.models.save_safetensors import OtherHead, save_safetensors
from ttc.models.tokenizer import Tokenizer
from ttc.models.tokenizer_files import tokenizer_from_directory
from ttc.models.transformer import transformer
from ttc.models.transformer_config import TransformerConfig
from ttc.types import Params
from ttc.verifiers.implicit import log_ratios, step_rewards
from ttc.verifiers.kinds import (
  KIND_FILE,
  Kind,
  decoder_of,
  kind_of,
  to_values,
)
from ttc.verifiers.reward_model import head_logits, token_features
from ttc.verifiers.written import Reading, Writer


class Verifier(NamedTuple):
  """A verifier that is ready to read.

  Attributes:
    model: static.
    params: `{'model': ..., 'head': ...}`, or of two models `'reference'`. To
      compile a function that takes them as an argument, put them back with
      `verifier._replace(params=params)`.
    write: text to tokens, and where they are read.
    name: as it was asked for.
    reference: the other model of an implicit process reward; else None.
  """

  model: LanguageModel
  params: Params
  write: Writer
  name: str
  reference: LanguageModel | None = None

  @property
  def kind(self) -> Kind:
    """How it is built, what it is shown and where it is read."""
    return self.write.kind


def load_verifier(
  path: str | os.PathLike,
  kind: str | None = None,
  *,
  reference: str | os.PathLike | None = None,
  dtype: str = 'float32',
  scan_layers: bool = False,
) -> Verifier:
  """Loads a verifier with its tokenizer.

  Args:
    path: of a Hugging Face directory; with a `kind` that reads the head over
      tokens, whatever `models.load` takes.
    kind: a name of `KINDS`; None for what the directory says it is.
    reference: the other model of an implicit process reward, as `models.load`
      takes it.
    dtype: of parameters and activations; heads are float32.
    scan_layers: see `TransformerConfig`.

  Returns:
    The verifier.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: naming what does not fit and what is accepted: an architecture
      that is no verifier, a token that the tokenizer lacks, a head of another
      width.
  """
  path = os.fspath(path)
  found = _kind_at(path, kind)
  if (reference is None) != (found.beta is None):
    raise ValueError(
      f'{path}: an implicit process reward has a reference, and nothing else '
      f'has; reference={reference!r}'
    )
  settings = {'dtype': dtype, 'scan_layers': scan_layers}
  if found.tensors is not None:
    decoder = decoder_of(architecture_in(path))
    config, below, tensors = load_beneath(
      path, decoder, list(found.tensors.values()), **settings
    )
    head = _head(found, tensors, config.embed_dim, path)
    writer = _writer(found, tokenizer_from_directory(path), path)
    params = {'model': below, 'head': head}
    return Verifier(transformer(config), params, writer, path)
  loaded = load(path, **settings)
  writer = _writer(found, loaded.tokenizer, path)
  if reference is None:
    params = {'model': loaded.params, 'head': _words_head(found, loaded)}
    return Verifier(loaded.model, params, writer, path)
  other = load(os.fspath(reference), **settings)
  if other.tokenizer is None or other.tokenizer.sha != writer.tokenizer.sha:
    raise ValueError(
      f'{path} and its reference {reference} must have one tokenizer'
    )
  params = {'model': loaded.params, 'reference': other.params}
  return Verifier(loaded.model, params, writer, path, other.model)


def _kind_at(path: str, name: str | None) -> Kind:
  """The kind of what is at a path."""
  if os.path.isfile(os.path.join(path, 'config.json')):
    return kind_of(path, architecture_in(path), name)
  if not os.path.exists(path) and os.sep in path:
    raise FileNotFoundError(f'{path}: no such directory')
  # No config.json says what it is: a language model, or nothing.
  return kind_of(path, 'a model without config.json', name)


def step_scores_of(
  verifier: Verifier, reading: Reading
) -> Float[Array, 'B N S']:
  """The score of each step, `[B, N, S]`; what it is not read at means nothing.

  Args:
    verifier: its functions are static.
    reading: what it reads, see `written.arrange`.

  Returns:
    As `kind.link` has them: logits, chances, or implicit rewards.
  """
  kind, model, reference = verifier.kind, verifier.model, verifier.reference
  return _step_scores(
    model, reference, kind.beta, kind.link, verifier.params, reading
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), inline=True)
def _step_scores(model, reference, beta, link, params, reading):
  prompt, tokens, lengths = reading[:3]
  if reference is not None:
    pair = model, params['model'], reference, params['reference']
    ratios = log_ratios(*pair, prompt, tokens, lengths)
    return step_rewards(ratios, reading.starts, reading.reads, beta)
  features = step_features(model, params['model'], reading)
  logits = head_logits(params['head'], features)
  return jax.nn.sigmoid(logits) if link == 'sigmoid' else logits


def step_features(
  model: LanguageModel, params: Params, reading: Reading
) -> Float[Array, 'B N S D']:
  """What a head reads of each step.

  Args:
    model: static.
    params: of the model, without a head.
    reading: what it reads, see `written.arrange`.

  Returns:
    Features; of what is no step they mean nothing.
  """
  prompt, tokens, lengths = reading[:3]
  features = token_features(model, params, prompt, tokens, lengths)
  return jnp.take_along_axis(features, reading.reads[..., None], axis=2)


def save_verifier(
  path: str | os.PathLike,
  name: str,
  kind: Kind,
  config: TransformerConfig,
  params: Params,
  tokenizer: Tokenizer,
  *,
  like: str | os.PathLike | None = None,
) -> None:
  """Writes a directory that `load_verifier` reads.

  So does transformers, where it has such a head.

  Args:
    path: of the directory, which is made.
    name: of `KINDS`, of a kind with tensors of its own.
    kind: it, with other texts perhaps.
    config: of the decoder.
    params: `{'model': ..., 'head': ...}`.
    tokenizer: of both.
    like: directory whose tokenizer files are copied, chat template included;
      a verifier that reads a chat needs one.

  Raises:
    ValueError: if no architecture of Hugging Face is this decoder.
  """
  assert kind.tensors is not None and kind.architecture is not None, name
  head = params['head']
  rows = lambda x: np.stack([np.zeros_like(x), x][-kind.width :])
  arrays = {
    'kernel': rows(np.asarray(head['kernel'], np.float32)),
    'bias': rows(np.asarray(head['bias'], np.float32)),
  }
  for part, x in head.get('hidden', {}).items():
    arrays[f'hidden.{part}'] = np.asarray(x, np.float32)
  save_safetensors(
    path,
    config,
    params['model'],
    tokenizer=tokenizer,
    like=like,
    head=OtherHead(
      kind.architecture.removeprefix('*'),
      {tensor: arrays[part] for part, tensor in kind.tensors.items()},
    ),
  )
  text = json.dumps(to_values(name, kind), indent=2)
  with open(os.path.join(path, KIND_FILE), 'w', encoding='utf-8') as file:
    file.write(text + '\n')


def _head(
  kind: Kind, tensors: dict[str, np.ndarray], embed_dim: int, path: str
) -> Params:
  """The head as `head_logits` reads it; two outputs become one."""
  assert kind.tensors is not None
  array = {name: tensors[tensor] for name, tensor in kind.tensors.items()}
  wanted = {
    'hidden.kernel': (embed_dim, embed_dim),
    'hidden.bias': (embed_dim,),
    'kernel': (kind.width, embed_dim),
    'bias': (kind.width,),
  }
  for name, x in array.items():
    if x.shape != wanted[name]:
      raise ValueError(
        f'{path}: head {kind.tensors[name]!r} has shape {x.shape}; such a '
        f'verifier has {wanted[name]}'
      )
  one = lambda x: x[0] if kind.width == 1 else x[1] - x[0]
  bias = array.get('bias', np.zeros(kind.width, np.float32))
  head: dict[str, Any] = {'kernel': one(array['kernel']), 'bias': one(bias)}
  if 'hidden.kernel' in array:
    head['hidden'] = {
      'kernel': array['hidden.kernel'],
      'bias': array['hidden.bias'],
    }
  return jax.tree.map(jnp.asarray, head)


def _words_head(kind: Kind, loaded: Loaded) -> Params:
  """The difference of the logits of two words, as a head of width one."""
  assert loaded.tokenizer is not None
  good, bad = (one_token(loaded.tokenizer, w, loaded.name) for w in kind.words)

  def difference(feature):
    logits = loaded.model.logits(loaded.params, feature)
    return logits[good] - logits[bad]

  size, dtype = loaded.config.embed_dim, loaded.config.dtype
  kernel = jax.grad(difference)(jnp.zeros(size, dtype)).astype(jnp.float32)
  far = 30 * jax.random.normal(jax.random.key(0), (size,), dtype)
  expected = difference(far)
  error = jnp.abs(far.astype(jnp.float32) @ kernel - expected)
  if error > 0.05 * jnp.maximum(jnp.abs(expected), 1.0):
    raise ValueError(
      f'{loaded.name}: its logits are no linear function of its features (a '
      'soft-cap); reading two words needs one'
    )
  return {'kernel': kernel, 'bias': jnp.zeros((), jnp.float32)}


def _writer(kind: Kind, tokenizer: Tokenizer | None, path: str) -> Writer:
  """What writes for the verifier; all that it needs must be there."""
  if tokenizer is None:
    raise ValueError(f'{path}: a verifier needs its tokenizer.json')
  is_chat = kind.messages[0][0] != 'text'
  if is_chat and tokenizer.layout is None and tokenizer.template is None:
    raise ValueError(
      f'{path}: the verifier reads a chat, and its tokenizer has no chat '
      'template'
    )
  mark_id = one_token(tokenizer, kind.mark, path) if kind.mark else None
  front = tokenizer.bos_ids
  if kind.front == 'named':
    file = os.path.join(path, 'tokenizer_config.json')
    named = fields.read_json_if_there(file).get('bos_token')
    named = named.get('content') if isinstance(named, dict) else named
    front = [one_token(tokenizer, named, path)] if named else []
  return Writer(kind, tokenizer, mark_id, tuple(front))


def one_token(tokenizer: Tokenizer, text: str, path: str) -> int:
  """The token that a text is."""
  ids = tokenizer.encode(text, allow_special=True)
  if len(ids) != 1:
    raise ValueError(
      f'{path}: {text!r} is {len(ids)} tokens of its tokenizer; the verifier '
      'needs it to be one'
    )
  return ids[0]
