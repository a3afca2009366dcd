/* The memory that Python allocates, in one piece at one address. */
#ifndef HOOKRUN_REGION_H
#define HOOKRUN_REGION_H

#include <stddef.h>

/* Addresses and lengths that the kernel maps are multiples of this everywhere (aarch64 has pages up to 64 KiB). */
#define REGION_PAGE 0x10000UL

/* Choose the region's place, at random. Returns 0, or -1 with errno. */
int region_open(void);

/* Where it begins, and how much of it is in use. */
char *region_base(void);
size_t region_used(void);

/* Use no block again that was free so far: what is allocated from here on lies together, behind all else. */
void region_forget_gaps(void);

/* malloc, calloc, realloc and free of Python's objects; build-start.sh gives them these names. */
void *region_malloc(size_t size);
void *region_calloc(size_t count, size_t size);
void *region_realloc(void *block, size_t size);
void region_free(void *block);

/* pymalloc's arenas. */
void *region_arena(void *context, size_t size);
void region_arena_free(void *context, void *arena, size_t size);

#endif
