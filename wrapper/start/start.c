/*
 * hookrun-start: runs hookrun from a heap that was filled once.
 *
 *   hookrun-start HEAP LAUNCHER [ARGUMENT...]    what the kernel makes of a launcher's `#!hookrun-start HEAP`
 *   hookrun-start --fill HEAP PACKAGES           write a new heap of the hookrun in the directory PACKAGES
 *   hookrun-start --check HEAP                   say whether the heap can be used, and why not
 *   hookrun-start --cold WHY LAUNCHER [ARGUMENT...]    start without a heap
 *
 * HEAP and PACKAGES are absolute. Where the heap cannot be used, the launcher's second line says what to start instead.
 * It takes nothing from the environment. The directory of the heap is hookrun's state.
 */
#define _GNU_SOURCE
#include "fill.h"
#include "heap.h"
#include "wake.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD 4096
#define MOST_WORDS 4

static int usage(void)
{
    fputs("usage: hookrun-start HEAP LAUNCHER [ARGUMENT...]\n"
          "       hookrun-start --fill HEAP PACKAGES\n"
          "       hookrun-start --check HEAP\n"
          "       hookrun-start --cold WHY LAUNCHER [ARGUMENT...]\n",
          stderr);
    return 2;
}

static int check(const char *path)
{
    const char *why;
    struct heap heap;
    int descriptor = heap_open(path, 1, &heap, &why);

    if (descriptor >= 0 && heap_map(descriptor, &heap, &why) == 0)
        return 0;
    puts(why);
    return 1;
}

/* The words of a launcher's second line, `#!/usr/bin/python3 -ISXutf8`. */
static int second_line(const char *launcher, char *head, char *words[MOST_WORDS])
{
    int descriptor = open(launcher, O_RDONLY | O_CLOEXEC);
    ssize_t length = descriptor < 0 ? -1 : read(descriptor, head, HEAD - 1);
    char *line;
    int count = 0;

    if (descriptor >= 0)
        close(descriptor);
    if (length < 0)
        return 0;
    head[length] = 0;
    line = strchr(head, '\n');
    if (!line || strncmp(line, "\n#!", 3) != 0)
        return 0;
    line[3 + strcspn(line + 3, "\n")] = 0;
    for (char *word = strtok(line + 3, " "); word && count < MOST_WORDS; word = strtok(NULL, " "))
        words[count++] = word;
    return count;
}

/* Execute the launcher under a plain Python, which is told by -X why. */
static int start_cold(const char *launcher, char **words, int count, const char *why)
{
    char head[HEAD], reason[256];
    char **line = calloc((size_t)count + MOST_WORDS + 3, sizeof(*line));
    int length = line ? second_line(launcher, head, line) : 0;

    if (!length) {
        fprintf(stderr, "hookrun-start: cannot use the heap: %s; %s does not say what to start instead\n", why,
                launcher);
        return 1;
    }
    snprintf(reason, sizeof(reason), "cold=%s", why);
    line[length++] = "-X";
    line[length++] = reason;
    memcpy(line + length, words, (size_t)count * sizeof(*line));
    execv(line[0], line);
    fprintf(stderr, "hookrun-start: cannot use the heap: %s; %s: %s\n", why, line[0], strerror(errno));
    return 1;
}

static int start(int count, char **words)
{
    const char *why;
    struct heap heap;
    char state[PATH_MAX];
    char *slash;
    int descriptor = heap_open(words[1], 0, &heap, &why);

    if (descriptor < 0 || heap_map(descriptor, &heap, &why) != 0)
        return start_cold(words[2], words + 2, count - 2, why);
    snprintf(state, sizeof(state), "%s", words[1]);
    slash = strrchr(state, '/');
    if (slash)
        *slash = 0;
    return wake(words[0], slash ? state : ".", words, words + 2);
}

int main(int count, char **words)
{
    if (count == 4 && strcmp(words[1], "--fill") == 0 && words[2][0] == '/' && words[3][0] == '/')
        return fill(words[2], words[3]);
    if (count == 3 && strcmp(words[1], "--check") == 0)
        return check(words[2]);
    if (count > 3 && strcmp(words[1], "--cold") == 0)
        return start_cold(words[3], words + 3, count - 3, words[2]);
    if (count < 3 || words[1][0] == '-')
        return usage();
    return start(count, words);
}
