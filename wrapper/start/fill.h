/* Filling a heap. */
#ifndef HOOKRUN_FILL_H
#define HOOKRUN_FILL_H

/* Start a Python, have it import hookrun from the directory `packages`, and write its memory to the file `heap`,
 * which must be new. Returns an exit status; says on stderr what failed. */
int fill(const char *heap, const char *packages);

#endif
