/*
 * Whether a heap stands alone.
 *
 * Python's data, its region and the program's text and constants are at the same addresses in each process. Whatever
 * else is mapped here (libc's data and heap, the stack, the vDSO) is somewhere else there, or has other content. A
 * word of the dump that points to it would be followed into nowhere some day.
 */
#define _GNU_SOURCE
#include "scan.h"
#include "heap.h"
#include "python.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_RANGES 64
#define LARGEST 8192 /* how far back the head of an object is looked for */

struct range {
    uint64_t start;
    uint64_t end;
    char name[64];
};

static struct range strange[MOST_RANGES];
static int strangers;
static struct piece pieces[PIECES];

static void add(uint64_t start, uint64_t end, const char *name)
{
    if (start >= end || strangers == MOST_RANGES)
        return;
    strange[strangers] = (struct range){.start = start, .end = end};
    snprintf(strange[strangers].name, sizeof(strange->name), "%s", *name ? name : "anonymous memory");
    strangers++;
}

/* What is left of a mapping without the pieces that are dumped. The region's memory behind its end is its own. */
static void add_without_pieces(uint64_t start, uint64_t end, const char *name)
{
    for (int i = 0; i < PIECES; i++) {
        uint64_t from = pieces[i].address, to = from + pieces[i].length;

        if (i == REGION && start <= to && end > from)
            return;
        if (from < end && to > start) {
            add_without_pieces(start, from, name);
            start = to;
        }
    }
    add(start, end, name);
}

static int find_strange_memory(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");

    if (!maps)
        return -1;
    while (fgets(line, sizeof(line), maps)) {
        uint64_t start, end;
        char mode[5], name[256] = "";

        if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %255[^\n]", &start, &end, mode, name) < 3)
            continue;
        if (name[0] == '/' && mode[1] == '-') /* the program's text and constants */
            continue;
        add_without_pieces(start, end, name);
    }
    fclose(maps);
    return 0;
}

static const struct range *pointed_to(uint64_t word)
{
    for (int i = 0; i < strangers; i++)
        if (word >= strange[i].start && word < strange[i].end)
            return &strange[i];
    return NULL;
}

/* The variable at an address, by the program's symbol table, where that was not stripped. */
static void print_variable(uint64_t address)
{
    int descriptor = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat status;
    const char *file = MAP_FAILED;

    if (descriptor >= 0 && fstat(descriptor, &status) == 0)
        file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    close(descriptor);
    fprintf(stderr, "the variable at %#lx", address);
    if (file == MAP_FAILED)
        return;
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)file;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(file + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++) {
        const Elf64_Sym *symbols = (const Elf64_Sym *)(file + sections[i].sh_offset);
        const char *names = file + sections[sections[i].sh_link].sh_offset;

        for (size_t j = 0; sections[i].sh_type == SHT_SYMTAB && j < sections[i].sh_size / sizeof(*symbols); j++)
            if (address - symbols[j].st_value < symbols[j].st_size)
                fprintf(stderr, ", %s+%#lx", names + symbols[j].st_name, address - symbols[j].st_value);
    }
    munmap((void *)file, (size_t)status.st_size);
}

static int is_dumped(const void *address)
{
    for (int i = 0; i < PIECES; i++)
        if ((uint64_t)address - pieces[i].address < pieces[i].length)
            return (uint64_t)address % sizeof(void *) == 0;
    return 0;
}

static int is_type(const PyTypeObject *type)
{
    return is_dumped(type) && is_dumped(Py_TYPE(type)) && is_dumped(Py_TYPE(Py_TYPE(type))) &&
           Py_TYPE(Py_TYPE(type)) == &PyType_Type && PyType_Check(type);
}

/* The object around an address in the region, as far as its head can be found. */
static void print_object(uint64_t address)
{
    for (uint64_t start = address & ~15UL; start > address - LARGEST && start >= pieces[REGION].address; start -= 16) {
        PyObject *object = (PyObject *)start;

        if (Py_REFCNT(object) > 0 && is_type(Py_TYPE(object))) {
            fprintf(stderr, "an object of type %s at %p, word %lu", Py_TYPE(object)->tp_name, (void *)object,
                    (address - start) / sizeof(void *));
            return;
        }
    }
    fprintf(stderr, "memory at %#lx", address);
}

static int scan_piece(int which)
{
    const uint64_t *words = (const uint64_t *)pieces[which].address;
    int found = 0;

    for (size_t i = 0; i < pieces[which].length / sizeof(*words); i++) {
        const struct range *range = pointed_to(words[i]);

        if (!range)
            continue;
        fputs("hookrun-start: the heap does not stand alone: ", stderr);
        if (which == REGION)
            print_object((uint64_t)&words[i]);
        else
            print_variable((uint64_t)&words[i]);
        fprintf(stderr, ", points to %s\n", range->name);
        found++;
    }
    return found;
}

int scan(void)
{
    heap_pieces(pieces);
    if (find_strange_memory() != 0) {
        fputs("hookrun-start: cannot read /proc/self/maps\n", stderr);
        return 1;
    }
    return scan_piece(DATA) + scan_piece(BSS) + scan_piece(REGION);
}
