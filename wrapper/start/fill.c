/*
 * Filling a heap: a Python starts here once, so that it need not at each call.
 *
 * The process is made bare first. Whatever Python learns of its process while it starts ends up in the file.
 */
#define _GNU_SOURCE
#include "fill.h"
#include "heap.h"
#include "python.h"
#include "region.h"
#include "scan.h"
#include "wake.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

extern const struct _frozen *const frozen_modules; /* made by freeze.py */

static int complain(const char *what)
{
    fprintf(stderr, "hookrun-start: %s\n", what);
    return 1;
}

/* No environment, directory, descriptor or signal of whoever called; stderr stays for what goes wrong. */
static int make_bare(void)
{
    int nothing = open("/dev/null", O_RDWR);

    if (nothing < 0 || chdir("/") != 0 || clearenv() != 0)
        return -1;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    dup2(nothing, 0);
    dup2(nothing, 1);
    closefrom(3);
    return 0;
}

/* As the launchers' `python3 -ISXutf8` starts, without a search for its library: that is part of this program. */
static int start_python(void)
{
    PyObjectArenaAllocator arenas = {NULL, region_arena, region_arena_free};
    PyPreConfig before;
    PyConfig config;
    PyStatus status;

    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        return -1;
    PyObject_SetArenaAllocator(&arenas);
    PyImport_FrozenModules = frozen_modules;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.optimization_level = 2;
    config.module_search_paths_set = 1;
    config.pathconfig_warnings = 0;
    PyConfig_SetString(&config, &config.executable, L"hookrun-start");
    PyConfig_SetString(&config, &config.base_executable, L"hookrun-start");
    PyConfig_SetString(&config, &config.prefix, L"");
    PyConfig_SetString(&config, &config.base_prefix, L"");
    PyConfig_SetString(&config, &config.exec_prefix, L"");
    PyConfig_SetString(&config, &config.base_exec_prefix, L"");
    status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return PyStatus_Exception(status) ? -1 : 0;
}

/* `import hookrun.wrapper.start.preload`, with the packages that lie in that directory as hookrun. */
static PyObject *preloaded(const char *packages)
{
    PyObject *module = PyModule_New("hookrun");
    PyObject *path = Py_BuildValue("[s]", packages);
    PyObject *preload = NULL;

    if (module && path && PyObject_SetAttrString(module, "__path__", path) == 0 &&
        PyDict_SetItemString(PyImport_GetModuleDict(), "hookrun", module) == 0)
        preload = PyImport_ImportModule("hookrun.wrapper.start.preload");
    Py_XDECREF(module);
    Py_XDECREF(path);
    return preload;
}

/* One record of the heap's sources for each of Python's tuples (path, seconds, nanoseconds, size). */
static char *packed(const char *packages, PyObject *sources, size_t *length)
{
    char *text = NULL;
    FILE *stream = open_memstream(&text, length);

    if (!stream)
        return NULL;
    fwrite(packages, strlen(packages) + 1, 1, stream);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(sources); i++) {
        struct source source;
        const char *path;
        long long seconds, nanoseconds, size;

        if (!PyArg_ParseTuple(PyList_GET_ITEM(sources, i), "sLLL", &path, &seconds, &nanoseconds, &size)) {
            fclose(stream);
            return NULL;
        }
        source = (struct source){seconds, nanoseconds, size};
        fwrite(&source, sizeof(source), 1, stream);
        fwrite(path, strlen(path) + 1, 1, stream);
    }
    return fclose(stream) == 0 ? text : NULL;
}

/* Rehearse the commands beside the heap, and put what that ran together; returns what a call is to run. */
static PyObject *settled(PyObject *preload, const char *heap)
{
    PyObject *place = PyUnicode_FromFormat("%s.rehearsal", heap);
    PyObject *codes = place ? PyObject_CallMethod(preload, "rehearse", "O", place) : NULL;
    PyObject *moved = NULL, *main = NULL;

    wake_forget_gaps();
    if (codes)
        moved = PyObject_CallMethod(preload, "gather", "O", codes);
    if (moved)
        main = PyObject_CallMethod(preload, "settle", "O", place);
    Py_XDECREF(moved);
    Py_XDECREF(codes);
    Py_XDECREF(place);
    return main;
}

static int write_file(const char *path, const char *sources, size_t length, uint32_t count, uint32_t first)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

    if (descriptor < 0 || heap_write(descriptor, sources, length, count, first) != 0) {
        fprintf(stderr, "hookrun-start: cannot write %s: %s\n", path, strerror(errno));
        return 1;
    }
    return close(descriptor);
}

int fill(const char *heap, const char *packages)
{
    PyObject *preload, *found = NULL, *sources = NULL, *main = NULL;
    char *text = NULL;
    size_t length = 0;
    uint32_t count, first;

    mallopt(M_TOP_PAD, 0); /* the smaller libc's heap is, the less looks like a pointer to it by chance */
    if (make_bare() != 0 || region_open() != 0)
        return complain("cannot begin");
    if (start_python() != 0)
        return complain("Python cannot start");
    preload = preloaded(packages);
    if (preload)
        found = PyObject_CallMethod(preload, "sources", "s", packages);
    if (found && PyArg_ParseTuple(found, "O!I", &PyList_Type, &sources, &first))
        main = settled(preload, heap);
    if (main)
        text = packed(packages, sources, &length);
    if (!text) {
        PyErr_Print();
        return complain("hookrun cannot be imported");
    }
    count = (uint32_t)PyList_GET_SIZE(sources);
    Py_DECREF(preload);
    Py_DECREF(found);
    if (wake_later(main) != 0)
        return complain("Python cannot be left");
    return scan() != 0 || write_file(heap, text, length, count, first) != 0;
}
