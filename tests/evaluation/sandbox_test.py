"""Hostile programs, each with the verdict that it must get."""

import os
import pathlib
import shutil
import signal
import socket

import pytest

from ttc import evaluation
from ttc.evaluation import sandbox

GONE = 'FileNotFoundError'
READ_ONLY = 'Read-only file system'
NOT_PERMITTED = 'Operation not permitted'
C = 'import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n'
# What a program that got hold of a way out would do with it.
SNEAK = (
  'class S(str): pass\n'
  'import builtins, __main__\n'
  'builtins.isinstance = lambda *a: False\n'
  '__main__.DENIED = ("z",)\n'
)
CALL = (
  'if c.{}: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))'
)

# Program, status, what the detail contains.
PROGRAMS = [
  # Files of the host.
  ('open("/etc/passwd").read()', 'failed', GONE),
  ('open("/etc/shadow").read()', 'failed', GONE),
  ('open("/proc/self/environ").read()', 'failed', GONE),
  ('open("/proc/1/root/etc/passwd").read()', 'failed', GONE),
  ('open("/sys/kernel/notes", "rb").read()', 'failed', GONE),
  ('open("/dev/mem", "rb")', 'failed', GONE),
  ('open("/dev/shm/x", "w")', 'failed', GONE),
  ('open("/dev/tty")', 'failed', GONE),
  ('import os; os.listdir("/home")', 'failed', GONE),
  ('import os; os.chdir("/var")', 'failed', GONE),
  (f'open({__file__!r}).read()', 'failed', GONE),
  ('open("../etc/passwd")', 'failed', GONE),
  ('open("/tmp/../../../etc/passwd")', 'failed', GONE),
  ('import os; os.symlink("/etc", "x"); open("x/passwd")', 'failed', GONE),
  ('import os; d = os.open("/", 0); os.open("etc/passwd", 0, dir_fd=d)',
   'failed', GONE),
  ('class S(str): pass\nopen(S("/etc/passwd"))', 'failed', GONE),
  (SNEAK + 'open("/etc/passwd")', 'failed', GONE),
  ('import io; io.FileIO("/etc/passwd")', 'failed', GONE),
  ('import os; os.stat("/etc/hostname")', 'failed', GONE),
  ('import pwd; pwd.getpwuid(0)', 'failed', 'KeyError'),
  ('import pathlib; assert list(pathlib.Path("/").glob("etc/*"))',
   'failed', 'AssertionError'),
  # Files of the sandbox that are not the program's.
  ('open("/escaped", "w")', 'failed', READ_ONLY),
  ('open("/runner/sandbox_child.py", "a")', 'failed', READ_ONLY),
  ('import os; os.remove("/runner/sandbox_child.py")', 'failed', READ_ONLY),
  ('import os; os.remove(os.__file__)', 'failed', READ_ONLY),
  ('import os; open(os.__file__, "w")', 'failed', READ_ONLY),
  ('import os; os.chmod(os.__file__, 0o777)', 'failed', READ_ONLY),
  ('import os; os.mkdir("/dev/x")', 'failed', READ_ONLY),
  ('import shutil; shutil.rmtree("/runner")', 'failed', READ_ONLY),
  ('import os; os.link(os.__file__, "x")', 'failed', 'OSError'),
  ('import os; os.mknod("x", 0o60600, os.makedev(8, 0))', 'failed',
   NOT_PERMITTED),
  ('import os; os.chown(".", 0, 0)', 'failed', 'OSError'),
  # Processes and signals.
  ('import os; os.fork()', 'failed', NOT_PERMITTED),
  ('import os\nwhile True:\n  try: os.fork()\n  except OSError: pass',
   'timeout', ''),
  ('import subprocess; subprocess.Popen(["true"])', 'failed', 'Error'),
  ('import os; assert os.system("true") == 0', 'failed', 'AssertionError'),
  ('import os; os.posix_spawn("/bin/true", ["true"], {})', 'failed', 'Error'),
  ('import os; os.execv("/bin/true", ["true"])', 'failed', GONE),
  ('import threading; threading.Thread(target=print).start()', 'failed',
   'RuntimeError'),
  ('import multiprocessing as m; m.Process(target=print).start()', 'failed',
   'Error'),
  ('import os; os.kill(0, 15)', 'failed', 'SIGTERM'),
  ('import os; os.kill(0, 9)', 'failed', 'SIGKILL'),
  ('import os; os.kill(-1, 9)\nwhile True: pass', 'failed', ''),
  ('import os; os.kill(os.getpid(), 9)', 'failed', 'SIGKILL'),
  ('import os; os.kill(1, 9)', 'ok', ''),
  ('import os; os.killpg(os.getpgid(0), 15)', 'failed', ''),
  (f'import os; os.kill({os.getpid()}, 15)', 'failed', 'ProcessLookupError'),
  ('import signal; signal.raise_signal(signal.SIGKILL)', 'failed', 'SIGKILL'),
  ('import signal; signal.raise_signal(signal.SIGSEGV)', 'failed', 'SIGSEGV'),
  ('import signal; signal.raise_signal(signal.SIGSTOP)\nwhile 1: pass',
   'timeout', ''),
  ('import signal\nfor s in range(1, 32):\n  try: signal.signal(s, 1)\n'
   '  except OSError: pass\nwhile 1: pass', 'timeout', ''),
  ('import os; os.abort()', 'failed', 'SIGABRT'),
  ('import ctypes; ctypes.string_at(0)', 'failed', 'SIGSEGV'),
  # Network and sockets of the host.
  ('import socket; socket.create_connection(("127.0.0.1", 22), 1)', 'failed',
   'Error'),
  ('import socket; socket.create_connection(("1.1.1.1", 53), 1)', 'failed',
   'unreachable'),
  ('import socket\ns = socket.socket(1, 1)\ns.connect("/run/x")', 'failed',
   GONE),
  ('import socket\ns = socket.socket(1, 1)\ns.connect("\\0ttc-hostile")',
   'failed', 'refused'),
  ('import socket; socket.getaddrinfo("x.com", 80)', 'failed', 'gaierror'),
  ('import urllib.request as r; r.urlopen("http://example.com")', 'failed',
   'Error'),
  ('import socket; socket.socket(17, 3)', 'failed', NOT_PERMITTED),
  # Rights and namespaces.
  ('import os; os.setuid(0)', 'failed', 'OSError'),
  ('import os; os.setgroups([])', 'failed', NOT_PERMITTED),
  ('import os; os.chroot("/")', 'failed', NOT_PERMITTED),
  ('import os; os.nice(-5)', 'failed', 'Error'),
  (C + CALL.format('unshare(0x10000000)'), 'failed', NOT_PERMITTED),
  (C + CALL.format('unshare(0x10020000)'), 'failed', NOT_PERMITTED),
  (C + CALL.format('mount(b"x", b"/tmp", b"tmpfs", 0, None)'), 'failed',
   NOT_PERMITTED),
  (C + CALL.format('umount2(b"/tmp", 2)'), 'failed', NOT_PERMITTED),
  (C + CALL.format('ptrace(0, 0, 0, 0)'), 'failed', NOT_PERMITTED),
  (C + CALL.format('shmget(0, 1 << 30, 0o1600) + 1 == 0'), 'failed',
   NOT_PERMITTED),
  (C + CALL.format('memfd_create(b"x", 0) < 0'), 'failed', NOT_PERMITTED),
  (C + CALL.format('syscall(425, 8, 0) < 0'), 'failed', NOT_PERMITTED),
  (C + CALL.format('sethostname(b"x", 1)'), 'failed', NOT_PERMITTED),
  (C + 'if c.fork() != -1: os._exit(0)\nos._exit(7)', 'failed', 'status 7'),
  ('import resource as r; r.setrlimit(r.RLIMIT_AS, (2**40, 2**40))', 'failed',
   'ValueError'),
  # Time, memory, disk and output.
  ('while True: pass', 'timeout', ''),
  ('import time; time.sleep(100)', 'timeout', ''),
  ('import os, time\nos.close(1), os.close(2)\ntime.sleep(100)', 'timeout', ''),
  ('input()', 'failed', 'EOFError'),
  ('x = bytearray(2**31)', 'memory', ''),
  ('x = []\nwhile True: x.append(bytearray(2**20))', 'memory', ''),
  ('x = "x"\nwhile True: x += x', 'memory', ''),
  ('import mmap; mmap.mmap(-1, 2**33)', 'failed', 'OSError'),
  ('9 ** 9 ** 9 ** 9', 'timeout', ''),
  ('open("x", "w").write("x" * 2**25)', 'failed', 'OSError'),
  ('for i in range(100): open(str(i), "w").write("x" * 2**20)', 'failed',
   'No space left'),
  ('for i in range(20_000): open(str(i), "w").close()', 'failed',
   'No space left'),
  ('import os\nfor i in range(1500): os.mkdir("d"); os.chdir("d")', 'failed',
   'No space left'),
  ('open("x", "w").truncate(2**40)', 'failed', 'OSError'),
  ('x = [open("/dev/null") for _ in range(500)]', 'failed', 'Too many open'),
  ('while True: print("x" * 2**16)', 'failed', 'printed more than'),
  ('def f(): f()\nf()', 'failed', 'RecursionError'),
  ('import sys; sys.setrecursionlimit(10**8)\ndef f(x): f([x])\nf(0)',
   'any', ''),
  # What a program says of itself.
  ('import sys; sys.exit(1)', 'failed', 'exit status 1'),
  ('import os; os._exit(3)', 'failed', 'exit status 3'),
  ('raise ValueError("broken\\nok")', 'failed', 'ValueError: broken ok'),
  ('class E(Exception):\n  def __str__(self): raise KeyError\nraise E',
   'failed', 'E:'),
  ('this is no program', 'failed', 'SyntaxError'),
  ('x = "\\0', 'failed', 'SyntaxError'),
  ('\ud800', 'failed', ''),
  ('(' * 5000, 'failed', ''),
  ('import os\nfor fd in range(3, 64):\n'
   '  try: os.write(fd, b"S" * 99)\n  except OSError: pass\nos._exit(1)',
   'failed', 'SS'),
]  # fmt: skip
HARMLESS = [
  ('print(1)', '1\n'),
  ('import asyncio\nasync def f(): return 3\nprint(asyncio.run(f()))', '3\n'),
  ('import tempfile\nwith tempfile.TemporaryFile() as f: print(f.write(b"x"))',
   '1\n'),
  ('import os\nos.makedirs("a/b"); print(os.listdir("."))', "['a']\n"),
  ('import os; print(dict(os.environ), os.listdir("."))', '{} []\n'),
  ('import sys; print(any("site-packages" in p for p in sys.path))', 'False\n'),
  ('import sqlite3, hashlib, decimal, typing, zlib; print(2)', '2\n'),
  ('import dataclasses, pickle\n@dataclasses.dataclass\nclass A: x: int\n'
   'print(pickle.loads(pickle.dumps(A(3))))', 'A(x=3)\n'),
  ('import sys; sys.exit(0)', ''),
]  # fmt: skip

TESTS = (
  'def check(candidate):\n'
  '  assert candidate(1, 2) == 3\n'
  '  assert candidate([1], [2]) == [1, 2]\n'
)
ALWAYS = (
  'class A:\n  def __eq__(self, o): return True\n'
  '  def __bool__(self): return True\n'
)
# Programs that do not add and must not pass.
FORGED = [
  'raise SystemExit(0)',
  'import os; os._exit(0)',
  'def add(x, y): raise SystemExit(0)',
  'def add(x, y):\n  import os; os._exit(0)',
  ALWAYS + 'def add(x, y): return A()',
  ALWAYS + 'class L(list, A): pass\ndef add(x, y): return L()',
  'class I(int):\n  def __eq__(self, o): return True\n'
  'def add(x, y): return I(0)',
  'def check(candidate): pass\ndef add(x, y): return 0',
  'import builtins, __main__\n__main__.check = lambda c: None\n'
  'builtins.check = lambda c: None\ndef add(x, y): return 0',
  'import builtins\nbuiltins.AssertionError = SystemExit\n'
  'def add(x, y): return 0',
  'import sys\nsys.settrace(lambda *a: None)\ndef add(x, y): return 0',
  'import gc\ndef add(x, y):\n'
  '  for o in gc.get_objects():\n    if type(o) is dict and "check" in o:\n'
  '      o["check"] = lambda c: None\n  return 0',
  'def add(x, y): return y',
  'def add(x, y): return str(x + y)',
  'def add(x, y): return (x + y for _ in [0])',
  'def add(x, y): return float("nan")',
  'def add(x, y):\n  while True: pass',
  'def add(x, y): return "x" * 10**7',
  'def add(x, y):\n  z = []\n  z.append(z)\n  return z',
  'import os, struct\nfor fd in range(3, 64):\n'
  '  for m in (b\'["t", "end", ""]\', b"{}", b\'{"passed": true}\'):\n    try:'
  ' os.write(fd, struct.pack("<Q", len(m)) + m)\n    except OSError: pass\n'
  'def add(x, y): return 0',
  'import plain_data\nplain_data.encode = lambda v: \'["t", "end", ""]\'\n'
  'def add(x, y): return 0',
  'import plain_data\nplain_data.encode = lambda v: \'["t", true, ["o", "x"]]\''
  '\ndef add(x, y): return 0',
  'import plain_data\nplain_data.encode = lambda v: "[" * 10**5\n'
  'def add(x, y): return 0',
  'import sys\nsys.modules["__main__"].__dict__.clear()',
  'add = 3',
  '',
]


@pytest.fixture(scope='module', params=['bwrap', 'unshare'])
def tool(request):
  """Either tool that makes namespaces, alone."""
  which = shutil.which
  if which(request.param) is None:
    pytest.skip(f'{request.param} is not installed')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      shutil,
      'which',
      lambda name: which(name) if name == request.param else None,
    )
    sandbox._check_start.cache_clear()
    try:
      sandbox._check_start()
    except RuntimeError as error:
      pytest.skip(str(error))
    yield request.param
  sandbox._check_start.cache_clear()


def run(programs, **limits):
  limits = {'seconds': 2.0, **limits}
  return evaluation.run_programs(programs, allow_execution=True, **limits)


def test_programs_get_their_verdicts(tool):
  assert len(PROGRAMS) + len(FORGED) >= 100
  name = '\0ttc-hostile'
  before = set(os.listdir('/tmp'))
  with socket.socket(socket.AF_UNIX) as server:
    server.bind(name)
    server.listen()
    results = run([program for program, _, _ in PROGRAMS])
  wrong = [
    (program, result)
    for (program, status, detail), result in zip(PROGRAMS, results, strict=True)
    if (result.status != status and status != 'any')
    or (status == 'any' and result.status == 'ok')
    or detail not in result.detail
    or len(result.output) > 2**16
  ]
  assert not wrong, '\n'.join(map(str, wrong))
  assert not {n for n in set(os.listdir('/tmp')) - before if 'sandbox-' in n
              and 'files' not in n}  # fmt: skip


def test_harmless_programs_run(tool):
  results = run([program for program, _ in HARMLESS], seconds=10.0)
  for (program, output), result in zip(HARMLESS, results, strict=True):
    assert result == ('ok', '', output), (program, result)


def test_no_program_forges_a_pass(tool):
  right = 'def add(x, y): return x + y'
  checks = [
    evaluation.FunctionCheck(source, 'add', TESTS)
    for source in [*FORGED, right]
  ]
  verdicts = evaluation.check_functions(
    checks, allow_execution=True, seconds=5.0
  )
  passed = [c.source for c, v in zip(checks, verdicts, strict=True) if v.passed]
  assert passed == [right]


def test_long_output_is_cut_and_does_not_fail(tool):
  (result,) = run(['print("x" * 70_000)\nprint("end")'])
  assert (result.status, len(result.output)) == ('ok', 2**16)


def test_a_killed_sandbox_is_one_failure(tool):
  box = sandbox.Box('run', sandbox.Limits(10.0), source='while True: pass')
  with box:
    box._process.send_signal(signal.SIGKILL)
    _, code = box.finish()
  assert code == -signal.SIGKILL
  assert [r.status for r in run(['1', '1'])] == ['ok', 'ok']


def test_nothing_is_run_without_namespaces(monkeypatch):
  monkeypatch.setattr(shutil, 'which', lambda name: None)
  sandbox._check_start.cache_clear()
  with pytest.raises(RuntimeError, match='apt-get install bubblewrap'):
    run(['1'])


def test_it_runs_nothing_unless_it_may():
  with pytest.raises(PermissionError, match='allow_execution=True'):
    evaluation.run_programs(['1'])
  check = evaluation.FunctionCheck('', 'f')
  with pytest.raises(PermissionError, match='allow_execution=True'):
    evaluation.check_functions([check])
  for limits in ({'seconds': 0.0}, {'memory': -1}, {'max_output': 0}):
    with pytest.raises(ValueError, match='must be positive'):
      run(['1'], **limits)
  assert run([]) == []


def test_the_child_stands_alone():
  for name in ('sandbox_child', 'plain_data'):
    source = pathlib.Path(sandbox.__file__).with_name(f'{name}.py').read_text()
    assert 'ttc' not in source


def test_named_packages_can_be_imported_and_no_others(tool):
  source = 'import sympy\ndef f(x):\n  return str(sympy.sqrt(x))\n'
  check = evaluation.FunctionCheck(source, 'f', inputs=[(12,)])
  run_check = lambda packages: evaluation.check_functions(
    [check], allow_execution=True, seconds=20.0, call_seconds=5.0,
    memory=2**30, packages=packages,
  )[0]  # fmt: skip
  with_them = run_check(('sympy', 'mpmath'))
  assert with_them.outputs == ("'2*sqrt(3)'",), with_them
  without = run_check(())
  assert without.status == 'failed' and 'ModuleNotFoundError' in without.detail
  with pytest.raises(ImportError, match='pip install no_such_package'):
    run_check(('no_such_package',))
