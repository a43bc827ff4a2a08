"""scripts/reroute.py as a user runs it, and what it refuses."""

import json
import types

import jax
import numpy as np
import pytest

from configs import reroute as configs
from ttc import models, tasks
from ttc.drivers import options, reroute_problems, reroute_votes
from ttc.drivers import reroute as driver
from ttc.drivers.journal import Journal
from ttc.drivers.reroute_options import RerouteOptions
from ttc.io.arrays import read_arrays

pytest.importorskip('matplotlib')
TINY = {
  'train_steps': 2,
  'num_items': 5,
  'num_references': 8,
  'batch_size': 4,
  'num_neighbours': 2,
  'num_steps': 2,
}


def config(method='c3po', **changes):
  return {**configs.get_config(method).to_dict(), **TINY, **changes}


def lines_of(path):
  return [json.loads(line) for line in (path / 'metrics.jsonl').open()]


@pytest.mark.slow
def test_c3po_leaves_a_report_and_goes_on(tmp_path, capsys, monkeypatch):
  load = reroute_problems.load
  every = lambda chosen, workdir: load(chosen, workdir)._replace(
    answer=lambda i, tokens, reason: ('', i % 2 == 0 or i < 8), dearer=2.5
  )
  monkeypatch.setattr(reroute_problems, 'load', every)
  chosen = config(surrogates=('mode finding', 'gradient descent'))
  driver.reroute(chosen, tmp_path)
  said = capsys.readouterr().out
  assert 'Of 8 references 8 are right' in said
  assert (tmp_path / 'routes.png').stat().st_size > 10_000
  lines = lines_of(tmp_path)
  # Two batches of references, and two of questions for each of four methods.
  assert [x['what']['problems'] for x in lines] == [4, 4] + [4, 1] * 4
  assert lines[2]['scores'] == lines[8]['scores'] == [1, 0, 1, 0]
  # Prompt and response; twice the prompt and 3 S passes over two neighbours, of
  # all experts; one prompt, and a token for each sample.
  assert lines[2]['read'] == [5] * 4
  assert lines[6]['read'] == [5 + 4 + 2.5 * 3 * 2 * 2 * 5] * 4
  assert lines[8]['what']['method'] == 'votes'
  assert lines[8]['read'] == lines[6]['read']
  routes = read_arrays(tmp_path / 'routes' / 'gradient_descent-8.npz')
  before = read_arrays(tmp_path / 'routes' / 'the_router-8.npz')
  moved = np.abs(routes['pathways'] - before['pathways']).max(axis=(0, 2))
  np.testing.assert_array_equal(moved[:2], 0)  # all but the critical layer
  assert moved[2] > 0
  np.testing.assert_allclose(routes['pathways'].sum(-1), 1, atol=1e-5)
  # A killed run goes on: what is there stays, what is missing is the same.
  path = tmp_path / 'metrics.jsonl'
  whole = path.read_text()
  path.write_text(''.join(whole.splitlines(keepends=True)[:-1]))
  driver.reroute(chosen, tmp_path)
  assert path.read_text() == whole
  with pytest.raises(ValueError, match='another config'):
    driver.reroute(config(num_steps=3), tmp_path)
  monkeypatch.setattr(
    reroute_problems, 'load', lambda *given: load(*given)._replace(
      answer=lambda i, tokens, reason: ('', False)
    )
  )  # fmt: skip
  with pytest.raises(ValueError, match='of 8 references the model got 0 right'):
    driver.reroute(chosen, tmp_path / 'wrong')


@pytest.mark.slow
def test_rewiring_measures_continuations(tmp_path, capsys):
  driver.reroute(config('rewiring'), tmp_path)
  said = capsys.readouterr().out
  assert 'loss, nats per token' in said and 'otes are' not in said
  lines = lines_of(tmp_path)
  assert [x['what']['problems'] for x in lines] == [4, 1, 4, 1]
  assert lines[0]['read'] == [63] * 4
  dearer = (lines[2]['read'][0] - 63) / (7 * 32)
  assert 1.5 < dearer < 4  # two of eight experts, and what is no expert
  assert lines[0]['scores'] != lines[2]['scores']


CONFIG = models.TransformerConfig(
  vocab_size=260, num_layers=1, embed_dim=16, mlp_dim=16, num_heads=2,
  num_kv_heads=1, head_dim=8, max_length=64,
  experts=models.Experts(4, 2, 8, True),
)  # fmt: skip


def loaded(model_config=CONFIG, has_tokenizer=True):
  """A tiny model that reads bytes."""
  model = models.transformer(model_config)
  tokenizer = types.SimpleNamespace(
    prompt=lambda text: list(text.encode()),
    eos_ids=(257,),
    ids_containing=lambda text: (ord(text[-1]),),
    decode=lambda ids: bytes(i for i in ids if i < 256).decode('latin-1'),
  )
  return models.Loaded(
    model, model.init(jax.random.key(0)), model_config,
    tokenizer if has_tokenizer else None, 'tiny', '0' * 64,  # pyright: ignore
  )  # fmt: skip


def items(*names):
  return [tasks.Item(name, f'{name}?', 'a', {}) for name in names]


def sums(names=('b', 'cde', 'f')):
  """A task whose every answer is right if it has a letter or not."""
  return tasks.TextTask(
    'sums', items(*names), lambda item: item.question, ('\n',), 4,
    lambda item, text: tasks.Grade(1.0, text, ''),
  )  # fmt: skip


@pytest.mark.parametrize('method', ['c3po', 'rewiring'])
@pytest.mark.slow
def test_a_model_on_a_text_task(tmp_path, monkeypatch, capsys, method):
  chosen = options.parse(
    RerouteOptions,
    config(
      method, model='tiny', task='sums', num_core=3, interval=2,
      surrogates=('kernel regression',), cache='recompute',
    ),
  )  # fmt: skip
  references = items(*'ghijk') if method == 'c3po' else []
  problems = reroute_problems.of_text(chosen, sums(), references, loaded())
  problems = problems._replace(
    answer=lambda i, tokens, reason: (str(tokens), len(tokens) > 0)
  )
  journal = Journal(tmp_path / 'metrics.jsonl')
  setup = driver.Setup(chosen, problems, journal, tmp_path)
  driver.run(setup)
  said = capsys.readouterr().out
  assert '| the router | 100.0' in said
  assert '| votes | 100.0' in said
  dearest, last = lines_of(tmp_path)[-2:]
  assert last['what'] == {'method': 'votes', 'first': last['what']['first'],
                          'problems': 3}  # fmt: skip
  # A vote less than the cost, since parts of one are not to be had.
  means = [np.mean(line['read']) for line in (last, dearest)]
  assert 0.5 * means[1] < means[0] <= 1.1 * means[1]
  if method == 'rewiring':  # the longer prompt is read more often
    assert dearest['read'][1] > dearest['read'][0]


def test_votes_cost_what_they_are_given():
  assert reroute_votes.num_votes(100.0, 10.0, 4.0, 1000) == 22
  assert reroute_votes.num_votes(100.0, 10.0, 4.0, 16) == 16
  assert reroute_votes.num_votes(5.0, 10.0, 4.0, 16) == 1
  assert reroute_votes.num_votes(100.0, 10.0, 0.0, 50) == 50


def test_the_commonest_answer_counts():
  said = [('a', False), (None, False), ('b', True), (None, False), ('b', True)]
  assert reroute_votes.commonest(said)
  assert not reroute_votes.commonest(said[:3])  # the first of equals
  assert not reroute_votes.commonest([(None, True)])
  alike = lambda first, second: first.lower() == second.lower()
  spelt = [('x', False), ('x', False), ('b', True), ('B', False), ('B', False)]
  assert not reroute_votes.commonest(spelt)  # of equals
  assert reroute_votes.commonest(spelt, alike)


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'method': 'moe'}, "config.method='moe' must be one of c3po, rewiring"),
    ({'task': 'chains'}, "with config.method='c3po' has the task 'tables'"),
    ({'model': 'x'}, "config.task='tables' is of config.model='small' only"),
    ({'num_items': 600}, 'are more than the 600 questions'),
    ({'num_neighbours': 9}, 'num_neighbours=9 must be fewer than'),
    ({'num_layers': 4}, 'config.num_layers=4 must be from 1 to the 3 layers'),
    ({'num_core': 9}, 'config.num_core=9 must be from 2 to the 8 experts'),
    ({'reference_task': 'gsm8k'}, "references of 'tables' are of 'tables'"),
    ({'layer_share': 0.0}, 'config.layer_share=0.0'),
    ({'cache': 'drop'}, "config.cache='drop' must be one of keep, recompute"),
    ({'learning_rate': float('inf')}, 'config.learning_rate=inf'),
    ({'surrogates': ('mode',)}, 'config.surrogates='),
    (
      {'model': '/nowhere/x', 'task': 'addition_2digit'},
      '/nowhere/x: no such file',
    ),
    (
      {'model': 'x', 'task': 'addition_2digit',
       'reference_task': 'addition_2digit'},
      "reference .* is a question of 'addition_2digit'",
    ),
  ],
)  # fmt: skip
def test_refuses_in_one_line(changes, says, tmp_path):
  with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
    driver.reroute(config(**changes), tmp_path)
  assert '\n' not in str(error.value)


def test_refuses_models_that_do_not_serve():
  chosen = options.parse(
    RerouteOptions, config(model='tiny', task='sums', num_core=4)
  )
  of_text = lambda model, **changes: reroute_problems.of_text(
    options.parse(
      RerouteOptions, config(model='tiny', task='sums', **changes)
    ),
    sums(), items('g'), model,
  )  # fmt: skip
  with pytest.raises(ValueError, match='has no tokenizer'):
    of_text(loaded(has_tokenizer=False))
  with pytest.raises(ValueError, match=r'responses of 99 .* the 64'):
    of_text(loaded(), max_new_tokens=99)
  dense = models.TransformerConfig(260, 1, 16, 16, 2, 1, 8)
  with pytest.raises(ValueError, match='has no experts, so no routes'):
    reroute_problems.check_layout(chosen, dense)
  reroute_problems.check_layout(chosen, CONFIG)
