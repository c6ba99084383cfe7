"""Limits of a process that reads an untrusted file: it may compute for some seconds in some memory, and read.

Limits of the kernel (setrlimit) on memory, seconds, what is written and new processes; on Linux also a filter of system
calls (seccomp) under which no file is made, opened for writing, changed or removed, no program is started, no
connection made, and no other process touched: such a call fails with EPERM. Both hold for the rest of the process's
life, and code inside of it cannot lift them. On macOS the kernel keeps the seconds and what is written, but neither
memory nor system calls.
"""

import ctypes
import platform
import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

OUT_OF_MEMORY = 86
"""The exit code of a process that exceeded its limit of memory."""


class Limits(NamedTuple):
    """`cpu_s` and `memory_bytes` are beyond what the process has used when the limits begin.

    `answer_bytes` is the most that it may write to the program that started it.
    """

    cpu_s: int
    wall_s: int
    memory_bytes: int = 4 << 30
    answer_bytes: int = 100_000


def confine(limits: Limits) -> None:
    """Applies `limits` and the filter of system calls to this process, for the rest of its life."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.alarm(limits.wall_s)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + limits.cpu_s, grace=5)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_DATA, data_bytes() + limits.memory_bytes)
    _lower(resource.RLIMIT_NPROC, 0)
    if sys.platform == "linux":
        _filter()


def _lower(which: int, most: int, grace: int = 0) -> None:
    """A limit of the process, `grace` beyond it the last one; where there is a lower one already, that stays."""
    known = [value for value in resource.getrlimit(which) if value != resource.RLIM_INFINITY]
    with suppress(OSError, ValueError):  # macOS has no limit of memory
        resource.setrlimit(which, (min([most, *known]), min([most + grace, *known])))


def limit_data(most: int) -> None:
    """Moves the limit of this process's data to `most` bytes, or to that of `confine` where that is lower."""
    _, last = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (most if last == resource.RLIM_INFINITY else min(most, last), last))


def data_bytes() -> int:
    """Bytes that count against RLIMIT_DATA now; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))


# Numbers of system calls on x86-64 and on 64-bit Arm, None where one has none: kernel's syscall tables.
FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "creat": (85, None), "openat2": (437, 437), "truncate": (76, 45), "ftruncate": (77, 46),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "open_by_handle_at": (304, 265),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "clone3": (435, 435),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269), "shmget": (29, 194), "msgget": (68, 186),
    "mq_open": (240, 180), "io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "add_key": (248, 217), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142),
}  # fmt: skip

LOAD, EQUAL, ANY_BIT, AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06  # BPF: ld w abs, jeq, jset, jge, ret
ALLOW, DENY, NO_SUCH_CALL = 0x7FFF0000, 0x00050001, 0x00050026  # SECCOMP_RET_ALLOW, _ERRNO with EPERM and with ENOSYS
CALL, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in struct seccomp_data
WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE
CLONE_THREAD = 0x10000
MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}  # column above, AUDIT_ARCH, seccomp(2)
FOREIGN_CALLS = 0x40000000  # x86-64: beginning of the numbers of the x32 calls
NO_NEW_PRIVILEGES, SET_FILTER, ALL_THREADS = 38, 1, 1


def rules(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter as instructions (code, jump if true, jump if false, value) of BPF."""
    column, audit, _ = MACHINES[machine]
    opens, clone = ({"open": (2, 1), "openat": (257, 2)}, 56) if column == 0 else ({"openat": (56, 2)}, 220)
    found = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, audit), (RETURN, 0, 0, DENY), (LOAD, 0, 0, CALL),
        (AT_LEAST, 0, 1, FOREIGN_CALLS), (RETURN, 0, 0, DENY),
    ]  # fmt: skip
    for name, numbers in FORBIDDEN.items():
        if (number := numbers[column]) is not None:
            answer = NO_SUCH_CALL if name in ("clone3", "openat2") else DENY  # libraries fall back to another call
            found += [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]
    for number, argument in opens.values():
        found += [(EQUAL, 0, 4, number), (LOAD, 0, 0, ARGUMENTS + 8 * argument), (ANY_BIT, 0, 1, WRITING),
                  (RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW)]  # fmt: skip
    found += [(EQUAL, 0, 4, clone), (LOAD, 0, 0, ARGUMENTS), (ANY_BIT, 1, 0, CLONE_THREAD),
              (RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ALLOW)]  # fmt: skip
    return found


def _filter() -> None:
    """Puts the filter on every thread; where the kernel offers none, the limits alone hold."""
    machine = platform.machine()
    if machine not in MACHINES:
        return
    program = b"".join(struct.pack("=HBBI", *rule) for rule in rules(machine))
    content = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("rules", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    whole = Program(len(program) // 8, ctypes.addressof(content))
    libc.syscall(MACHINES[machine][2], SET_FILTER, ALL_THREADS, ctypes.byref(whole))
