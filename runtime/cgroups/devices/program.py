"""The device rules of a v2 cgroup: an eBPF program that the kernel asks at each access (runc: cgroups/devices).

Sources: bpf(2); linux/bpf.h (struct bpf_cgroup_dev_ctx, union bpf_attr); the kernel's bpf/instruction-set.rst.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from struct import pack, unpack

from hookrun.runtime.cgroups.devices.rules import ANY, Access, Device, Rule
from hookrun.runtime.errors import Failure, reason
from hookrun.runtime.linux.namespaces import in_user_namespace
from hookrun.runtime.linux.syscalls import NR, address, call

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_PROGRAM_TYPE = 15
_ATTACH_TYPE = 6
_ALLOW_MULTI, _REPLACE = 2, 4
_LICENSE = b"Apache\0"

# As many programs as one cgroup can have.
_MOST_PROGRAMS = 64

_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS = 7
_LARGEST_NUMBER = 0xFFFFFFFF

_LOAD_WORD, _AND, _SHIFT_RIGHT, _MOVE, _MOVE_NUMBER = 0x61, 0x54, 0x74, 0xBC, 0xB4
_IF_NOT, _IF_NOT_SAME, _EXIT = 0x55, 0x5D, 0x95

# What the instructions keep in which register.
_RESULT, _CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR = range(6)
_SCRATCH = _CONTEXT


def attach(directory: str, rules: list[Rule]) -> None:
    """Have the cgroup follow these rules and no others; at no moment is it without any. Raises Failure."""
    access = Access(rules)
    try:
        _attach(directory, program(access))
    except OSError as error:
        if not _dispensable(rules):
            raise Failure(f"failed to set the device rules of {directory}: bpf: {reason(error)}") from None


def _dispensable(rules: Iterable[Rule]) -> bool:
    """Whether the container loses nothing without a program: it may use everything, or has no say over devices."""
    return in_user_namespace() or all(allow and set(access) == set("rwm") for allow, _, _, _, access in rules)


def program(access: Access) -> bytes:
    """Instructions that return 1 for an access that is allowed, 0 for another. Raises Failure for a bad number."""
    code = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT, 0),
        _instruction(_AND, _KIND, number=0xFFFF),
        _instruction(_LOAD_WORD, _WANTED, _CONTEXT, 0),
        _instruction(_SHIFT_RIGHT, _WANTED, number=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for device, letters in access.ordered():
        code += _exception(device, letters, allow=not access.allows)
    return b"".join(code + _answer(allow=access.allows))


def _exception(device: Device, letters: frozenset[str], *, allow: bool) -> list[bytes]:
    """Answer if it is this device, this access, and go on otherwise. The context is not needed any more."""
    kind, major, minor = device
    bits = sum(_ACCESS[letter] for letter in letters)
    tests: list[tuple[int, int, int, int]] = [(_IF_NOT, _KIND, 0, _KINDS[kind])]
    narrowing = []
    if bits != _EVERY_ACCESS:
        narrowing = [_instruction(_MOVE, _SCRATCH, _WANTED), _instruction(_AND, _SCRATCH, number=bits)]
        tests.append((_IF_NOT_SAME, _SCRATCH, _WANTED, 0))
    for register, number in ((_MAJOR, major), (_MINOR, minor)):
        if not ANY <= number <= _LARGEST_NUMBER:
            raise Failure(f"invalid device number {number}")
        if number != ANY:
            tests.append((_IF_NOT, register, 0, number))
    answer = _answer(allow=allow)
    length = len(narrowing) + len(tests) + len(answer)
    code: list[bytes] = []
    for position, (operation, register, other, number) in enumerate(tests):
        if position == 1:
            code += narrowing
        code.append(_instruction(operation, register, other, length - len(code) - 1, number))
    return code + answer


def _answer(*, allow: bool) -> list[bytes]:
    return [_instruction(_MOVE_NUMBER, _RESULT, number=int(allow)), _instruction(_EXIT)]


def _instruction(operation: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return pack("=BBhI", operation, target | source << 4, offset, number)


def _attach(directory: str, code: bytes) -> None:
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened = [cgroup]
    try:
        old = _attached(cgroup)
        opened += old
        new = _load(code)
        opened.append(new)
        if len(old) == 1:  # exchanged in one step
            _bpf(_PROG_ATTACH, pack("=IIIII", cgroup, new, _ATTACH_TYPE, _ALLOW_MULTI | _REPLACE, old[0]))
            return
        _bpf(_PROG_ATTACH, pack("=IIIII", cgroup, new, _ATTACH_TYPE, _ALLOW_MULTI, 0))
        for one in old:
            _bpf(_PROG_DETACH, pack("=III", cgroup, one, _ATTACH_TYPE))
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _load(code: bytes) -> int:
    instructions, license_name = bytearray(code), bytearray(_LICENSE)
    return _bpf(
        _PROG_LOAD,
        pack("=IIQQ", _PROGRAM_TYPE, len(code) // 8, address(instructions), address(license_name)),
    )


def _attached(cgroup: int) -> list[int]:
    """Descriptors of the programs that the cgroup has; those that an LSM keeps from us only restrict further."""
    identifiers = bytearray(4 * _MOST_PROGRAMS)
    request = bytearray(pack("=IIIIQII", cgroup, _ATTACH_TYPE, 0, 0, address(identifiers), _MOST_PROGRAMS, 0))
    call(NR.bpf, _PROG_QUERY, request, len(request))
    count = unpack("=IIIIQII", request)[5]
    found = []
    for identifier in unpack(f"={count}I", identifiers[: 4 * count]):
        try:
            found.append(_bpf(_PROG_GET_FD_BY_ID, pack("=III", identifier, 0, 0)))
        except PermissionError:
            continue
    return found


def _bpf(command: int, request: bytes) -> int:
    buffer = bytearray(request)
    return call(NR.bpf, command, buffer, len(buffer))
