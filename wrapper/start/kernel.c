/*
 * The built-in module `_kernel`: what hookrun asks of C. `hookrun.runtime.linux.foreign` is the same under a plain
 * python3, by ctypes, which no static program can have.
 */
#define _GNU_SOURCE
#include "python.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_ARGUMENTS 6

/* An argument of a system call; the object stays alive in the caller's hands while the call lasts. */
static int convert(PyObject *object, long *word)
{
    if (object == Py_None)
        *word = 0;
    else if (PyLong_Check(object)) {
        *word = (long)PyLong_AsUnsignedLongMask(object);
        if (*word == -1 && PyErr_Occurred())
            return -1;
    } else if (PyBytes_Check(object))
        *word = (long)PyBytes_AS_STRING(object);
    else if (PyByteArray_Check(object))
        *word = (long)PyByteArray_AS_STRING(object);
    else {
        PyErr_SetString(PyExc_TypeError, "a system call takes integers, bytes, bytearrays and None");
        return -1;
    }
    return 0;
}

/* The interpreter's lock is kept: there is one thread. A child of clone(2) that goes on from here has what it needs. */
static PyObject *call(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    long words[MOST_ARGUMENTS + 1] = {0};
    long result;

    (void)self;
    if (count < 1 || count > MOST_ARGUMENTS + 1) {
        PyErr_SetString(PyExc_TypeError, "a system call has a number and up to six arguments");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (convert(arguments[i], &words[i]) != 0)
            return NULL;
    result = syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
    if (result == -1)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromLong(result);
}

static PyObject *address(PyObject *self, PyObject *buffer)
{
    (void)self;
    if (!PyByteArray_Check(buffer)) {
        PyErr_SetString(PyExc_TypeError, "only a bytearray stays where it is");
        return NULL;
    }
    return PyLong_FromVoidPtr(PyByteArray_AS_STRING(buffer));
}

#define PRESENT (1UL << 63)
#define OF_FILE (1UL << 61)
#define AT_ONCE 512

static void drop(const char *from, const char *to)
{
    if (from < to)
        madvise((void *)from, (size_t)(to - from), MADV_DONTNEED);
}

/* No Python runs between the comparison of a page and its end: a count of references may lie in it. */
static void drop_same(int pagemap, const char *memory, const char *file, size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t entries[AT_ONCE];
    const char *from = memory; /* where the pages begin that are to be dropped together */
    size_t at;

    for (at = 0; at < length; at += page) {
        size_t number = at / page % AT_ONCE;
        off_t place = (off_t)(((uintptr_t)memory + at) / page * sizeof(*entries));

        if (number == 0 && pread(pagemap, entries, sizeof(entries), place) <= 0)
            break;
        if ((entries[number] & (PRESENT | OF_FILE)) != PRESENT || memcmp(memory + at, file + at, page) != 0) {
            drop(from, memory + at);
            from = memory + at + page;
        }
    }
    drop(from, memory + at);
}

static PyObject *drop_copies(PyObject *self, PyObject *arguments)
{
    int pagemap;
    unsigned long long view, address, length;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "iKKK", &pagemap, &view, &address, &length))
        return NULL;
    drop_same(pagemap, (const char *)(uintptr_t)address, (const char *)(uintptr_t)view, length);
    Py_RETURN_NONE;
}

/* Path, device, inode, links, uid, mode, the device that a node stands for, the mount's id, whether it is its root. */
static PyObject *located(int descriptor)
{
    struct statx status;
    char link[32], path[PATH_MAX];
    ssize_t length;

    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &status) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof(path));
    if (length == sizeof(path)) {
        errno = ENAMETOOLONG;
        length = -1;
    }
    if (length < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("(NKKIIHKKO)", PyUnicode_DecodeFSDefaultAndSize(path, length),
                         (unsigned long long)makedev(status.stx_dev_major, status.stx_dev_minor),
                         (unsigned long long)status.stx_ino, status.stx_nlink, status.stx_uid, status.stx_mode,
                         (unsigned long long)makedev(status.stx_rdev_major, status.stx_rdev_minor),
                         (unsigned long long)status.stx_mnt_id,
                         status.stx_attributes & STATX_ATTR_MOUNT_ROOT ? Py_True : Py_False);
}

static PyObject *locate_open(PyObject *self, PyObject *descriptor)
{
    int number = PyObject_AsFileDescriptor(descriptor);

    (void)self;
    return number < 0 ? NULL : located(number);
}

static PyObject *locate(PyObject *self, PyObject *path)
{
    PyObject *bytes, *found;
    int descriptor;

    (void)self;
    if (!PyUnicode_FSConverter(path, &bytes))
        return NULL;
    descriptor = open(PyBytes_AS_STRING(bytes), O_PATH | O_CLOEXEC);
    Py_DECREF(bytes);
    if (descriptor < 0)
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    found = located(descriptor);
    close(descriptor);
    return found;
}

static PyObject *version(PyObject *self, PyObject *nothing)
{
    const struct scmp_version *found = seccomp_version();

    (void)self;
    (void)nothing;
    return Py_BuildValue("III", found->major, found->minor, found->micro);
}

static PyObject *native(PyObject *self, PyObject *nothing)
{
    (void)self;
    (void)nothing;
    return PyLong_FromUnsignedLong(seccomp_arch_native());
}

static PyObject *resolve(PyObject *self, PyObject *arguments)
{
    unsigned int architecture;
    const char *name;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "Iy", &architecture, &name))
        return NULL;
    return PyLong_FromLong(seccomp_syscall_resolve_name_arch(architecture, name));
}

static PyObject *init(PyObject *self, PyObject *action)
{
    unsigned long number = PyLong_AsUnsignedLongMask(action);

    (void)self;
    if (PyErr_Occurred())
        return NULL;
    return PyLong_FromVoidPtr(seccomp_init((uint32_t)number));
}

static PyObject *arch_add(PyObject *self, PyObject *arguments)
{
    unsigned long long context;
    unsigned int architecture;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "KI", &context, &architecture))
        return NULL;
    return PyLong_FromLong(seccomp_arch_add((scmp_filter_ctx)(uintptr_t)context, architecture));
}

static PyObject *attr_set(PyObject *self, PyObject *arguments)
{
    unsigned long long context;
    unsigned int attribute, value;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "KII", &context, &attribute, &value))
        return NULL;
    return PyLong_FromLong(seccomp_attr_set((scmp_filter_ctx)(uintptr_t)context, attribute, value));
}

/* `comparisons` are libseccomp's `struct scmp_arg_cmp`, one after the other. */
static PyObject *rule_add_array(PyObject *self, PyObject *arguments)
{
    unsigned long long context;
    unsigned int action;
    int number;
    Py_buffer comparisons;
    struct scmp_arg_cmp array[MOST_ARGUMENTS];
    size_t count;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "KIiy*", &context, &action, &number, &comparisons))
        return NULL;
    count = (size_t)comparisons.len / sizeof(*array);
    if (count > MOST_ARGUMENTS) {
        PyBuffer_Release(&comparisons);
        return PyLong_FromLong(-EINVAL);
    }
    memcpy(array, comparisons.buf, count * sizeof(*array));
    PyBuffer_Release(&comparisons);
    return PyLong_FromLong(
        seccomp_rule_add_array((scmp_filter_ctx)(uintptr_t)context, action, number, (unsigned int)count, array));
}

static PyObject *export_bpf(PyObject *self, PyObject *arguments)
{
    unsigned long long context;
    int descriptor;

    (void)self;
    if (!PyArg_ParseTuple(arguments, "Ki", &context, &descriptor))
        return NULL;
    return PyLong_FromLong(seccomp_export_bpf((scmp_filter_ctx)(uintptr_t)context, descriptor));
}

static PyObject *release(PyObject *self, PyObject *context)
{
    (void)self;
    seccomp_release(PyLong_AsVoidPtr(context));
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"call", (PyCFunction)(void (*)(void))call, METH_FASTCALL, NULL},
    {"address", address, METH_O, NULL},
    {"drop_copies", drop_copies, METH_VARARGS, NULL},
    {"locate", locate, METH_O, NULL},
    {"locate_open", locate_open, METH_O, NULL},
    {"seccomp_version", version, METH_NOARGS, NULL},
    {"seccomp_arch_native", native, METH_NOARGS, NULL},
    {"seccomp_syscall_resolve_name_arch", resolve, METH_VARARGS, NULL},
    {"seccomp_init", init, METH_O, NULL},
    {"seccomp_arch_add", arch_add, METH_VARARGS, NULL},
    {"seccomp_attr_set", attr_set, METH_VARARGS, NULL},
    {"seccomp_rule_add_array", rule_add_array, METH_VARARGS, NULL},
    {"seccomp_export_bpf", export_bpf, METH_VARARGS, NULL},
    {"seccomp_release", release, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", NULL, 0, functions, NULL, NULL, NULL, NULL};

PyObject *PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
