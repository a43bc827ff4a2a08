"""The other side of `sandbox`: a script that gives up its rights, then runs.

Started in namespaces of its own, by a tool that is named there; it imports
nothing but the standard library and the files that are laid beside it. Until
`confine` returns it is trusted and nothing of the program has run; afterwards
nothing in this process is. It knows no expected value, and what it says is
judged elsewhere.
"""

import _signal as signal  # without enumerations, which take long to import
import marshal
import os
import resource
import struct
import sys

MAX_FRAME = 2**20  # bytes of one message

# Of sys/mount.h, sys/prctl.h, linux/capability.h, linux/seccomp.h.
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAPABILITY_VERSION_3, NUM_CAPABILITIES = 0x20080522, 41
SECCOMP_MODE_FILTER, ALLOW, REFUSE, KILL = 2, 0x7FFF0000, 0x50001, 0x80000000
# By machine: the audit architecture, system calls that are refused (EPERM), by
# the man pages' names, and those of them that make a process.
REFUSED = {
  'x86_64': (
    0xC000003E,
    {
      'clone': 56, 'fork': 57, 'vfork': 58, 'clone3': 435, 'unshare': 272,
      'setns': 308, 'mount': 165, 'umount2': 166, 'pivot_root': 155,
      'chroot': 161, 'ptrace': 101, 'process_vm_readv': 310,
      'process_vm_writev': 311, 'shmget': 29, 'msgget': 68, 'semget': 64,
      'mq_open': 240, 'add_key': 248, 'request_key': 249, 'keyctl': 250,
      'bpf': 321, 'userfaultfd': 323, 'perf_event_open': 298,
      'io_uring_setup': 425, 'open_tree': 428, 'move_mount': 429,
      'fsopen': 430, 'mount_setattr': 442, 'name_to_handle_at': 303,
      'open_by_handle_at': 304, 'memfd_create': 319, 'memfd_secret': 447,
    },
  ),
  'aarch64': (
    0xC00000B7,
    {
      'clone': 220, 'clone3': 435, 'unshare': 97, 'setns': 268, 'mount': 40,
      'umount2': 39, 'pivot_root': 41, 'chroot': 51, 'ptrace': 117,
      'process_vm_readv': 270, 'process_vm_writev': 271, 'shmget': 194,
      'msgget': 186, 'semget': 190, 'mq_open': 180, 'add_key': 217,
      'request_key': 218, 'keyctl': 219, 'bpf': 280, 'userfaultfd': 282,
      'perf_event_open': 241, 'io_uring_setup': 425, 'open_tree': 428,
      'move_mount': 429, 'fsopen': 430, 'mount_setattr': 442,
      'name_to_handle_at': 264, 'open_by_handle_at': 265, 'memfd_create': 279,
      'memfd_secret': 447,
    },
  ),
}  # fmt: skip


def main():
  """Reads a request, gives up all rights, says so, and does as asked."""
  requests, replies = int(sys.argv[1]), int(sys.argv[2])
  request = marshal.loads(read_frame(requests))
  if request['binds']:
    enter_root(request['root'], request['binds'])
    adopt()
  sys.path.insert(0, request['modules'])  # now that it is there
  sys.path.append(request['packages'])
  confine(request, keep={requests, replies})
  os.write(replies, b'S')
  modes = (run, serve, check, count, suite)
  {mode.__name__: mode for mode in modes}[request['mode']](
    request, requests, replies
  )


def run(request, requests, replies):
  """Runs a program to its end; the exit status says how that was."""
  os.close(requests)
  try:
    execute(request['source'])
    sys.stdout.flush()
  except SystemExit:
    raise
  except BaseException as error:
    os.write(replies, describe(error).encode(errors='replace'))
    sys.exit(1)


def serve(request, requests, replies):
  """Runs a program, then calls its function as often as it is asked to."""
  import plain_data

  class Slow(BaseException):
    pass

  def stop(*_):
    raise Slow

  names = execute(request['source'])
  signal.signal(signal.SIGVTALRM, stop)
  write_frame(replies, '{}')
  while frame := read_frame(requests):
    seconds, arguments = plain_data.decode(frame)
    try:
      signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
      reply = plain_data.encode((True, names[request['name']](*arguments)))
    except Slow:
      reply = plain_data.encode((False, f'after {seconds} s of processor time'))
    except Exception as error:
      reply = plain_data.encode((False, describe(error)))
    finally:
      signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    write_frame(replies, reply)


def check(request, requests, replies):
  """Runs the tests on a function that lives in another process."""
  import random

  import plain_data

  def candidate(*arguments):
    write_frame(replies, plain_data.encode(('call', arguments)))
    done, value = plain_data.decode(read_frame(requests))
    if not done:
      raise RuntimeError(value)
    return value

  names = execute(request['source'])
  write_frame(replies, '{}')
  while read_frame(requests):
    random.seed(0)
    detail = ''
    try:
      names['check'](candidate)
    except Exception as error:
      detail = describe(error)
    write_frame(replies, plain_data.encode(('end', detail)))


def count(request, requests, replies):
  """Calls a function as `serve` does, and says what each call has cost."""
  import time

  import plain_data

  class Slow(BaseException):
    pass

  def trace(frame, event, _):
    nonlocal left
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    if event == 'opcode':
      left -= 1
      if left < 0:
        raise Slow
    return trace

  def refuse(event, _):
    # Beyond the limit the interpreter itself ends the tracing.
    if armed and left >= 0 and event in ('sys.settrace', 'sys.setprofile'):
      raise RuntimeError(event)

  left, armed = 1000, False
  names = execute(request['source'])
  sys.addaudithook(refuse)
  # Python 3.12 counts opcodes from the second call of `settrace` on.
  sys.settrace(trace)
  (lambda: None)()
  sys.settrace(None)
  write_frame(replies, '{}')
  while frame := read_frame(requests):
    counter, limit, arguments = plain_data.decode(frame)
    function, clock = names[request['name']], time.perf_counter
    left, start = limit, clock()
    try:
      if counter == 'opcodes':
        sys.settrace(trace)
        armed = True
      value = function(*arguments)
      done = left >= 0  # what catches `Slow` is beyond the limit, too
    except Slow:
      value, done = 'beyond the limit', False
    except Exception as error:
      value, done = describe(error), False
    finally:
      seconds, armed = clock() - start, False
      sys.settrace(None)
    cost = limit - left if counter == 'opcodes' else seconds
    write_frame(replies, plain_data.encode((done, value, cost)))


def suite(request, requests, replies):
  """Runs a test file on versions of what it tests."""
  import suite_child

  suite_child.serve(
    request,
    lambda: read_frame(requests),
    lambda text: write_frame(replies, text),
  )


def execute(source):
  """Runs the source as the main module, and returns its names."""
  module = type(sys)('__main__')
  module.__dict__['__builtins__'] = __builtins__
  sys.modules['__main__'] = module
  exec(compile(source, '<program>', 'exec'), module.__dict__)
  return module.__dict__


def describe(error):
  """The exception in one line; it may be the program's own."""
  name = type(error).__name__
  try:
    text = str(error)
  except BaseException:
    text = ''
  return ' '.join(f'{name}: {text}'.split())[:500]


def read_frame(number):
  """A message; nothing where the other side has ended."""
  head = read_bytes(number, 8)
  return read_bytes(number, struct.unpack('<Q', head)[0]) if head else b''


def read_bytes(number, count):
  """Exactly so many bytes, or none at the end."""
  data = b''
  while len(data) < count:
    part = os.read(number, count - len(data))
    if not part:
      return b''
    data += part
  return data


def write_frame(number, text):
  """Sends a message."""
  data = text.encode()
  if len(data) > MAX_FRAME:
    data = b'[false, "more than a message holds"]'
  data = struct.pack('<Q', len(data)) + data
  while data:
    data = data[os.write(number, data) :]


def enter_root(root, binds):
  """Makes a root that holds copies of some paths, and nothing else."""
  libc = library()
  mount(libc, None, '/', None, MS_REC | MS_PRIVATE)
  mount(libc, 'tmpfs', root, 'tmpfs', MS_NOSUID | MS_NODEV)
  for source, place in binds:
    target = root + place
    if source is None:  # a folder that is hidden, or one that is needed
      os.makedirs(target, exist_ok=True)
      mount(libc, 'tmpfs', target, 'tmpfs', MS_NOSUID | MS_RDONLY)
      continue
    if os.path.isdir(source):
      os.makedirs(target, exist_ok=True)
    else:
      os.makedirs(os.path.dirname(target), exist_ok=True)
      open(target, 'a').close()
    mount(libc, source, target, None, MS_BIND)
    if not place.startswith('/dev/'):
      flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV
      mount(libc, None, target, None, flags)
  os.makedirs(root + '/tmp')
  mount(libc, None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
  os.chdir(root)
  # The old root comes to lie on the new one, and is taken off.
  if libc.pivot_root(b'.', b'.') or libc.umount2(b'.', MNT_DETACH):
    raise OSError('pivot_root failed')
  os.chdir('/')


def adopt():
  """Leaves process 1, which signals of its own would not end."""
  child = os.fork()
  if child:
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def confine(request, keep):
  """Takes all rights from this process, for good."""
  libc = library()
  libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
  options = f'size={request["disk"]},nr_inodes={request["files"]},mode=700'
  mount(libc, 'tmpfs', '/tmp', 'tmpfs', MS_NOSUID | MS_NODEV, options)
  os.chdir('/tmp')
  for number in range(3, 256):
    if number not in keep:
      try:
        os.close(number)
      except OSError:
        pass  # it was not open
  limits = {
    resource.RLIMIT_AS: request['memory'],
    resource.RLIMIT_CPU: int(request['seconds']) + 2,
    resource.RLIMIT_FSIZE: request['disk'],
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
  }
  for kind, value in limits.items():
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
      value = min(value, hard)
    resource.setrlimit(kind, (value, value))
  for number in range(NUM_CAPABILITIES):
    libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
  libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
  import ctypes

  header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
  if libc.capset(header, (ctypes.c_uint32 * 6)()):
    raise OSError('capset failed')
  if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
    raise OSError('no_new_privs failed')
  refuse_calls(libc, ctypes)
  os.environ.clear()


def refuse_calls(libc, ctypes):
  """A filter of system calls: no processes, namespaces or shared memory."""
  machine = os.uname().machine
  if machine not in REFUSED:
    raise OSError(f'no list of system calls for {machine}')
  architecture, calls = REFUSED[machine]
  numbers = sorted(calls.values())
  load, equal, above, give = 0x20, 0x15, 0x35, 0x06
  step = lambda code, yes, no, k: struct.pack('<HBBI', code, yes, no, k)
  count = len(numbers)
  program = [
    step(load, 0, 0, 4),  # the architecture
    step(equal, 1, 0, architecture),
    step(give, 0, 0, KILL),
    step(load, 0, 0, 0),  # the number of the call
    step(above, count + 1, 0, 0x40000000),  # of another numbering
    *(step(equal, count - i, 0, number) for i, number in enumerate(numbers)),
    step(give, 0, 0, ALLOW),
    step(give, 0, 0, REFUSE),
  ]
  code = ctypes.create_string_buffer(b''.join(program))

  class Filter(ctypes.Structure):
    _fields_ = (('length', ctypes.c_ushort), ('code', ctypes.c_void_p))

  filter_ = Filter(len(program), ctypes.addressof(code))
  if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_)):
    raise OSError('the filter of system calls was refused')


def library():
  """The C library."""
  import ctypes

  return ctypes.CDLL(None, use_errno=True)


def mount(libc, source, target, kind, flags, options=None):
  """Mounts, or raises."""
  import ctypes

  text = lambda x: None if x is None else x.encode()
  if libc.mount(
    text(source), text(target), text(kind), ctypes.c_ulong(flags), text(options)
  ):
    raise OSError(ctypes.get_errno(), f'mounting {target} failed')


if __name__ == '__main__':
  main()
