"""evaluate.py and sample.py, as a user runs them, on a tiny model."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from configs import smollm2_arithmetic
from ttc import evaluation
from ttc.drivers import evaluate as driver
from ttc.drivers import journal
from ttc.evaluation import SampleRecord, ScoreRecord

ROOT = pathlib.Path(__file__).parents[2]
pytest.importorskip('tokenizers')
numpy_safetensors = pytest.importorskip('safetensors.numpy')


def write_tiny_model(path):
  """A random Llama of one layer over bytes, as a Hugging Face directory."""
  import tokenizers
  from tokenizers import decoders, models, pre_tokenizers

  path.mkdir()
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())
  vocab = {letter: i for i, letter in enumerate(letters)}
  backend = tokenizers.Tokenizer(models.BPE(vocab, []))
  backend.pre_tokenizer = pre_tokenizers.ByteLevel(
    add_prefix_space=False, use_regex=False
  )
  backend.decoder = decoders.ByteLevel()
  backend.add_special_tokens(['<|im_start|>', '<|im_end|>'])
  backend.save(str(path / 'tokenizer.json'))
  size, width, mlp = 258, 16, 24
  config = {
    'architectures': ['LlamaForCausalLM'],
    'model_type': 'llama',
    'vocab_size': size,
    'hidden_size': width,
    'intermediate_size': mlp,
    'num_hidden_layers': 1,
    'num_attention_heads': 2,
    'num_key_value_heads': 1,
    'max_position_embeddings': 1024,
    'rms_norm_eps': 1e-5,
    'tie_word_embeddings': True,
    'eos_token_id': 257,
  }
  (path / 'config.json').write_text(json.dumps(config))
  rng = np.random.default_rng(0)
  array = lambda *shape: rng.normal(0, 0.5, shape).astype(np.float32)
  layer = 'model.layers.0.'
  tensors = {
    'model.embed_tokens.weight': array(size, width),
    'model.norm.weight': np.ones(width, np.float32),
    layer + 'input_layernorm.weight': np.ones(width, np.float32),
    layer + 'post_attention_layernorm.weight': np.ones(width, np.float32),
    layer + 'self_attn.q_proj.weight': array(width, width),
    layer + 'self_attn.k_proj.weight': array(width // 2, width),
    layer + 'self_attn.v_proj.weight': array(width // 2, width),
    layer + 'self_attn.o_proj.weight': array(width, width),
    layer + 'mlp.gate_proj.weight': array(mlp, width),
    layer + 'mlp.up_proj.weight': array(mlp, width),
    layer + 'mlp.down_proj.weight': array(width, mlp),
  }
  numpy_safetensors.save_file(tensors, str(path / 'model.safetensors'))
  return path


@pytest.fixture(scope='module')
def tiny_model(tmp_path_factory):
  return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny')


def tiny(model, **changes):
  return {
    'model': str(model),
    'tasks': ('addition_1digit',),
    'num_items': 5,
    'num_samples': 4,
    'budgets': (1, 2, 4),
    'num_permutations': 8,
    'num_resamples': 50,
    'temperature': 1.0,
    **changes,
  }


def arguments(model, workdir, **changes):
  return [
    f'--config={ROOT}/configs/smollm2_arithmetic.py',
    f'--workdir={workdir}',
    *(f'--config.{name}={x}' for name, x in tiny(model, **changes).items()),
  ]


def environment(cache):
  return {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_COMPILATION_CACHE_DIR': str(cache),
  }


def run(script, args, cache, check=True):
  done = subprocess.run(
    [sys.executable, str(ROOT / 'scripts' / script), *args],
    cwd=ROOT,
    env=environment(cache),
    capture_output=True,
    text=True,
  )
  if check:
    assert done.returncode == 0, done.stderr[-2000:]
  return done


def run_two(script, args, cache):
  """The same in two processes on loopback."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  command = [
    *(sys.executable, str(ROOT / 'scripts' / script), *args),
    *('--distributed', '--num_processes=2'),
    f'--coordinator=127.0.0.1:{port}',
  ]
  processes = [
    subprocess.Popen(
      [*command, f'--process_id={i}'],
      cwd=ROOT,
      env=environment(cache),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )
    for i in range(2)
  ]
  outputs = [process.communicate(timeout=300)[0] for process in processes]
  for process, output in zip(processes, outputs, strict=True):
    assert process.returncode == 0, output[-2000:]


def records(workdir):
  read = lambda kind: journal.read_records(workdir, kind)
  return evaluation.canonical(read(SampleRecord)), evaluation.canonical(
    read(ScoreRecord)
  )


def test_evaluate_writes_everything_once(tiny_model, tmp_path):
  workdir = tmp_path / 'run'
  first = run('evaluate.py', arguments(tiny_model, workdir), tmp_path)
  for name in ('report.md', 'scaling.png', 'metrics.jsonl', 'run.json'):
    assert (workdir / name).stat().st_size > 100, name
  assert 'self-consistency' in first.stdout + first.stderr
  before = {
    name: (workdir / name).read_bytes()
    for name in ('samples.jsonl', 'scores.jsonl', 'metrics.jsonl', 'report.md')
  }
  # A second run makes no model call: it works without the model's weights.
  (tiny_model / 'model.safetensors').rename(tiny_model / 'hidden')
  config = smollm2_arithmetic.get_config().to_dict() | tiny(tiny_model)
  try:
    driver.evaluate(config, workdir)
  finally:
    (tiny_model / 'hidden').rename(tiny_model / 'model.safetensors')
  for name, content in before.items():
    assert (workdir / name).read_bytes() == content, name


@pytest.mark.slow
def test_other_batches_give_the_same_records(tiny_model, tmp_path):
  workdir, other = tmp_path / 'run', tmp_path / 'other'
  run('evaluate.py', arguments(tiny_model, workdir), tmp_path)
  run('evaluate.py', arguments(tiny_model, other, batch_size=4), tmp_path)
  for got, want in zip(records(other), records(workdir), strict=True):
    assert_same_up_to_rounding(got, want)


def assert_same_up_to_rounding(got, want):
  """Equal in all but the last digits of log-probabilities."""
  assert got.count(b'\n') == want.count(b'\n')
  for mine, theirs in zip(got.splitlines(), want.splitlines(), strict=True):
    mine, theirs = json.loads(mine), json.loads(theirs)
    for name in ('sum_logprob', 'mean_logprob'):
      if name in mine:
        assert mine.pop(name) == pytest.approx(theirs.pop(name), abs=1e-3)
    assert mine == theirs


@pytest.mark.slow
def test_killed_five_times_it_ends_with_the_same_records(tiny_model, tmp_path):
  sizes = {'num_items': 40, 'num_samples': 8, 'batch_size': 1}
  whole = tmp_path / 'whole'
  run('evaluate.py', arguments(tiny_model, whole, **sizes), tmp_path)
  killed = tmp_path / 'killed'
  command = [sys.executable, str(ROOT / 'scripts' / 'evaluate.py')]
  command += arguments(tiny_model, killed, **sizes)
  rng = random.Random(0)
  for _ in range(5):
    process = subprocess.Popen(
      command,
      cwd=ROOT,
      env=environment(tmp_path),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    time.sleep(rng.uniform(1.0, 7.0))
    process.send_signal(signal.SIGKILL)
    process.wait()
  run('evaluate.py', arguments(tiny_model, killed, **sizes), tmp_path)
  assert records(killed) == records(whole)


@pytest.mark.slow
def test_each_bad_input_is_one_line(tiny_model, tmp_path):
  damaged = tmp_path / 'damaged'
  write_tiny_model(damaged)
  weights = (damaged / 'model.safetensors').read_bytes()
  (damaged / 'model.safetensors').write_bytes(weights[: len(weights) // 2])
  corrupt = tmp_path / 'corrupt'
  corrupt.mkdir()
  (corrupt / 'samples.jsonl').write_text('{"item_id": \n{}\n')
  not_gguf = tmp_path / 'wrong.gguf'
  not_gguf.write_bytes(b'hello world')
  cases = [
    (arguments(damaged, tmp_path / 'a'), 'model.safetensors'),
    (arguments(tiny_model, corrupt), 'samples.jsonl:1: corrupt record'),
    (arguments(not_gguf, tmp_path / 'b'), 'wrong.gguf'),
    ([*arguments(tiny_model, tmp_path / 'c'), 'more'], "argument 'more'"),
  ]
  for args, message in cases:
    done = run('evaluate.py', args, tmp_path, check=False)
    assert done.returncode == 1, done.stderr[-500:]
    *_, line = done.stderr.strip().splitlines()
    assert message in line, done.stderr[-500:]
    assert 'Traceback' not in done.stderr
  misspelt = arguments(tiny_model, tmp_path / 'd', num_sample=3)
  done = run('evaluate.py', misspelt, tmp_path, check=False)
  assert done.returncode != 0
  assert 'Did you mean "num_samples"' in done.stderr
  assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_two_processes_write_the_records_of_one(tiny_model, tmp_path):
  run('evaluate.py', arguments(tiny_model, tmp_path / 'one'), tmp_path)
  run_two('evaluate.py', arguments(tiny_model, tmp_path / 'two'), tmp_path)
  for got, want in zip(
    records(tmp_path / 'two'), records(tmp_path / 'one'), strict=True
  ):
    assert_same_up_to_rounding(got, want)
  assert (tmp_path / 'two' / 'scaling.png').exists()


# A benchmark of a user's own.
SUMS = """
from ttc.benchmarks import Benchmark, Field, Verdict, from_records
from ttc.tasks import Item

SCHEMA = (Field('n', int),)


def sums(official=False):
  return Benchmark(
    name='sums', title='Sums', paper='none', metric='right', schema=SCHEMA,
    load=from_records(SCHEMA, to_item), prompt=lambda item: item.question,
    grade=lambda item, completion, judge: Verdict(
      float(completion == item.answer), completion, 'exact'),
    is_chat=False,
  )


def to_item(record):
  n = record['n']
  return Item(f'sums/{n}', f'{n} + {n} =', str(2 * n), {})
"""


@pytest.mark.slow
def test_two_processes_run_a_benchmark(tiny_model, tmp_path):
  (tmp_path / 'sums.py').write_text(SUMS)
  lines = (json.dumps({'n': n}) + '\n' for n in range(7))
  (tmp_path / 'data.jsonl').write_text(''.join(lines))
  args = lambda name: [
    f'--benchmark={tmp_path}/sums.py',
    f'--data={tmp_path}/data.jsonl',
    f'--workdir={tmp_path / name}',
    f'--config.model={tiny_model}',
    '--config.num_samples=2',
    '--config.temperature=1.0',
    '--config.max_new_tokens=4',
    '--config.num_workers=1',
    '--config.num_resamples=100',
  ]
  run('benchmark.py', args('one'), tmp_path)
  run_two('benchmark.py', args('two'), tmp_path)
  for got, want in zip(
    records(tmp_path / 'two'), records(tmp_path / 'one'), strict=True
  ):
    assert_same_up_to_rounding(got, want)
  names = {path.name for path in (tmp_path / 'two').iterdir()}
  assert {'report.md', 'figures.json', 'samples.jsonl'} <= names
  assert not any('-of-' in name for name in names)


@pytest.mark.slow
def test_sparse_decoding_reports_and_resumes(tiny_model, tmp_path):
  workdir = tmp_path / 'sparse'
  args = [
    f'--model={tiny_model}',
    f'--workdir={workdir}',
    '--part=text',
    '--context=128',
    '--texts=4',
    '--rule=Quest',
    '--budget=64',
    '--dense_layers=0',
  ]
  out = run('sparse_decoding.py', args, tmp_path).stdout
  assert '| Quest | ' in out and (workdir / 'text_128.png').exists()
  record = json.loads((workdir / 'records.jsonl').read_text())
  dense, sparse = record['log_prob']['dense']['0'], record['log_prob']['Quest']
  assert len(dense) == 4 and dense != sparse['64']
  again = run('sparse_decoding.py', args, tmp_path).stdout
  assert again == out
  bad = [arg.replace('128', '1024') for arg in args]
  done = run('sparse_decoding.py', bad, tmp_path, check=False)
  assert done.returncode == 1 and 'context=1024' in done.stderr


@pytest.mark.slow
def test_a_workdir_has_one_writer(tiny_model, tmp_path):
  workdir = tmp_path / 'run'
  sizes = {'num_items': 40, 'num_samples': 8}
  command = [sys.executable, str(ROOT / 'scripts' / 'evaluate.py')]
  processes = [
    subprocess.Popen(
      command + arguments(tiny_model, workdir, batch_size=n, **sizes),
      cwd=ROOT,
      env=environment(tmp_path),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for n in (2, 3)
  ]
  errors = [process.communicate()[1] for process in processes]
  codes = sorted(process.returncode for process in processes)
  assert codes == [0, 1], errors
  refused = next(
    e for p, e in zip(processes, errors, strict=True) if p.returncode
  )
  assert 'is in use by process' in refused
  # The one that was refused goes on where the other ended.
  run('evaluate.py', arguments(tiny_model, workdir, **sizes), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('what', ['weights', 'tokenizer'])
def test_exchanged_inputs_are_refused(what, tmp_path):
  model, workdir = write_tiny_model(tmp_path / 'tiny'), tmp_path / 'run'
  run('evaluate.py', arguments(model, workdir), tmp_path)
  lines = (workdir / 'samples.jsonl').read_text().splitlines(keepends=True)
  (workdir / 'samples.jsonl').write_text(''.join(lines[:5]))  # as if killed
  (workdir / 'scores.jsonl').unlink()
  if what == 'weights':
    path = model / 'model.safetensors'
    tensors = numpy_safetensors.load_file(str(path))
    tensors['model.norm.weight'] *= 2
    numpy_safetensors.save_file(tensors, str(path))
  else:
    path = model / 'tokenizer.json'
    text = path.read_text(encoding='utf-8')
    # Two letters change places.
    swapped = text.replace('"A": ', '"#": ').replace('"B": ', '"A": ')
    path.write_text(swapped.replace('"#": ', '"B": '), encoding='utf-8')
    assert path.read_text(encoding='utf-8') != text
  done = run('evaluate.py', arguments(model, workdir), tmp_path, check=False)
  assert done.returncode == 1
  assert f'the {what} changed' in done.stderr, done.stderr[-500:]


@pytest.mark.slow
def test_a_refused_run_does_not_block_its_correction(tiny_model, tmp_path):
  workdir = tmp_path / 'run'
  for model, tasks in (
    ('smollm', "('addition_1digit',)"),
    (tiny_model, "('addition_1digits',)"),
  ):
    args = arguments(model, workdir, tasks=tasks)
    assert run('evaluate.py', args, tmp_path, check=False).returncode == 1
  run('evaluate.py', arguments(tiny_model, workdir), tmp_path)


@pytest.mark.slow
def test_a_changed_config_is_refused(tiny_model, tmp_path):
  workdir = tmp_path / 'run'
  run('evaluate.py', arguments(tiny_model, workdir), tmp_path)
  changed = arguments(tiny_model, workdir, temperature=0.5)
  done = run('evaluate.py', changed, tmp_path, check=False)
  assert done.returncode == 1
  assert 'temperature changed' in done.stderr
  assert 'allow_config_change' in done.stderr


@pytest.mark.slow
def test_sample_prints_samples_choice_and_cost(tiny_model, tmp_path):
  args = [
    '--prompt=2 + 2 =',
    '--raw',
    f'--model={tiny_model}',
    '--num_samples=3',
    '--max_new_tokens=5',
    '--answer_pattern=.',
  ]
  out = run('sample.py', args, tmp_path).stdout
  assert out.count('nats/token') == 3
  assert 'self_consistency: ' in out
  assert '7 prompt tokens read once, 15 tokens generated' in out
  bad = run('sample.py', [*args, '--num_samples=0'], tmp_path, check=False)
  assert bad.returncode == 1
  assert '--num_samples=0' in bad.stderr and bad.stderr.count('\n') == 1


@pytest.mark.slow
def test_a_model_answers_and_judges_a_benchmark_once(
  tiny_model, tmp_path, monkeypatch
):
  pytest.importorskip('matplotlib')
  from configs import benchmark as config_file
  from ttc import models
  from ttc.drivers.benchmark import benchmark

  data = ROOT / 'tests' / 'benchmarks' / 'examples' / 'sealqa.jsonl'
  config = config_file.get_config().to_dict() | {
    'model': str(tiny_model), 'max_new_tokens': 4, 'temperature': 1.0,
    'num_samples': 2, 'budgets': (1, 2), 'num_items': 3, 'num_workers': 1,
    'judge': str(tiny_model), 'judge_max_new_tokens': 2, 'num_resamples': 50,
  }  # fmt: skip
  monkeypatch.setattr(  # the tiny model has no layout of a chat
    models.Tokenizer,
    'chat',
    lambda self, turns: self.prompt(turns[-1]['content']),
  )
  workdir = tmp_path / 'run'
  benchmark(config, 'sealqa', data, workdir)
  samples = (workdir / 'samples.jsonl').read_bytes()
  scores = (workdir / 'scores.jsonl').read_bytes()
  judgements = (workdir / 'judgements.jsonl').read_text().splitlines()
  assert samples.count(b'\n') == scores.count(b'\n') == 6
  assert 1 <= len(judgements) <= 6
  # From here on no model is there; grading again asks nobody.
  (workdir / 'scores.jsonl').unlink()
  with monkeypatch.context() as without:
    without.setattr(models, 'load', lambda *a, **k: pytest.fail('loaded'))
    benchmark(config, 'sealqa', data, workdir)
  assert (workdir / 'samples.jsonl').read_bytes() == samples
  assert (workdir / 'scores.jsonl').read_bytes() == scores
  # A sample depends on its seed, item and index alone.
  (workdir / 'samples.jsonl').write_bytes(samples[: len(samples) // 2])
  benchmark(config | {'batch_size': 1}, 'sealqa', data, workdir)
  again = (workdir / 'samples.jsonl').read_bytes().splitlines()
  assert sorted(again) == sorted(samples.splitlines())
