/*
 * The memory that Python allocates, in one piece at one address.
 *
 * A heap is usable in another process only if everything in it stays where it was: so nothing of Python's comes from
 * libc's malloc, whose own memory lies where ASLR puts it. PyMem_SetAllocator would not do: the runtime makes its first
 * locks under the default allocator, before anybody can set another. build-start.sh therefore renames malloc, calloc,
 * realloc and free in Python's objects.
 *
 * The allocator is simple, since little work reaches it: pymalloc serves all up to 512 bytes from arenas. Blocks have
 * the size of their class, four classes for each power of two, and go to their class's list when they are freed.
 * What it knows is in this file's variables, which are dumped along with Python's. It serves one thread, as hookrun is.
 */
#define _GNU_SOURCE
#include "region.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

/* Free in every address space that Linux gives a process: above a program at its usual place and its brk, below what
 * mmap uses, even of the 39 bits that some aarch64 kernels have. */
#define LOWEST 0x200000000UL
#define HIGHEST 0x1000000000UL

#define GROWTH 0x80000UL /* the kernel gives this much more at a time */
#define HEADER 16UL      /* in front of each block: the size of its class; keeps blocks at multiples of 16 */
#define CLASSES 240
#define POOL 0x4000UL /* pymalloc's pools have this size and begin at multiples of it */

static char *base;
static char *top;   /* the first byte that was never in use */
static char *limit; /* the first byte that is not mapped */
static void *lists[CLASSES];
static void *arenas;

int region_open(void)
{
    uint64_t chance;

    if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
        return -1;
    chance %= (HIGHEST - LOWEST) / REGION_PAGE;
    base = top = limit = (char *)(LOWEST + chance * REGION_PAGE);
    return 0;
}

char *region_base(void) { return base; }

/* The memory behind a dumped region is not mapped: `limit` is told so when the region is measured. */
size_t region_used(void)
{
    top = (char *)(((uintptr_t)top + REGION_PAGE - 1) & ~(REGION_PAGE - 1));
    limit = top;
    return (size_t)(top - base);
}

void region_forget_gaps(void) { memset(lists, 0, sizeof(lists)); }

static int grow(size_t needed)
{
    size_t length = needed < GROWTH ? GROWTH : (needed + REGION_PAGE - 1) & ~(REGION_PAGE - 1);
    void *place = mmap(limit, length, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (place == MAP_FAILED)
        return -1;
    if (place != limit) { /* a kernel before 4.17 takes the address for a wish */
        munmap(place, length);
        errno = EEXIST;
        return -1;
    }
    limit += length;
    return 0;
}

/* Memory that was never in use, and so is zero. */
static char *take(size_t size)
{
    char *taken = top;

    if (size > (size_t)(limit - top) && grow(size - (size_t)(limit - top)) != 0)
        return NULL;
    top += size;
    return taken;
}

/* The class of a block of `*size` bytes, which is raised to the size of that class. */
static unsigned class_of(size_t *size)
{
    size_t wanted = *size < 64 ? 64 : *size;
    unsigned power = 63 - (unsigned)__builtin_clzl(wanted - 1);
    size_t step = (size_t)1 << (power - 2);

    *size = (wanted + step - 1) & ~(step - 1);
    return (power - 5) * 4 + (unsigned)((*size - 1) >> (power - 2)) % 4;
}

static size_t *size_of(void *block) { return (size_t *)((char *)block - HEADER); }

static char *allocate(size_t size, int *is_new)
{
    unsigned list;
    char *block;

    if (size > PTRDIFF_MAX / 2) {
        errno = ENOMEM;
        return NULL;
    }
    list = class_of(&size);
    block = lists[list];
    *is_new = block == NULL;
    if (block) {
        memcpy(&lists[list], block, sizeof(void *));
        return block;
    }
    block = take(size + HEADER);
    if (!block) {
        errno = ENOMEM;
        return NULL;
    }
    block += HEADER;
    *size_of(block) = size;
    return block;
}

void *region_malloc(size_t size)
{
    int is_new;

    return allocate(size, &is_new);
}

void *region_calloc(size_t count, size_t size)
{
    size_t total;
    int is_new;
    char *block;

    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    block = allocate(total, &is_new);
    if (block && !is_new)
        memset(block, 0, total);
    return block;
}

/* A block of which less than half is left is exchanged: bytes are read into large ones, and then cut. */
void *region_realloc(void *block, size_t size)
{
    size_t had;
    void *other;

    if (!block)
        return region_malloc(size);
    had = *size_of(block);
    if (size <= had && (size > had / 2 || had <= 1024))
        return block;
    other = region_malloc(size);
    if (other) {
        memcpy(other, block, size < had ? size : had);
        region_free(block);
    }
    return other;
}

void region_free(void *block)
{
    size_t size;
    unsigned list;

    if (!block)
        return;
    size = *size_of(block);
    list = class_of(&size);
    memcpy(block, &lists[list], sizeof(void *));
    lists[list] = block;
}

/* All arenas have one size. */
void *region_arena(void *context, size_t size)
{
    char *arena = arenas;

    (void)context;
    if (arena) {
        memcpy(&arenas, arena, sizeof(void *));
        return arena;
    }
    if (!take(-(uintptr_t)top & (POOL - 1)))
        return NULL;
    return take(size);
}

void region_arena_free(void *context, void *arena, size_t size)
{
    (void)context;
    (void)size;
    memcpy(arena, &arenas, sizeof(void *));
    arenas = arena;
}
