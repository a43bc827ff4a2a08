"""Verifiers that are models, as score functions in the policy's vocabulary."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ttc import models, verifiers
from ttc.drivers import runs
from ttc.io import files
from ttc.io.paths import fetched
from ttc.types import Params, ScoreFn

# A response has at most so many times its tokens in a verifier's vocabulary.
_STRETCH = 2


class Asked(NamedTuple):
  """What a verifier is asked about: responses of a policy to problems."""

  tokenizer: models.Tokenizer  # of the policy
  prompts: Sequence[Sequence[int]]  # as the policy reads the problems
  questions: Sequence[str]  # as the verifier does
  stop: Sequence[str]  # texts that end a response
  capacity: int  # most tokens in a response
  max_steps: int  # most steps in one


class Verifier(NamedTuple):
  """A verifier that is ready to be asked.

  Attributes:
    score_fn_of: its `ScoreFn` for some responses, as a function of `params`.
    params: its parameters.
    flops_per_token: of reading.
    digest: of what it was read from.
  """

  score_fn_of: Callable[[Asked], Callable[[Params], ScoreFn]]
  params: Params
  flops_per_token: float
  digest: str

  def flops_per_call(self, capacity: int) -> float:
    """Of reading a response of that many tokens; prompts are read once."""
    return self.flops_per_token * capacity


def load_verifier(directory: str) -> Verifier:
  """Loads a reward model; see `ttc.verifiers.load_verifier`.

  A token that it reads counts two FLOPs for each of its parameters.
  """
  directory = fetched(directory)
  loaded = verifiers.load_verifier(directory)

  def score_fn_of(asked):
    # What pads a batch is a prompt of one token, 0, and asks nothing.
    question_of = verifiers.questions(
      [*asked.prompts, [0]], [*asked.questions, '']
    )
    # No response has more steps than tokens, also of a text that is all ends.
    room = verifiers.room_for(
      loaded,
      asked.questions,
      _STRETCH * asked.capacity,
      max(asked.max_steps, asked.capacity + 1),
    )
    return lambda params: verifiers.text_score_fn(
      loaded._replace(params=params),
      asked.tokenizer,
      question_of,
      room=room,
      stop=tuple(asked.stop),
    )

  return Verifier(
    score_fn_of,
    loaded.params,
    2.0 * models.num_params(loaded.params['model']),
    _digest(directory),
  )


def _digest(directory: str) -> str:
  """Of all files and their names."""
  root = pathlib.Path(directory)
  paths = sorted(p for p in root.rglob('*') if p.is_file()) or [root]
  return runs.hash_texts(
    *(f'{os.path.relpath(p, root)} {files.digest(p)}' for p in paths)
  )
