r"""Problem and response as a verifier reads them: tokens, and where it is read.

A template becomes one text with four marks in it that no tokenizer sees: here
stands a control token, here the text is cut, here the response begins, here is
read. A stretch between control tokens and cuts is tokenised at once, as a text
that nobody had marked, and a mark inside of it falls on the token that holds
the byte before it. So positions are never found by comparing ids, and a
response that spells a mark's name reads as text.

All of a problem's responses share their first tokens, whatever the tokenizer
makes of the seam: the longest common beginning is the prompt, which is run
once. Costs no model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int

from ttc.models.tokenizer import Tokenizer
from ttc.types import Prompt
from ttc.verifiers.kinds import Kind

# Of the private use area; taken out of what others wrote.
_MARK, _CUT, _START, _READ = '\ue000', '\ue001', '\ue002', '\ue003'
_PRIVATE = str.maketrans('', '', _MARK + _CUT + _START + _READ)


class Written(NamedTuple):
  """One response with its problem.

  Attributes:
    tokens: of the verifier.
    start: the first of them that holds something of the response.
    reads: where each step is read, ascending.
  """

  tokens: list[int]
  start: int
  reads: list[int]


class Reading(NamedTuple):
  """Responses as arrays: what of them differs stands behind a shared prompt.

  `starts` and `reads` count from the end of the prompt, which holds none of
  them. Where `is_step` is false, `reads` is 0.
  """

  prompt: Prompt
  tokens: Int[Array, 'B N T']
  lengths: Int[Array, 'B N']
  starts: Int[Array, 'B N']
  reads: Int[Array, 'B N S']
  is_step: Bool[Array, 'B N S']


class Writer(NamedTuple):
  """What writes for a verifier: its kind and its tokenizer.

  Attributes:
    kind: of the verifier.
    tokenizer: its own.
    mark_id: the token of `kind.mark`; None if it has none.
    front: tokens before a `text`.
  """

  kind: Kind
  tokenizer: Tokenizer
  mark_id: int | None = None
  front: Sequence[int] = ()

  def __call__(self, problem: str, response: str) -> Written:
    """Writes a response to a problem."""
    kind = self.kind
    steps = split_steps(kind, response)
    messages = _messages(kind, problem.translate(_PRIVATE), steps)
    if messages[0]['role'] == 'text':
      rows = [('', message['content']) for message in messages]
      ids = list(self.front)
    else:
      rows = self.tokenizer.chat_parts(messages, asks=kind.reply)
      ids = []
    starts: list[int] = []
    reads: list[int] = []
    for row in rows:
      if len(row) == 1:  # of the layout
        ids += self.tokenizer.encode(row[0], allow_special=True)
      else:
        self._append(row[-1], ids, starts, reads)
    reads = reads or [len(ids) - 1]
    reads = [max(read + kind.shift, 0) for read in reads]
    return Written(ids, min(starts), reads)

  def _append(
    self, text: str, ids: list[int], starts: list[int], reads: list[int]
  ) -> None:
    """Tokenises a marked text behind `ids`; notes starts and reads."""
    for piece in text.split(_CUT):
      for number, stretch in enumerate(piece.split(_MARK)):
        if number:
          assert self.mark_id is not None, 'a template with {mark} has a mark'
          ids.append(self.mark_id)
        found = _marks(stretch)
        new = self.tokenizer.encode(stretch.translate(_PRIVATE))
        for mark, before in found:
          count = _tokens_before(self.tokenizer, new, *before, mark == _READ)
          if mark == _READ:
            reads.append(len(ids) + count - 1)
          else:
            starts.append(len(ids) + count)
        ids += new


def split_steps(kind: Kind, response: str) -> list[str]:
  """The steps of a response; at least one."""
  response = response.translate(_PRIVATE)
  if not kind.split:
    return [response]
  steps = response.split(kind.split)
  if kind.strip:
    steps = [step.strip() for step in steps if step.strip()]
  return steps or ['']


def arrange(
  written: Sequence[Sequence[Written]],
  most: tuple[int, int, int] | None = None,
) -> Reading:
  """Responses as arrays, padded on the right.

  Args:
    written: responses of each of `B` problems, the same number `N`.
    most: `(Tp, T, S)`, sizes of the arrays; None for what they need,
      up to the next multiple of an eighth of a power of 2.

  Returns:
    The arrays, of NumPy.

  Raises:
    ValueError: if a response has no room in them.
  """
  cuts = [_shared(row) for row in written]
  if most is not None:
    cuts = [min(cut, most[0]) for cut in cuts]
  longest = max(
    len(w.tokens) - cut
    for row, cut in zip(written, cuts, strict=True)
    for w in row
  )
  num_steps = max(len(w.reads) for row in written for w in row)
  if most is None:
    most = (_rounded(max(cuts)), _rounded(longest), _rounded(num_steps))
  for what, size, room in (
    ('tokens behind its prompt', longest, most[1]),
    ('steps', num_steps, most[2]),
  ):
    if size > room:
      raise ValueError(
        f'a response has {size} {what} for the verifier; there is room for '
        f'{room}'
      )
  B, N = len(written), len(written[0])
  Tp, T, S = most
  zeros: Callable[..., Any] = lambda *shape: np.zeros((B, *shape), np.int32)
  prompt, tokens, lengths = zeros(Tp), zeros(N, T), zeros(N)
  starts, reads, is_step = zeros(N), zeros(N, S), zeros(N, S).astype(bool)
  for b, (row, cut) in enumerate(zip(written, cuts, strict=True)):
    prompt[b, :cut] = row[0].tokens[:cut]
    for n, w in enumerate(row):
      lengths[b, n] = len(w.tokens) - cut
      tokens[b, n, : lengths[b, n]] = w.tokens[cut:]
      starts[b, n] = w.start - cut
      reads[b, n, : len(w.reads)] = np.array(w.reads) - cut
      is_step[b, n, : len(w.reads)] = True
  prompt_lengths: Any = np.array(cuts, np.int32)
  prompts = Prompt(prompt, prompt_lengths)
  return Reading(prompts, tokens, lengths, starts, reads, is_step)


def _messages(kind: Kind, problem: str, steps: list[str]):
  """The messages of a chat, or of no chat, as marked texts."""
  marks = {'mark': _MARK, 'cut': _CUT, 'read': _READ}
  written = [
    kind.step.format(step=step, number=i, problem=problem, **marks)
    for i, step in enumerate(steps, 1)
  ]
  whole = _START + kind.join.format(**marks).join(written)
  place = lambda rows, step: [
    {
      'role': role,
      'content': text.format(problem=problem, steps=whole, step=step, **marks),
    }
    for role, text in rows
  ]
  messages = place(kind.messages, _START + written[0])
  if kind.again:
    for step in written[1:]:
      messages += place(kind.again, step)
  return messages


def _marks(stretch: str) -> list[tuple[str, tuple[str, str]]]:
  """Marks in a stretch, each with the text before it and all of it."""
  bare = stretch.translate(_PRIVATE)
  return [
    (letter, (stretch[:i].translate(_PRIVATE), bare))
    for i, letter in enumerate(stretch)
    if letter in (_START, _READ)
  ]


def _tokens_before(
  tokenizer: Tokenizer, ids: list[int], before: str, text: str, up: bool
) -> int:
  """How many tokens lie before a place in a text.

  One that lies on both sides of it counts if `up`, and else does not.
  """
  if before == text and up:
    return len(ids)
  sizes = [len(tokenizer.token_bytes(i)) for i in ids]
  extra = sum(sizes) - len(text.encode())
  if extra not in (0, 1):  # the tokenizer writes other bytes than it was given
    return len(tokenizer.encode(before))
  end = len(before.encode()) + (extra if before else 0)
  side = 'left' if up else 'right'  # 1: a blank that was put in front
  full = int(np.searchsorted(np.cumsum(sizes), end, side=side))
  return full + 1 if up and end else full


def _shared(row: Sequence[Written]) -> int:
  """How many tokens all responses begin with, before any start or read."""
  limit = min(min(w.start, *w.reads, len(w.tokens)) for w in row)
  first = row[0].tokens
  for i in range(limit):
    if any(w.tokens[i] != first[i] for w in row):
      return i
  return limit


def _rounded(size: int) -> int:
  """Up to one of few sizes, with at most a quarter more; at least 1."""
  size = max(size, 1)
  unit = max(1, (1 << (size - 1).bit_length()) // 8)
  return -(-size // unit) * unit
