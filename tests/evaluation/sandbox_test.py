"""Hostile programs are contained and reported, and nothing is left of them."""

import pathlib

import pytest

from ttc import evaluation
from ttc.evaluation import sandbox

SOURCE = pathlib.Path(sandbox.__file__).with_name('sandbox_child.py')
WATCH = 'sys.addaudithook(watch(os.path.realpath(folder), report))'
FORBIDDEN = {
  'import os\nos.fork()': 'os.fork',
  'import os\nwhile True:\n  try: os.fork()\n  except OSError: pass': 'os.fork',
  'import os\nos.system("sleep 100 &")': 'os.system',
  'import subprocess\nsubprocess.Popen(["sleep", "100"])': 'subprocess.Popen',
  'open("/tmp/escaped", "w")': 'open /tmp/escaped',
  'open("../escaped", "a")': 'open ../escaped',
  'import os\nos.open("/tmp/escaped", os.O_CREAT)': 'open /tmp/escaped',
  'import os\nos.symlink("/etc", "x")\nopen("x/passwd")': 'os.symlink /etc',
  'import os\nos.remove("/tmp")': 'os.remove /tmp',
  'import shutil\nshutil.rmtree("/tmp/x")': 'shutil.rmtree /tmp/x',
  'open("/etc/passwd").read()': 'open /etc/passwd',
  'open("/proc/self/environ").read()': 'open /proc/self/environ',
  'import os\nos.listdir("/")': 'os.listdir /',
  'import socket\nsocket.socket()': 'socket.__new__',
  'import os\nos.kill(os.getppid(), 9)': 'os.kill',
  'import ctypes': 'import ctypes',
  'try:\n  import socket\n  socket.socket()\nexcept Exception: pass': (
    'socket.__new__'
  ),
}
OTHERS = {
  'while True: pass': ('timeout', ''),
  'import os, time\nos.setsid()\ntime.sleep(100)': ('timeout', ''),
  'import signal\nsignal.raise_signal(signal.SIGSTOP)\nwhile True: pass': (
    'timeout',
    '',
  ),
  'x = bytearray(2**31)': ('memory', ''),
  'print("x" * 2**22)': ('failed', 'OSError'),
  'open("x", "w").write("x" * 2**22)': ('failed', 'OSError'),
  'import threading\nthreading.Thread(target=print).start()': (
    'failed',
    'RuntimeError',
  ),
  'def f(): f()\nf()': ('failed', 'RecursionError'),
  'import os\nos._exit(0)': ('failed', 'ended without'),
  'import sys\nsys.exit(0)': ('failed', 'SystemExit'),
  'import os\nos.abort()': ('failed', 'SIG'),
  'this is no program': ('failed', 'SyntaxError'),
  'raise ValueError("broken\\nok")': ('failed', 'ValueError: broken ok'),
}


def run(programs, **limits):
  return evaluation.run_programs(
    list(programs), allow_execution=True, **{'seconds': 0.5, **limits}
  )


def processes_of(path):
  """Commands that mention the path, ours or anyone's."""
  found = []
  for file in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
    try:
      found += [file] if str(path).encode() in file.read_bytes() else []
    except OSError:
      pass  # it has ended
  return found


@pytest.fixture
def child(tmp_path, monkeypatch):
  """Installs a changed script, and checks what is left behind."""
  path = tmp_path / 'sandbox_child.py'

  def install(old='', new=''):
    text = SOURCE.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    monkeypatch.setattr(sandbox, '_CHILD', path)

  install()
  yield install
  assert not processes_of(path)
  assert not pathlib.Path('/tmp/escaped').exists()


@pytest.mark.parametrize('namespaces', [True, False])
def test_hostile_programs_are_contained_and_reported(child, namespaces):
  if not namespaces:
    child('libc.unshare(NAMESPACES) != 0', 'True')
  results = run([*FORBIDDEN, *OTHERS, 'print(1)'])
  for (program, what), result in zip(FORBIDDEN.items(), results, strict=False):
    assert result.status == 'forbidden', (program, result)
    assert what in result.detail, (program, result)
    assert namespaces or not result.isolated
  rest = results[len(FORBIDDEN) :]
  for (program, expected), result in zip(OTHERS.items(), rest, strict=False):
    assert result.status == expected[0], (program, result)
    assert expected[1] in result.detail, (program, result)
    assert len(result.output) <= 2**16
  assert results[-1][:3] == ('ok', '', '1\n')


def test_the_kernel_contains_what_gets_past_the_hook(child):
  child(WATCH, 'pass')
  if not run(['1'])[0].isolated:
    pytest.skip('the kernel gives no namespaces here')
  attempts = {
    'import os; os.fork()': 'BlockingIOError',
    'import subprocess; subprocess.Popen(["sleep", "9"])': 'BlockingIOError',
    'import socket; socket.create_connection(("127.0.0.1", 22), 1)': (
      'unreachable'
    ),
    'open("/tmp/escaped", "w")': 'Read-only file system',
    'import os; os.kill(-1, 9)': 'ProcessLookupError',
    'for i in range(99): open(str(i), "w").write("x" * 2**20)': (
      'No space left'
    ),
    'import os; os.setuid(0)': 'OSError',
    'import os\nwhile True:\n  try: os.fork()\n  except OSError: pass': 'after',
  }
  for result, what in zip(run(attempts), attempts.values(), strict=True):
    assert result.status in ('failed', 'timeout')
    assert what in result.detail, result


def test_a_fork_bomb_fails_without_hook_and_without_namespaces(child):
  text = SOURCE.read_text()
  child(
    text, text.replace(WATCH, 'pass').replace('if isolate', 'if 0 and isolate')
  )
  bomb = 'import os\nwhile True:\n  try: os.fork()\n  except OSError: pass'
  once = 'import os\nos.fork()'
  liar = (
    'import os\nfor fd in range(3, 64):\n'
    '  try: os.write(fd, b"isolated\\n")\n  except OSError: pass'
  )
  results = run([bomb, once, liar])
  assert [r.status for r in results] == ['timeout', 'failed', 'ok']
  assert 'BlockingIOError' in results[1].detail
  assert not any(r.isolated for r in results)


def test_programs_see_nothing_of_us_or_of_each_other(child, monkeypatch):
  monkeypatch.setenv('SECRET', 'x')
  first, second, third = run([
    'import os\nprint(dict(os.environ))\nopen("x", "w").write("left")',
    'import os\nprint(os.listdir("."))\nimport sys\nprint(sys.path)',
    'import math, typing, hashlib, collections.abc, concurrent.futures\n'
    'print("é".encode("latin-1"))',
  ], seconds=10.0)  # fmt: skip
  assert (first.status, first.output) == ('ok', '{}\n')
  assert second.output.startswith('[]\n')
  assert 'site-packages' not in second.output
  assert (third.status, third.output) == ('ok', "b'\\xe9'\n")


def test_it_runs_nothing_unless_it_may():
  with pytest.raises(PermissionError, match='allow_execution=True'):
    evaluation.run_programs(['1'])
  for limits in ({'seconds': 0.0}, {'memory': -1}):
    with pytest.raises(ValueError, match='must be positive'):
      run(['1'], **limits)
  assert run([]) == []
