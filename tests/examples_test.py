"""The examples in docstrings of functions that rooms list.

They assume what a notebook begins with: `from ttc import ...` of every room,
and the names of `GLOBALS`.
"""

import doctest
import functools
import importlib
import inspect
import tempfile

import jax
import jax.numpy as jnp
import optax
import pytest

from ttc.models.vision.classifier import Classifier, Outputs
from ttc.types import Prompt, Samples

ROOMS = (
  'adaptation',
  'agents',
  'benchmarks',
  'diffusion',
  'envs',
  'evaluation',
  'metarl',
  'models',
  'sampling',
  'scaling',
  'search',
  'verifiers',
)
GLOBALS = {
  'Classifier': Classifier,
  'Outputs': Outputs,
  'Prompt': Prompt,
  'Samples': Samples,
  'functools': functools,
  'jax': jax,
  'jnp': jnp,
  'optax': optax,
  'tempfile': tempfile,
  **{name: importlib.import_module(f'ttc.{name}') for name in ROOMS},
}
# What a reader of the README meets first.
FRONT_DOOR = (
  'adaptation.run_stream',
  'agents.train',
  'benchmarks.find',
  'diffusion.best_of_n',
  'evaluation.bootstrap',
  'metarl.load_rule',
  'models.load',
  'sampling.decode_stream',
  'sampling.generate',
  'scaling.fit_power_law',
  'scaling.pass_at_k',
  'search.best_of_n',
  'search.majority_vote',
  'search.self_consistency',
  'search.solve',
)


def examples():
  """`room.name -> DocTest` of every function that has an example."""
  parser = doctest.DocTestParser()
  found = {}
  for room in ROOMS:
    module = GLOBALS[room]
    for name in module.__all__:
      fn = getattr(module, name)
      if inspect.isfunction(fn) and '>>>' in (fn.__doc__ or ''):
        title = f'{room}.{name}'
        text = inspect.getdoc(fn)
        found[title] = parser.get_doctest(text, dict(GLOBALS), title, None, 0)
  return found


EXAMPLES = examples()


@pytest.mark.parametrize('title', EXAMPLES)
def test_says_what_it_does(title):
  said = []
  runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
  result = runner.run(EXAMPLES[title], out=said.append)
  assert result.failed == 0, ''.join(said)


def test_the_front_door_has_examples():
  assert set(FRONT_DOOR) <= set(EXAMPLES)
