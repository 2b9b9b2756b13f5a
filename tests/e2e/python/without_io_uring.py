"""Runs a program that the kernel refuses io_uring to, as a container's seccomp profile does.

without_io_uring.py ERRNO PROGRAM ARGUMENT...

io_uring_setup(2) fails with ERRNO, a name such as EPERM; everything else works.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
# The same number on every architecture (include/uapi/asm-generic/unistd.h).
IO_URING_SETUP = 425
# BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def prctl(option, *arguments):
    """prctl(2) with all its arguments, of the width that the kernel reads."""
    arguments = [ctypes.c_ulong(argument) for argument in arguments]
    arguments += [ctypes.c_ulong(0)] * (4 - len(arguments))
    if libc.prctl(ctypes.c_int(option), *arguments) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


libc = ctypes.CDLL(None, use_errno=True)
refusal = SECCOMP_RET_ERRNO | getattr(errno, sys.argv[1])
instructions = [
    # The number of the system call, the first member of struct seccomp_data.
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
    (RETURN, 0, 0, refusal),
    (RETURN, 0, 0, SECCOMP_RET_ALLOW),
]
text = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
program = Program(len(instructions), text)
prctl(PR_SET_NO_NEW_PRIVS, 1)
prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))
os.execv(sys.argv[2], sys.argv[2:])
