"""The sandbox's side of `suite_checks`: runs test files, and says what ran.

A test file is run with the files that it tests, of which one is measured by
`suite_coverage`. Tests are functions as pytest finds them (with fixtures and
parameters) and classes of unittest. This file stands alone beside those that
are laid into the sandbox: it runs there as it is, after all rights are gone.
"""

import ast
import importlib.machinery
import importlib.util
import inspect
import json
import os
import shutil
import signal
import sys

import suite_coverage

CODE = '/tmp/code'
MAX_SHOWN = 300  # characters of the text of a failure


class Slow(BaseException):
  """A test that has used up its processor time."""


def serve(request, receive, send):
  """Runs the suite on one version of the measured file after another.

  Args:
    request: `sources` by path, `measured` (the path of one),
      `test_path` and `tests` (the source).
    receive: gives the next message, empty at the end: a JSON object of `nonce`,
      `source` (None: as in `sources`), `measure`, `test_seconds`.
    send: takes the answer, a JSON object, or what went wrong.
  """
  hide()
  os.makedirs(CODE)
  finder = Finder(request['sources'], request['measured'])
  sys.meta_path.insert(0, finder)
  sys.path[:0] = [CODE, os.path.dirname(f'{CODE}/{request["test_path"]}')]
  send('{}')
  number = 0
  while text := receive():
    number += 1
    message = json.loads(text)
    folder = f'/tmp/run{number}'
    os.mkdir(folder)
    os.chdir(folder)
    finder.begin(message['source'], message['measure'])
    report = run_suite(request, finder.recorder, message)
    if message['measure']:
      report['parts'] = {
        name: (sorted(lines), sorted(arms))
        for name, (lines, arms) in finder.recorder.parts.items()
      }
    send(json.dumps(report | {'nonce': message['nonce']}))
    os.chdir('/tmp')
    shutil.rmtree(folder, ignore_errors=True)


def hide():
  """Takes this file, and what writes its reports, from where tests look."""
  ours = ('__main__', __name__, suite_coverage.__name__)
  for name in (*ours, 'json', 'json.encoder', 'json.decoder'):
    sys.modules.pop(name, None)
  sys.modules['__main__'] = type(sys)('__main__')


def run_suite(request, recorder, message):
  """What becomes of the tests: `syntax`, `imported`, `outcomes`, `detail`."""
  report = {'syntax': False, 'imported': False, 'outcomes': [], 'detail': ''}
  try:
    tree = ast.parse(request['tests'])
    code = compile(tree, request['test_path'], 'exec', dont_inherit=True)
  except Exception as error:
    return report | {'detail': describe(error)}
  report['syntax'] = True
  name = os.path.splitext(os.path.basename(request['test_path']))[0]
  module = type(sys)(name)
  module.__dict__['__file__'] = f'{CODE}/{request["test_path"]}'
  sys.modules[name] = module
  seconds = message['test_seconds']
  path = request['test_path']
  load = lambda: exec(code, module.__dict__)
  status, detail, _ = attempt(load, seconds, path)
  if status != 'passed':
    return report | {'detail': detail}
  report['imported'] = True
  for name, test in collect(module):
    if message['measure']:
      recorder.begin(name)
    status, detail, line = attempt(test, seconds, path)
    report['outcomes'].append((name, status, detail, line))
    if not message['measure'] and status not in ('passed', 'skipped'):
      break  # a mutant is dead after one failure
  return report


def attempt(work, seconds, path):
  """Status, detail and line of something that may raise or take too long."""
  pytest, unittest = map(sys.modules.get, ('pytest', 'unittest'))
  skips = (pytest.Skipped,) if pytest else ()
  skips += (unittest.SkipTest,) if unittest else ()
  try:
    signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
    work()
  except Slow as error:
    detail = f'after {seconds} s of processor time'
    return 'timeout', detail, line_in(path, error)
  except skips as error:
    return 'skipped', describe(error), 0
  except AssertionError as error:
    return 'failed', describe(error), line_in(path, error)
  except BaseException as error:
    return 'error', describe(error), line_in(path, error)
  finally:
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
  return 'passed', '', 0


def line_in(path, error):
  """Where in a file an exception came from; 0 where it did not."""
  line, step = 0, error.__traceback__
  while step is not None:
    if step.tb_frame.f_code.co_filename == path:
      line = step.tb_lineno
    step = step.tb_next
  return line


def expire(*_):
  """Ends a test that is slow."""
  raise Slow


def collect(module):
  """Names and calls of the tests of a module, in their order."""
  fixtures = {
    name: value
    for name, value in vars(module).items()
    if hasattr(value, 'is_fixture')
  }
  for name, value in list(vars(module).items()):
    if inspect.isclass(value) and value.__module__ == module.__name__:
      unittest = sys.modules.get('unittest')
      if unittest and issubclass(value, unittest.TestCase):
        for method in unittest.TestLoader().getTestCaseNames(value):
          yield f'{name}::{method}', case_of(value, method)
      elif name.startswith('Test'):
        for method, function in list(vars(value).items()):
          if method.startswith('test') and callable(function):
            label, make = f'{name}::{method}', method_of(value, method)
            yield from calls(label, function, make, fixtures)
    elif name.startswith('test') and inspect.isfunction(value):
      yield from calls(name, value, lambda f=value: (f, no_end), fixtures)


def case_of(kind, method):
  """A call that runs one method of a class of unittest."""

  def run():
    unittest = sys.modules['unittest']
    result = unittest.TestResult()
    result.addSubTest = lambda case, sub, error: (
      result.errors.append((case, error[1])) if error else None
    )
    result.addError = lambda case, error: result.errors.append((case, error[1]))
    result.addFailure = result.addError
    suite = unittest.TestSuite([kind(method)])
    suite.run(result)  # with setUpClass
    if result.unexpectedSuccesses:
      raise AssertionError('unexpected success')
    if result.errors:
      raise result.errors[0][1]
    if result.skipped:
      raise unittest.SkipTest(result.skipped[0][1])

  return run


def method_of(kind, method):
  """Makes a method of a new object, set up, and what ends it."""

  def make():
    value = kind()
    for name in ('setup_class', 'setup_method'):
      call_with(getattr(value, name, no_end), getattr(value, method))
    end = getattr(value, 'teardown_method', no_end)
    return getattr(value, method), lambda: call_with(
      end, getattr(value, method)
    )

  return make


def call_with(function, method):
  """Calls with the method, or with nothing, as the function takes it."""
  return function(*[method][: len(inspect.signature(function).parameters)])


def no_end():
  """Nothing to do."""


def calls(name, function, make, fixtures):
  """One call for each set of parameters of a test."""
  marks = getattr(function, 'marks', {})
  for index, values in enumerate(marks.get('parameters', [{}])):
    label = f'{name}[{index}]' if 'parameters' in marks else name
    yield label, lambda values=values: run_test(make, values, fixtures, marks)


def run_test(make, values, fixtures, marks):
  """Runs a test with its fixtures, and ends them in reverse."""
  if marks.get('skip'):
    raise sys.modules['pytest'].Skipped('marked')
  ends, made = [], dict(values)
  try:
    for name, fixture in fixtures.items():
      if fixture.autouse:
        fill(name, fixtures, made, ends)
    function, end = make()
    ends.append(end)
    for name in inspect.signature(function).parameters:
      fill(name, fixtures, made, ends)
    wanted = inspect.signature(function).parameters
    result = function(**{name: made[name] for name in wanted if name in made})
    if inspect.iscoroutine(result):
      import asyncio

      asyncio.run(result)
  except Exception:
    if not marks.get('xfail'):
      raise
  finally:
    for end in reversed(ends):
      end()


def fill(name, fixtures, made, ends):
  """Makes a fixture, after those that it asks for."""
  if name in made:
    return
  stub = sys.modules.get('pytest')
  fixture = fixtures.get(name) or getattr(stub, f'fixture_{name}', None)
  if fixture is None:
    raise LookupError(f'fixture {name!r} not found')
  function = getattr(fixture, 'function', fixture)
  wanted = list(inspect.signature(function).parameters)
  for other in wanted:
    fill(other, fixtures, made, ends)
  value = function(*(made[other] for other in wanted))
  if inspect.isgenerator(value):
    generator, value = value, next(value)
    ends.append(lambda: next(generator, None))
  made[name] = value


class Finder:
  """Imports the files of a suite, one of them measured or changed."""

  def __init__(self, files, measured):
    self.files, self.measured = files, measured
    self.begin(None, False)
    for path, source in files.items():
      os.makedirs(os.path.dirname(f'{CODE}/{path}'), exist_ok=True)
      with open(f'{CODE}/{path}', 'w', encoding='utf-8') as file:
        file.write(source)

  def begin(self, source, measure):
    """Forgets what is imported; the next import is of this version."""
    self.source, self.measure = source, measure
    self.recorder = suite_coverage.Recorder()
    for path in self.files:
      sys.modules.pop(module_name(path), None)

  def find_spec(self, name, path=None, target=None):
    """The file of a module, or a stand-in for pytest."""
    del path, target
    if name == 'pytest':
      return importlib.util.spec_from_file_location(
        name, os.path.join(os.path.dirname(__file__), 'suite_fixtures.py')
      )
    stem = name.replace('.', '/')
    for file in (f'{stem}.py', f'{stem}/__init__.py'):
      if file in self.files:
        package = file.endswith('__init__.py')
        return importlib.util.spec_from_file_location(
          name,
          f'{CODE}/{file}',
          loader=Loader(self, file, name),
          submodule_search_locations=[f'{CODE}/{stem}'] if package else None,
        )
    if any(file.startswith(f'{stem}/') for file in self.files):
      spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
      spec.submodule_search_locations = [f'{CODE}/{stem}']
      return spec
    return None


class Loader(importlib.machinery.SourceFileLoader):
  """Loads a file of a suite."""

  def __init__(self, finder, file, name):
    super().__init__(name, f'{CODE}/{file}')
    self.finder, self.file = finder, file

  def get_code(self, fullname):
    """The code of the version that is wanted, with calls that measure it."""
    finder, source = self.finder, self.finder.files[self.file]
    if self.file == finder.measured and finder.source is not None:
      source = finder.source
    tree = ast.parse(source)
    if self.file == finder.measured and finder.measure:
      suite_coverage.instrument(tree)
    return compile(tree, self.path, 'exec', dont_inherit=True)

  def exec_module(self, module):
    """Runs the code, where the calls that measure it are known."""
    recorder = self.finder.recorder
    names = {'__line__': recorder.line, '__arm__': recorder.arm}
    module.__dict__.update(names, __test__=recorder.test)
    exec(self.get_code(module.__name__), module.__dict__)


def module_name(path):
  """Of a file's path."""
  return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


def describe(error):
  """The exception in one line; it may be the program's own."""
  try:
    text = str(error)
  except BaseException:
    text = ''
  return ' '.join(f'{type(error).__name__}: {text}'.split())[:MAX_SHOWN]
