/* Whether a heap stands alone. */
#ifndef HOOKRUN_SCAN_H
#define HOOKRUN_SCAN_H

/* Look for words in Python's memory that point to what will not be there in another process. Returns how many; names
 * on stderr the object that each was found in. */
int scan(void);

#endif
