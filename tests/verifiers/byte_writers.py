"""Writers whose tokens are bytes, so that positions are counted by hand."""

import pytest

from ttc import models
from ttc.models.chat import CHAT_LAYOUTS
from ttc.verifiers import kinds, written

tokenizers = pytest.importorskip('tokenizers')

CONTROL = ['<|im_start|>', '<|im_end|>', '<extra_0>', '<s>']
WORDS = ['ки', ' Yes', ' No']


def byte_level(merged=(), control=CONTROL):
  """A backend whose tokens are bytes, texts that are `merged`, and controls."""
  letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  vocab = {letter: i for i, letter in enumerate(letters)}
  show = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  merges = []
  for word in merged:
    ((shown, _),) = show.pre_tokenize_str(word)
    for i in range(1, len(shown)):
      pair = shown[:i], shown[i]
      if ''.join(pair) not in vocab:
        vocab[''.join(pair)] = len(vocab)
        merges.append(pair)
  backend = tokenizers.Tokenizer(
    tokenizers.models.BPE(vocab=vocab, merges=merges)
  )
  backend.pre_tokenizer = show
  backend.decoder = tokenizers.decoders.ByteLevel()
  backend.add_special_tokens(control)
  return backend


def tokenizer(merged=(), control=CONTROL, layout='chatml'):
  return models.Tokenizer(
    byte_level(merged, control), layout=CHAT_LAYOUTS[layout]
  )


def writer(name, merged=(), front=(), **changes):
  codec = tokenizer(merged)
  kind = kinds.KINDS[name]._replace(**changes)
  mark = None
  if kind.mark:
    (mark,) = codec.encode(kind.mark, allow_special=True)
  return written.Writer(kind, codec, mark, front)


def show(writer, result):
  """The text up to each place that is read, and behind the start."""
  say = lambda ids: writer.tokenizer.decode(ids, skip_special=False)
  reads = [say(result.tokens[: i + 1]) for i in result.reads]
  return say(result.tokens[result.start :]), reads
