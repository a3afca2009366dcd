/* The Python that this program is made around, with its insides. */
#ifndef HOOKRUN_PYTHON_H
#define HOOKRUN_PYTHON_H

#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE 1
#include <Python.h>

/* What wake.c sets right is known for this version alone: another one may keep more of a process in its data. */
#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030C0000
#error "hookrun-start is made for Python 3.11"
#endif

#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#endif
