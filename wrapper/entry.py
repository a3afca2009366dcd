"""Where the launchers come in: each host's have this module's name written down, from the day it was registered."""

from __future__ import annotations

import _signal  # `signal` makes an enum of each answer, which costs a `state` thirty pages
import errno
import os
import sys

try:
    from hookrun.runtime.linux.files import read_bytes
    from hookrun.wrapper import STATE, shim
except (MemoryError, OSError, SystemError) as error:  # the last is what CPython 3.11 makes of some of them
    if getattr(error, "errno", errno.ENOMEM) != errno.ENOMEM:
        raise
    os.write(2, b"hookrun: not enough memory to start: raise the limit (ulimit -v, -d)\n")
    os._exit(1)

_ADDED = b"LC_CTYPE"


def main(state: str = STATE) -> None:
    """Run the command line of this process and exit with its status.

    `state` is the directory of the snapshot, the heap and the sealed program.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # ^C ends us, as it ends runc, without a traceback
    _take_back_variable()
    arguments = [os.fsencode(word) for word in sys.argv]
    os._exit(shim.main(arguments, state))  # nothing is left to clean up: the interpreter's own end costs 2 ms


def _take_back_variable() -> None:
    """A plain python3 that starts in the C locale sets LC_CTYPE (PEP 538), which hooks and runtimes would inherit."""
    if _ADDED not in os.environb:
        return
    try:
        given = b"\0" + read_bytes("/proc/self/environ")
    except OSError:  # not to be told: what is asked of us will fail, or not, for reasons of its own
        return
    if b"\0" + _ADDED + b"=" not in given:
        del os.environb[_ADDED]
