/* The modules that are part of the program: those of Python's static library that hookrun may use, and our own. */
#include "python.h"

#define MODULES(ENTRY)                                                                                                 \
    ENTRY(_abc) ENTRY(_bisect) ENTRY(_blake2) ENTRY(_codecs) ENTRY(_collections) ENTRY(_datetime) ENTRY(_functools)    \
    ENTRY(_heapq) ENTRY(_io) ENTRY(_kernel) ENTRY(_locale) ENTRY(_opcode) ENTRY(_operator) ENTRY(_posixsubprocess)     \
    ENTRY(_random) ENTRY(_sha256) ENTRY(_sha512) ENTRY(_signal) ENTRY(_socket) ENTRY(_speedups) ENTRY(_sre)            \
    ENTRY(_stat) ENTRY(_struct) ENTRY(_symtable) ENTRY(_thread) ENTRY(_tracemalloc) ENTRY(_weakref) ENTRY(array)       \
    ENTRY(atexit) ENTRY(binascii) ENTRY(errno) ENTRY(faulthandler) ENTRY(fcntl) ENTRY(itertools) ENTRY(math)           \
    ENTRY(posix) ENTRY(select) ENTRY(time)

#define DECLARE(name) PyObject *PyInit_##name(void);
#define LIST(name) {#name, PyInit_##name},

MODULES(DECLARE)
PyObject *PyMarshal_Init(void);
PyObject *PyInit__imp(void);
PyObject *PyInit__ast(void);
PyObject *PyInit__tokenize(void);
PyObject *PyInit__string(void);
PyObject *PyInit_gc(void);
PyObject *_PyWarnings_Init(void);

struct _inittab _PyImport_Inittab[] = {
    MODULES(LIST)
    {"marshal", PyMarshal_Init},
    {"_imp", PyInit__imp},
    {"_ast", PyInit__ast},
    {"_tokenize", PyInit__tokenize},
    {"_string", PyInit__string},
    {"gc", PyInit_gc},
    {"_warnings", _PyWarnings_Init},
    {"builtins", NULL},
    {"sys", NULL},
    {NULL, NULL},
};
