/*
 * What the Python of a heap has to be told about the process that it finds itself in.
 *
 * All that Python knows of its process it has asked for while it started, in the process that filled the heap. Here is
 * what of that is another's by now. The variables of this file are dumped along with Python's.
 */
#include "wake.h"
#include "region.h"

#include <signal.h>
#include <stddef.h>

extern char **environ;

static PyObject *function;
static PyObject *variables; /* posix.environ, which is os.environ's too */
static PyObject *set_signal;
static PyObject *ignored;

static PyThreadState *main_thread(void) { return _PyRuntime.interpreters.main->threads.head; }

/* Where pthread_self() points to is libc's memory, and its keys are libc's too. */
static void forget_thread(void)
{
    _PyRuntime.main_thread = 0;
    main_thread()->thread_id = 0;
    main_thread()->native_thread_id = 0;
    _PyRuntime.gilstate.autoTSSkey._is_initialized = 0;
    _PyRuntime.gilstate.autoTSSkey._key = 0;
}

/* As PyOS_AfterFork_Child has it; the number of the key may be another. */
static int remember_thread(void)
{
    _PyRuntime.main_thread = PyThread_get_thread_ident();
    main_thread()->thread_id = _PyRuntime.main_thread;
    main_thread()->native_thread_id = PyThread_get_thread_native_id();
    if (PyThread_tss_create(&_PyRuntime.gilstate.autoTSSkey) != 0)
        return -1;
    return PyThread_tss_set(&_PyRuntime.gilstate.autoTSSkey, main_thread());
}

/* A pool's head, as obmalloc.c has it. */
struct pool {
    uint64_t count;
    void *free_block;
    struct pool *next;
    struct pool *previous;
};

/* obmalloc.c's own, which build-start.sh makes known: the head of a ring for each size, but its two links alone. */
extern struct pool *usedpools[];
#define SIZES 32

/* A pool outside the ring is one that is full to obmalloc.c, which puts it back when its last block is freed. */
static void forget_pools(void)
{
    for (int i = 0; i < SIZES; i++) {
        struct pool *head = (struct pool *)((char *)&usedpools[2 * i] - offsetof(struct pool, next));

        for (struct pool *next, *pool = head->next; pool != head; pool = next) {
            next = pool->next;
            pool->next = pool->previous = pool;
        }
        head->next = head->previous = head;
    }
}

void wake_forget_gaps(void)
{
    forget_pools();
    region_forget_gaps();
}

static PyObject *attribute(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported ? PyObject_GetAttrString(imported, name) : NULL;

    Py_XDECREF(imported);
    return found;
}

int wake_later(PyObject *main)
{
    Py_INCREF(main);
    function = main;
    variables = attribute("posix", "environ");
    set_signal = attribute("_signal", "signal");
    ignored = attribute("_signal", "SIG_IGN");
    if (!variables || !set_signal || !ignored)
        return -1;
    PyDict_Clear(variables);
    forget_thread();
    wake_forget_gaps();
    return 0;
}

static int ignore(int number)
{
    PyObject *before = PyObject_CallFunction(set_signal, "iO", number, ignored);

    Py_XDECREF(before);
    return before ? 0 : -1;
}

/* Python ignores these two, and knows of each signal whether the process began with it ignored (signalmodule.c). */
static int note_signals(void)
{
    struct sigaction action;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (int number = 1; number < NSIG; number++)
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN && ignore(number) != 0)
            return -1;
    return 0;
}

/* posixmodule.c, convertenviron: of two equal names the first counts. */
static int note_environment(void)
{
    for (char **entry = environ; *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        PyObject *name, *value;
        int failed;

        if (!equals)
            continue;
        name = PyBytes_FromStringAndSize(*entry, equals - *entry);
        value = PyBytes_FromString(equals + 1);
        failed = !name || !value || !PyDict_SetDefault(variables, name, value);
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (failed)
            return -1;
    }
    return 0;
}

static int note_words(const char *variable, char **words)
{
    PyObject *list = PyList_New(0);
    int failed = !list;

    for (; !failed && *words; words++) {
        PyObject *word = PyUnicode_DecodeUTF8(*words, (Py_ssize_t)strlen(*words), "surrogateescape");

        failed = !word || PyList_Append(list, word) != 0;
        Py_XDECREF(word);
    }
    failed = failed || PySys_SetObject(variable, list) != 0;
    Py_XDECREF(list);
    return failed ? -1 : 0;
}

static int note_program(const char *path)
{
    PyObject *text = PyUnicode_DecodeUTF8(path, (Py_ssize_t)strlen(path), "surrogateescape");
    int failed = !text || PySys_SetObject("executable", text) != 0;

    Py_XDECREF(text);
    return failed ? -1 : 0;
}

int wake(const char *program, const char *state, char **line, char **words)
{
    PyObject *result = NULL;

    if (remember_thread() == 0 && note_signals() == 0 && note_environment() == 0 &&
        note_words("orig_argv", line) == 0 && note_words("argv", words) == 0 && note_program(program) == 0)
        result = PyObject_CallFunction(function, "s", state);
    if (!result)
        PyErr_Print();
    return result ? 0 : 1;
}
