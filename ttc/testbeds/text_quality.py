"""Texts of unequal worth: what Python's standard library holds.

A pool of pieces of 256 characters: prose (the language's help texts), program
code, tables of character sets, and each of them spoiled by shuffled words or
repetition. Rules rate each piece; a small model of characters is trained on
what a rating selects and judged on prose that is not in the pool. Which texts
there are depends on the version of Python.
"""

import functools
import itertools
import pathlib
import pydoc_data.topics
import random
import re
import sysconfig
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ttc import finetuning, models

PIECE = 256  # characters
_OF_A_KIND = 240  # pieces
_HELD_OUT = 64
_ROW = 64  # characters that a proxy reads at once
_BATCH = 16  # rows of a step
_CHARACTERS = 128

# What rates a piece, by name: simple counts, as web corpora are filtered by.
SIGNALS = (
  'letters', 'digits', 'punctuation', 'capitals', 'spaces', 'word length',
  'distinct words', 'common words', 'compressed size', 'line length',
  'sentence ends', 'repeated words',
)  # fmt: skip
_COMMON = frozenset(
  'the of and to a in is that for it as with be on are by this an or if'.split()
)

_PROXY = models.transformer(
  models.TransformerConfig(
    vocab_size=_CHARACTERS, num_layers=1, embed_dim=32, mlp_dim=64,
    num_heads=2, num_kv_heads=2, head_dim=16, max_length=_ROW, many_rows=True,
  )
)  # fmt: skip


@functools.cache
def pool(seed: int) -> tuple[list[str], list[str]]:
  """Pieces to choose from, and pieces of prose that are held out."""
  draw = random.Random(f'text quality/{seed}')
  library = pathlib.Path(sysconfig.get_paths()['stdlib'])
  prose = _pieces('\n'.join(pydoc_data.topics.topics.values()), draw)
  code = _pieces(_read(sorted((library / 'json').glob('*.py'))
                       + sorted(library.glob('[a-h]*.py'))), draw)  # fmt: skip
  tables = _pieces(_read(sorted((library / 'encodings').glob('cp*.py'))), draw)
  held_out, prose = prose[:_HELD_OUT], prose[_HELD_OUT:]
  kinds = [part[:_OF_A_KIND] for part in (prose, code, tables)]
  spoiled = [_shuffled(x, draw) for x in prose[_OF_A_KIND : 2 * _OF_A_KIND]]
  repeated = [_repeated(x, draw) for x in prose[-_OF_A_KIND:]]
  pieces = [piece for kind in (*kinds, spoiled, repeated) for piece in kind]
  draw.shuffle(pieces)
  return pieces, held_out


def ratings(pieces: list[str]) -> Float[np.ndarray, 'docs m']:
  """Each signal of each piece."""
  return np.array([_rate(piece) for piece in pieces], np.float32)


def to_tokens(pieces: list[str]) -> Int[np.ndarray, 'docs T']:
  """Characters, those beyond ASCII as 0."""
  rows = [
    [ord(c) if ord(c) < _CHARACTERS else 0 for c in piece] for piece in pieces
  ]
  return np.array(rows, np.int32)


def train_proxies(
  tokens: Int[Array, 'docs T'],
  held_out: Int[Array, 'H T'],
  chosen: Int[Array, 'N count'],
  seed: int,
  num_steps: int = 200,
  at_once: int = 16,
) -> Float[Array, ' N']:
  """Losses on what is held out, in nats per character, by row of documents.

  Args:
    tokens: of all pieces.
    held_out: of what proxies are judged on.
    chosen: pieces of each proxy.
    seed: of initial parameters and batches, the same for all proxies.
    num_steps: of each.
    at_once: proxies side by side.
  """
  optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, num_steps))
  loss = lambda params, rows: finetuning.next_token_loss(
    _PROXY, params, rows, jnp.ones(rows.shape, bool)
  )
  train_step = finetuning.make_train_step(loss, optimizer)
  judged = held_out.reshape(-1, _ROW)

  def one(documents):
    rows = tokens[documents].reshape(-1, _ROW)
    batch = lambda key: rows[jax.random.randint(key, (_BATCH,), 0, len(rows))]
    state = finetuning.init_state(_PROXY.init, optimizer, jax.random.key(seed))
    state, _ = finetuning.run_steps(train_step, batch, state, num_steps)
    return loss(state.params, judged)

  return jax.lax.map(one, chosen, batch_size=at_once)


def _read(paths):
  return '\n'.join(p.read_text(encoding='utf-8') for p in paths)


def _pieces(text, draw):
  """Disjoint pieces in random order."""
  starts = range(0, len(text) - PIECE, PIECE)
  pieces = [text[i : i + PIECE] for i in starts]
  draw.shuffle(pieces)
  return pieces


def _shuffled(piece, draw):
  """Its characters within each word in another order."""
  mix = lambda match: ''.join(draw.sample(match[0], len(match[0])))
  return re.sub(r'\w+', mix, piece)


def _repeated(piece, draw):
  """A few characters over and over."""
  start, length = draw.randrange(200), draw.randrange(4, 24)
  return (piece[start : start + length] * PIECE)[:PIECE]


def _rate(piece):
  words = re.findall(r'[A-Za-z]+', piece.lower())
  lines = [line for line in piece.splitlines() if line.strip()] or ['']
  share = lambda test: sum(map(test, piece)) / len(piece)
  num_words = max(len(words), 1)
  return (
    share(str.isalpha),
    share(str.isdigit),
    share(lambda c: not c.isalnum() and not c.isspace()),
    share(str.isupper),
    share(str.isspace),
    sum(map(len, words)) / num_words,
    len(set(words)) / num_words,
    sum(word in _COMMON for word in words) / num_words,
    len(zlib.compress(piece.encode())) / len(piece),
    sum(map(len, lines)) / len(lines),
    sum(line.rstrip().endswith(('.', '?', '!')) for line in lines) / len(lines),
    sum(a == b for a, b in itertools.pairwise(words)) / num_words,
  )
