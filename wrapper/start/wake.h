/* What the Python of a heap has to be told about the process that it finds itself in. */
#ifndef HOOKRUN_WAKE_H
#define HOOKRUN_WAKE_H

#include "python.h"

/* What is allocated from here on goes into new memory, piece beside piece, not into gaps all over the heap: what is used
 * together makes few pages dirty then. */
void wake_forget_gaps(void);

/* Keep what `wake` needs, and forget the process that fills the heap; nothing of Python's can run afterwards. */
int wake_later(PyObject *main);

/* Run the function that was kept with the path of the directory `state`, for the command line `words`. Returns the
 * exit status of a function that comes back; hookrun's exits by itself. */
int wake(const char *program, const char *state, char **line, char **words);

#endif
