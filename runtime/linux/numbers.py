"""System call numbers that differ between the architectures, and those that all share (from 424 on).

Source: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import os


class Common:
    """Numbers given since 2019, the same on every architecture."""

    open_tree = 428
    move_mount = 429
    fsopen = 430
    fsconfig = 431
    fsmount = 432
    clone3 = 435
    close_range = 436
    openat2 = 437
    pidfd_getfd = 438
    faccessat2 = 439
    mount_setattr = 442


class X86_64(Common):
    """x86_64."""

    mount = 165
    umount2 = 166
    pivot_root = 155
    prctl = 157
    setns = 308
    unshare = 272
    capget = 125
    capset = 126
    keyctl = 250
    personality = 135
    seccomp = 317
    bpf = 321
    ioprio_set = 251
    sched_setattr = 314
    sched_setaffinity = 203
    set_mempolicy = 238
    sethostname = 170
    setdomainname = 171
    fchownat = 260
    prlimit64 = 302
    madvise = 28
    mmap = 9
    munmap = 11
    socket = 41
    fstatfs = 138
    statx = 332
    syslog = 103


class AArch64(Common):
    """aarch64, and every architecture of the generic table."""

    mount = 40
    umount2 = 39
    pivot_root = 41
    prctl = 167
    setns = 268
    unshare = 97
    capget = 90
    capset = 91
    keyctl = 219
    personality = 92
    seccomp = 277
    bpf = 280
    ioprio_set = 30
    sched_setattr = 274
    sched_setaffinity = 122
    set_mempolicy = 237
    sethostname = 161
    setdomainname = 162
    fchownat = 54
    prlimit64 = 261
    madvise = 233
    mmap = 222
    munmap = 215
    socket = 198
    fstatfs = 44
    statx = 291
    syslog = 116


MACHINE = os.uname().machine
NR: type[X86_64] | type[AArch64] = AArch64 if MACHINE == "aarch64" else X86_64
