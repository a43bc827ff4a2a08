"""The other side of `sandbox`: a script that contains programs, one by one.

Run by an isolated interpreter; it imports nothing but the standard library. For
each program three processes stand in a row: this one; a keeper, which gives up
its rights, enters namespaces of its own and keeps the time; and the program's,
which limits itself and then runs the program. Only the last runs what is not
trusted, and the keeper is out of its sight.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback

NOBODY = 65534
MAX_FILE = 2**20  # bytes of a file, standard output included
FOLDER_SIZE = 16 * 2**20  # bytes of the private file system
LIBRARY = os.path.realpath(os.path.dirname(os.__file__))

ISOLATED, STARTED = 'isolated\n', 'started\n'  # lines of a report

# Of sched.h, sys/mount.h, linux/mount.h, sys/prctl.h and linux/capability.h.
NAMESPACES = 0x10000000 | 0x40000000 | 0x20000000 | 0x00020000 | 0x08000000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 0x4000, 1 << 18
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, RDONLY = 442, -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CAPABILITY_VERSION_3 = 0x20080522

DENIED = (
  'ctypes.',
  'fcntl.',
  'os.exec',
  'os.fork',
  'os.kill',
  'os.posix_spawn',
  'os.spawn',
  'os.system',
  'pty.',
  'resource.',
  'signal.pthread_kill',
  'socket.',
  'subprocess.',
  'syslog.',
  'urllib.',
  'webbrowser.',
)
ON_PATHS = ('glob.', 'os.', 'pathlib.', 'shutil.', 'tempfile.')
READS = ('os.listdir', 'os.scandir', 'os.walk', 'os.fwalk', 'os.chdir')


def main():
  """Reads a request and writes one line for each program."""
  request = json.load(sys.stdin)
  for index, program in enumerate(request.pop('programs')):
    print(json.dumps(contain(program, str(index), **request)), flush=True)


def contain(program, name, seconds, memory, max_output):
  """Runs one program and returns the fields of an `Execution`."""
  folder = os.path.join(os.getcwd(), name)
  os.mkdir(folder)
  if os.getuid() == 0:
    os.chown(folder, NOBODY, NOBODY)
  read, write = os.pipe()
  with tempfile.TemporaryFile(dir=os.getcwd()) as output:
    keeper = os.fork()
    if keeper == 0:
      try:
        os.close(read)
        keep(program, folder, seconds, memory, output.fileno(), write)
      except BaseException:
        os.write(write, traceback.format_exc().encode())
      os._exit(0)
    os.close(write)
    report = b''
    while part := os.read(read, 2**16):  # ends when the last holder has ended
      report = (report + part)[: 2**16]
    os.waitpid(keeper, 0)
    os.close(read)
    text = os.pread(output.fileno(), max_output, 0)
  # What is written after the start may be the program's own words.
  before, started, after = report.decode(errors='replace').partition(STARTED)
  if not started:
    raise RuntimeError(before)
  status, detail = verdict(after.splitlines())
  return {
    'status': status,
    'detail': detail,
    'output': text.decode(errors='replace'),
    'isolated': ISOLATED in before,
  }


def verdict(lines):
  """The gravest line of a report."""
  for status in ('forbidden', 'timeout', 'memory', 'failed', 'ok'):
    for line in lines:
      if line.split(' ')[0] == status:
        return status, line[len(status) + 1 :]
  return 'failed', 'ended without a report'


def keep(program, folder, seconds, memory, output, report):
  """Gives up rights, starts the program, and ends it in time."""
  libc = ctypes.CDLL(None)
  open_library()
  if os.getuid() == 0:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
  if isolate(libc, folder):
    os.write(report, ISOLATED.encode())
  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
  worker = os.fork()
  if worker == 0:
    try:
      limit(libc, folder, seconds, memory, output, report)
    except BaseException:
      os.write(report, traceback.format_exc().encode())
    else:
      os.write(report, STARTED.encode())
      perform(program, report)
    finally:
      os._exit(1)
  deadline = time.monotonic() + seconds
  while not (ended := os.waitpid(worker, os.WNOHANG))[0]:
    left = deadline - time.monotonic()
    if left <= 0:
      os.kill(worker, signal.SIGKILL)
      os.waitpid(worker, 0)
      os.write(report, f'timeout after {seconds} s\n'.encode())
      return
    signal.sigtimedwait([signal.SIGCHLD], left)  # also if it only stops
  if os.WIFSIGNALED(ended[1]):
    name = signal.Signals(os.WTERMSIG(ended[1])).name
    os.write(report, f'failed {name}\n'.encode())


def open_library():
  """Lets modules be imported through open folders, whoever may pass above."""
  if os.getuid() != 0:
    return
  number = os.open(LIBRARY, os.O_RDONLY)
  moved = lambda path: path.replace(LIBRARY, f'/proc/self/fd/{number}', 1)
  sys.path[:] = [moved(p) for p in sys.path if p.startswith(LIBRARY)]
  sys.path_importer_cache.clear()
  for module in list(sys.modules.values()):
    if isinstance(getattr(module, '__path__', None), list):
      module.__path__ = [moved(path) for path in module.__path__]


def isolate(libc, folder):
  """Enters namespaces without network, processes or writable files."""
  user, group = os.getuid(), os.getgid()
  libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self belongs to root
  if libc.unshare(NAMESPACES) != 0:
    return False
  for file, text in (
    ('setgroups', 'deny'),
    ('uid_map', f'{user} {user} 1'),
    ('gid_map', f'{group} {group} 1'),
  ):
    try:
      with open(f'/proc/self/{file}', 'w') as f:
        f.write(text)
    except OSError:  # some systems give namespaces without rights in them
      return False
  read_only = (ctypes.c_uint64 * 4)(RDONLY, 0, 0, 0)
  flags = MS_NOSUID | MS_NODEV
  size = f'size={FOLDER_SIZE},mode=700'.encode()
  return not (
    libc.mount(None, b'/', None, MS_REC | MS_PRIVATE, None)
    or libc.syscall(
      SYS_MOUNT_SETATTR, AT_FDCWD, b'/', AT_RECURSIVE, read_only, 32
    )
    or libc.mount(b'tmpfs', folder.encode(), b'tmpfs', flags, size)
  )


def limit(libc, folder, seconds, memory, output, report):
  """Limits this process for good."""
  libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
  libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
  header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
  libc.capset(header, (ctypes.c_uint32 * 6)())  # none are left
  os.chdir(folder)
  nothing = os.open(os.devnull, os.O_RDONLY)
  library = [int(p.split('/')[4]) for p in sys.path if '/proc/self/fd/' in p]
  for old, new in ((nothing, 0), (output, 1), (output, 2)):
    os.dup2(old, new)
  kept = {0, 1, 2, report, *library}
  for number in range(3, 256):
    if number not in kept:
      try:
        os.close(number)
      except OSError:
        pass
  limits = {
    resource.RLIMIT_AS: memory,
    resource.RLIMIT_CPU: int(seconds) + 2,
    resource.RLIMIT_FSIZE: MAX_FILE,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
  }
  for kind, value in limits.items():
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
      value = min(value, hard)
    resource.setrlimit(kind, (value, value))
  os.environ.clear()
  sys.addaudithook(watch(os.path.realpath(folder), report))


def watch(folder, report):
  """An audit hook that refuses what programs have no business with."""
  told = []
  inside = lambda path, root: path == root or path.startswith(root + os.sep)
  readable = (LIBRARY, '/dev/null', '/dev/urandom')
  realpath, fsdecode, write = os.path.realpath, os.fsdecode, os.write
  writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

  def refuse(event, what=''):
    if len(told) < 8:
      told.append(event)
      line = ' '.join(f'forbidden {event} {what}'.split())[:200]
      write(report, f'{line}\n'.encode(errors='replace'))
    raise PermissionError(f'{event} is forbidden here')

  def may(path, reads):
    if not isinstance(path, str | bytes | os.PathLike):
      return True  # an open file, or no path at all
    path = realpath(fsdecode(path))
    return inside(path, folder) or (
      reads and any(inside(path, root) for root in readable)
    )

  def hook(event, arguments):
    if event.startswith(DENIED):
      refuse(event)
    elif event == 'import':
      if arguments[0] in ('ctypes', '_ctypes'):
        refuse('import', arguments[0])
    elif event == 'open':
      path, mode, flags = arguments
      reads = not (flags or 0) & writes and not set(mode or '') & set('wax+')
      if not may(path, reads):
        refuse('open', path)
    elif event.startswith(ON_PATHS) and not event.endswith('env'):
      for argument in arguments:
        if not may(argument, event in READS):
          refuse(event, argument)

  return hook


def perform(program, report):
  """Runs the program and reports how it ended."""
  write = os.write
  for name in [n for n in sys.modules if 'ctypes' in n]:
    del sys.modules[name]
  names = {'__name__': '__main__', '__builtins__': __builtins__}
  line = b'ok\n'
  try:
    exec(compile(program, '<program>', 'exec'), names)
    sys.stdout.flush()
  except MemoryError:
    line = b'memory MemoryError\n'
  except BaseException as error:
    text = ' '.join(f'{type(error).__name__}: {error}'.split())
    line = f'failed {text[:500]}\n'.encode(errors='replace')
  write(report, line)


if __name__ == '__main__':
  main()
