/* The file `heap`: the memory of a Python that has imported hookrun, and what it was made of. */
#ifndef HOOKRUN_HEAP_H
#define HOOKRUN_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define BUILD_ID_SIZE 20

/* A piece of memory and its place in the file. */
struct piece {
    uint64_t address;
    uint64_t length;
    uint64_t offset;
};

enum { DATA, BSS, REGION, PIECES };

/* The file begins with it; the sources follow, then the pieces, each at a multiple of REGION_PAGE. */
struct heap {
    char magic[8];
    unsigned char build_id[BUILD_ID_SIZE]; /* of the program that wrote it, and alone can use it */
    uint32_t sources;                      /* how many */
    uint32_t first;                        /* how many of them each start looks at */
    uint32_t unused;
    uint64_t sources_length;
    uint64_t length; /* of the file */
    struct piece pieces[PIECES];
    uint64_t content;  /* checksum of the pieces, which takes too long for a call: hookctl looks at it */
    uint64_t checksum; /* of the sources and of all of this but the checksum */
};

/* A file or a directory that the heap was filled from. The directory of all comes first, ended by a NUL; the path from
 * there follows each record, ended so too. */
struct source {
    int64_t seconds; /* when it was changed */
    int64_t nanoseconds;
    int64_t size;
};

/* Open the heap at `path` and see whether this program can use it for this user; `thoroughly` looks at every source and at the content.
 * Returns a descriptor, or -1 and why not. */
int heap_open(const char *path, int thoroughly, struct heap *heap, const char **why);

/* Put the pieces where they belong. Returns 0, or -1 and why not: the process can only execute another program then. */
int heap_map(int descriptor, const struct heap *heap, const char **why);

/* Write the memory of this process as a heap. `sources` are `count` records as above, of which each start looks at the
 * `first`. Returns 0, or -1 with errno. */
int heap_write(int descriptor, const char *sources, size_t length, uint32_t count, uint32_t first);

/* The three pieces of this process's memory, their place in the file left open. */
void heap_pieces(struct piece pieces[PIECES]);

#endif
