"""Bad input: one line that names the value, before anything is computed.

A table, run in one process: options of each driver, flags of each script. Bad
files are tested with what reads them.
"""

import contextlib
import importlib.util
import io
import pathlib
import re
import sys
from unittest import mock

import jax
import pytest
from absl import flags

from configs import benchmark as benchmark_config
from configs import compare as compare_config
from configs import pretrain_s3, smollm2_arithmetic
from ttc import sampling
from ttc.drivers import benchmark as benchmark_driver
from ttc.drivers import command
from ttc.drivers import compare as compare_driver
from ttc.drivers import evaluate as evaluate_driver
from ttc.drivers import kinetics as kinetics_driver
from ttc.drivers import pretrain as pretrain_driver
from ttc.drivers import sample as sample_driver
from ttc.drivers import sparse_decoding as sparse_driver

ROOT = pathlib.Path(__file__).parent.parent
NAN, INF = float('nan'), float('inf')

# Option, values that are refused. Each error names the option and the value.
EVALUATE = {
  'seed': (-1, 2**32, 2**70, 1.0, True, None, '0'),
  'model': ('', ' ', 3, None, 'smollm', 'no/such/model', 'x.gguf'),
  'dtype': ('float99', 'float64', 'int8', '', None, 32),
  'quantization': ('int4', 'int', '', None, 8),
  'tasks': ((), ('additon_2digit',), 'addition_2digit', None, (3,), ('',),
            ('times_table', 'times_table'), ('reasoning_gym/nothing',)),
  'task_path': (None, 3, '/nowhere.jsonl'),
  'num_items': (0, -3, 10**9, 2.5, True, '5'),
  'task_seed': (-1, 2**32, 0.5),
  'num_samples': (0, -1, 10**9, 4.0, False),
  'temperature': (-1.0, -0.01, NAN, INF, '1', True),
  'top_k': (-1, 99999999999, 1.5),
  'top_p': (0.0, 1.5, -0.1, NAN),
  'min_p': (-0.1, 1.0, 2.0, NAN),
  'preset': ('HF', '', 'llama', None),
  'max_new_tokens': (-1, 10**9, 3.0),
  'methods': ((), ('vote',), ('best_of_n:prm',), ('best_of_n:',) * 2,
              ('atts',), ('beam_search:exact',), 'best_of_n', None),
  'budgets': ((), (0,), (-1,), (1.5,), ('a',), (99,), (1, 1), 4, None),
  'num_permutations': (0, -1, 10**9, 1.5),
  'num_resamples': (0, -2, 10**9),
  'attention': ('qest', '', None),
  'kv_budget': (0, -16, 10**9),
  'block_size': (0, -1, 10**9),
  'batch_size': (0, -1, 10**9, 2.0),
  'num_rows': (-1, 10**9, 2.0),
  'model_parallel': (0, -1, 3),
  'verifiers': (('prm',), ('exact=x',), ('=x',), 'prm=x', None),
  'baseline': ('mcts', 3),
  'step_ends': (('',), 'x', None),
  'max_steps': (0, 10**9, 1.5),
  'max_step_tokens': (-1, 1.5),
  'system': ('Be brief.', None),
  'prefill': ('<think>', 3),
}  # fmt: skip
PRETRAIN = {
  'seed': (-1, 2**32, 1.5),
  'group': ('s6', '', None),
  'length': (0, -1, 10**6),
  'num_generators': (-1, 1.0),
  'noise': (-0.1, 1.5, NAN),
  'test_fraction': (0.0, 1.0, -1.0),
  'num_layers': (0, 10**9),
  'embed_dim': (0, 30, 10**9),
  'mlp_dim': (0, 10**9),
  'num_heads': (0, 3),
  'num_steps': (0, -1, 50),
  'batch_size': (0, 10**9),
  'learning_rate': (0.0, -1.0, NAN, INF, 100.0),
  'warmup_steps': (0, 900),
  'weight_decay': (-1.0, NAN),
  'checkpoint_every': (0, -5),
  'num_eval_problems': (0, 10**9),
}
BENCHMARK = {
  'seed': (-1, 2**32, 1.0),
  'num_items': (-1, 2.5, 10**6),
  'num_samples': (0, -1),
  'budgets': ((2,), (0,)),
  'judge': (None, 3, '/nowhere.jsonl', '/nowhere/model'),
  'judge_seed': (-1, 2**32),
  'judge_temperature': (-1.0, NAN),
  'judge_max_new_tokens': (0, 1.5),
  'grade_seconds': (0.0, -1.0, NAN, INF),
  'num_workers': (-1, 10**6, 1.5),
  'source': ('', 'timeq', '/nowhere.py'),
  'data': ('/nowhere.jsonl', '/'),
  'predictions': ('/nowhere.jsonl', '/'),
  'compare': ('/nowhere',),
}
COMPARE = {
  'worlds': ((), ('calibratd',), 'table', (1,)),
  'methods': ((), ('vote',), ('all', 'all')),
  'budgets': ((), (0,), (64,), (1.5,), ('a',)),
  'pool_size': (0, -1, 10**9),
  'num_seeds': (0, 10**9, 1.5),
  'num_problems': (0, 10**9),
  'num_items': (0,),
  'baseline': ('vote', ''),
  'num_permutations': (0,),
  'drawn': (('vote',), ()),
}
SAMPLE = {
  'prompt': ('', '  '),
  'method': ('vote', '', 'atts'),
  'stop': (('',), ('a', '')),
  'step_ends': (('',),),
  'answer_pattern': ('(', '[a-'),
  'model': ('smollm', '/nowhere/model.gguf'),
  'quantization': ('int4', ''),
  'law': (
    sampling.SamplingParams(-1.0),
    sampling.SamplingParams(top_p=1.5),
    sampling.SamplingParams(min_p=2.0),
    sampling.SamplingParams(NAN),
  ),
}
SPARSE = {
  'budgets': ((0,), (16,), (40,), (-64,)),
  'contexts': ((0,), (-1,)),
  'model': ('smollm',),
}
FLAGS = {
  'evaluate': (
    '--workdir=', '--config=', '--config=nope.py', '--config.temperatue=1',
    '--config.num_items=abc', '--config.model.name=x', '--nope', 'more',
    '--num_processes=0', '--process_id=-1', '--allow_config_change=perhaps',
    '--config=@SYNTAX', '--config=@RAISES', '--config=@IMPORTS',
    '--config=@NOTHING',
  ),
  'pretrain': (
    '--workdir=', '--config=nope.py', '--config.lenght=3',
    '--config.noise=much', '--config=@SYNTAX', '--config=@RAISES',
  ),
  'benchmark': (
    '--workdir=', '--config=nope.py', '--config.jugde=x', '--official=perhaps',
    '--list=2', '--config.num_samples=x',
  ),
  'compare': (
    '--workdir=', '--config=nope.py', '--config.world=1', '--report_only=2',
    '--config.num_seeds=x',
  ),
  'sample': (
    '--num_samples=0', '--num_samples=x', '--num_samples=1000000000',
    '--max_new_tokens=-1', '--max_new_tokens=0', '--temperature=-1',
    '--temperature=hot', '--top_k=99999999999', '--top_k=-1', '--top_p=1.5',
    '--top_p=-1', '--min_p=2', '--preset=llama', '--seed=-1',
    '--seed=4294967296', '--seed=18446744073709551616', '--raw=perhaps',
    '--max_steps=0', '--max_step_tokens=-1',
  ),
  'kinetics': (
    '--hardware=abacus', '--combine=product', '--prompt_tokens=0',
    '--prompt_tokens=100000000', '--kv_budget=0', '--block_size=-1',
    '--workdir=',
  ),
  'sparse_decoding': (
    '--part=speling', '--rule=best', '--block_size=0', '--dense_layers=-1',
    '--texts=0', '--items=0', '--rows=0', '--budget=x', '--workdir=',
  ),
}  # fmt: skip


def table(options):
  return [(name, x) for name, values in options.items() for x in values]


@pytest.fixture(autouse=True)
def nothing_is_computed():
  """Loading a model is computing, and so is compiling anything."""
  refuse = mock.Mock(side_effect=AssertionError('something was compiled'))
  with mock.patch.object(jax.stages.Lowered, 'compile', refuse):
    yield


def check(run, name, tmp_path, says=''):
  """`run` raises what a script prints as one line, and leaves no files."""
  with pytest.raises(command.BAD_INPUT) as caught:
    run()
  line = command.one_line(caught.value)
  assert says in line, line
  assert '\n' not in line and len(line) < 1000, line
  assert not list(tmp_path.rglob('*.jsonl')), 'something was written'
  assert name in line, line


def id_of(value):
  return re.sub(r'\W+', '_', repr(value))[:40]


@pytest.mark.parametrize(('name', 'value'), table(EVALUATE), ids=id_of)
def test_evaluate(name, value, tmp_path):
  config = smollm2_arithmetic.get_config().to_dict() | {name: value}
  if name == 'task_path':
    config['tasks'] = ('gsm8k',)
  run = lambda: evaluate_driver.evaluate(config, tmp_path / 'run')
  by_value = {name: str(value) for name in ('model', 'task_path')}
  by_value |= {'tasks': '', 'system': 'system=', 'prefill': 'prefill='}
  named = f'config.{name}'
  if (isinstance(value, str) and value.strip()) or isinstance(value, tuple):
    named = by_value.get(name, named)
  check(run, named, tmp_path)


@pytest.mark.parametrize(('name', 'value'), table(PRETRAIN), ids=id_of)
def test_pretrain(name, value, tmp_path):
  config = pretrain_s3.get_config().to_dict() | {name: value}
  run = lambda: pretrain_driver.pretrain(config, tmp_path / 'run')
  check(run, name, tmp_path)


@pytest.mark.parametrize(('name', 'value'), table(BENCHMARK), ids=id_of)
def test_benchmark(name, value, tmp_path):
  config = benchmark_config.get_config().to_dict()
  examples = ROOT / 'tests' / 'benchmarks' / 'examples'
  arguments = {'source': 'timeqa', 'data': examples / 'timeqa.jsonl'}
  named = str(value)
  if name in config:
    config[name] = value
    named = value if isinstance(value, str) else name
  else:
    arguments[name] = value
  run = lambda: benchmark_driver.benchmark(
    config, workdir=tmp_path / 'run', **arguments
  )
  check(run, named, tmp_path)


@pytest.mark.parametrize(('name', 'value'), table(COMPARE), ids=id_of)
def test_compare(name, value, tmp_path):
  config = compare_config.get_config().to_dict() | {name: value}
  run = lambda: compare_driver.compare(config, tmp_path / 'run', tmp_path)
  check(run, name, tmp_path)


@pytest.mark.parametrize(('name', 'value'), table(SAMPLE), ids=id_of)
def test_sample(name, value, tmp_path):
  question = sample_driver.Question('What?')._replace(**{name: value})
  names = {'law': '', 'model': str(value)}
  check(lambda: sample_driver.ask(question), names.get(name, name), tmp_path)


@pytest.mark.parametrize('name', ['system', 'prefill'])
def test_what_is_for_chats_only(name):
  question = sample_driver.Question('What?')._replace(**{name: 'x'})
  assert getattr(sample_driver.as_task(question, None), name) == 'x'
  with pytest.raises(ValueError, match=f"{name}='x' is for chats"):
    sample_driver.ask(question._replace(raw=True, model='nowhere.gguf'))


@pytest.mark.parametrize(('name', 'value'), table(SPARSE), ids=id_of)
def test_sparse_decoding(name, value, tmp_path):
  study = sparse_driver.Study()._replace(**{name: value})
  run = lambda: sparse_driver.measure_sparse_decoding(study, tmp_path / 'run')
  check(run, {'model': str(value)}.get(name, name[:-1]), tmp_path)


@pytest.mark.parametrize('driver', ['evaluate', 'pretrain', 'compare'])
@pytest.mark.parametrize('change', ['missing', 'unknown'])
def test_options_are_all_there_and_no_more(driver, change, tmp_path):
  config, options = {
    'evaluate': (smollm2_arithmetic, evaluate_driver.EvaluateOptions),
    'pretrain': (pretrain_s3, pretrain_driver.PretrainOptions),
    'compare': (compare_config, compare_driver.CompareOptions),
  }[driver]
  config = config.get_config().to_dict()
  evaluate_driver.options.parse(options, config)
  name = next(iter(config))
  if change == 'missing':
    del config[name]
  else:
    name = 'sed'
    config[name] = 1
  run = lambda: evaluate_driver.options.parse(options, config)
  check(run, f'config.{name} is', tmp_path)


@pytest.mark.parametrize(
  ('kind', 'says'),
  [('absent', 'no records'), ('torn', 'samples.jsonl:1'), ('file', 'Not a')],
)
def test_records_of_kinetics(kind, says, tmp_path):
  path = tmp_path / kind
  if kind == 'torn':
    path.mkdir()
    (path / 'samples.jsonl').write_text('{"item_id": 3}\n')
  if kind == 'file':
    path.write_text('')
  workdir = path / 'in' if kind == 'file' else tmp_path / 'report'
  records = [] if kind == 'file' else [path]
  prices = kinetics_driver.Prices()
  with pytest.raises(command.BAD_INPUT, match=says):
    kinetics_driver.price_everything(prices, workdir, records)


@contextlib.contextmanager
def script(name):
  """Loads a script with its flags, and forgets them afterwards."""
  before = set(flags.FLAGS)
  spec = importlib.util.spec_from_file_location(
    f'{name}_script', ROOT / 'scripts' / f'{name}.py'
  )
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module
  try:
    spec.loader.exec_module(module)
    yield module
  finally:
    del sys.modules[spec.name]
    for flag in set(flags.FLAGS) - before:
      delattr(flags.FLAGS, flag)
    command.forget_config()


CONFIGS = {
  '@SYNTAX': 'def get_config(:\n',
  '@RAISES': 'def get_config():\n  raise RuntimeError("no luck")\n',
  '@IMPORTS': 'import no_such_module\n',
  '@NOTHING': 'x = 1\n',
}


@pytest.mark.parametrize('name', FLAGS)
def test_flags(name, tmp_path):
  for argument in FLAGS[name]:
    flag, _, value = argument.partition('=')
    if value in CONFIGS:
      path = tmp_path / 'config.py'
      path.write_text(CONFIGS[value])
      argument = f'{flag}={path}'
    with script(name) as module, contextlib.redirect_stderr(io.StringIO()):
      required = ['--prompt=Why?'] if name == 'sample' else ['--workdir=run']
      argv = [name, *required, argument]
      with pytest.raises(SystemExit) as caught:
        rest = command.parse_flags(name, argv)
        command.check_arguments(name, rest)
    line = str(caught.value.code)
    assert line.startswith(f'{name}: '), (argument, line)
    assert '\n' not in line, (argument, line)
    assert flag.lstrip('-').split('.')[0] in line or value in line, line
    assert module.__doc__


def test_the_table_is_long():
  tables = (EVALUATE, PRETRAIN, BENCHMARK, COMPARE, SAMPLE, SPARSE)
  count = sum(len(table(x)) for x in tables) + sum(map(len, FLAGS.values()))
  assert count >= 150, count
