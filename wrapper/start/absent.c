/*
 * What Python refers to and hookrun never calls.
 *
 * libc answers questions about names (users, hosts, services) with libraries that it loads at run time, even in a
 * static program, and Python loads extension modules. Neither may happen in a process that enters containers: here
 * both are cut off, by functions of those names that find nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

/* Python's own, of dynload_shlib.c: the suffixes of extension modules' files, and where the function in one is. */
extern const char *_PyImport_DynLoadFiletab[];
void (*_PyImport_FindSharedFuncptr(const char *, const char *, const char *, FILE *))(void);

const char *_PyImport_DynLoadFiletab[] = {NULL};

void (*_PyImport_FindSharedFuncptr(const char *prefix, const char *name, const char *path, FILE *file))(void)
{
    (void)prefix;
    (void)name;
    (void)path;
    (void)file;
    return NULL;
}

int getaddrinfo(const char *restrict host, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found)
{
    (void)host;
    (void)service;
    (void)hints;
    (void)found;
    return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *list) { (void)list; }

int getnameinfo(const struct sockaddr *restrict address, socklen_t length, char *restrict host, socklen_t host_size,
                char *restrict service, socklen_t service_size, int flags)
{
    (void)address;
    (void)length;
    (void)host;
    (void)host_size;
    (void)service;
    (void)service_size;
    (void)flags;
    return EAI_FAIL;
}

int gethostbyname_r(const char *restrict name, struct hostent *restrict entry, char *restrict buffer, size_t size,
                    struct hostent **restrict found, int *restrict error)
{
    (void)name;
    (void)entry;
    (void)buffer;
    (void)size;
    *found = NULL;
    *error = NO_RECOVERY;
    return ENOENT;
}

int gethostbyaddr_r(const void *restrict address, socklen_t length, int type, struct hostent *restrict entry,
                    char *restrict buffer, size_t size, struct hostent **restrict found, int *restrict error)
{
    (void)address;
    (void)length;
    (void)type;
    return gethostbyname_r("", entry, buffer, size, found, error);
}

struct protoent *getprotobyname(const char *name)
{
    (void)name;
    return NULL;
}

struct servent *getservbyname(const char *name, const char *protocol)
{
    (void)name;
    (void)protocol;
    return NULL;
}

struct servent *getservbyport(int port, const char *protocol)
{
    (void)port;
    (void)protocol;
    return NULL;
}

char *getlogin(void)
{
    errno = ENOSYS;
    return NULL;
}

int getgrouplist(const char *user, gid_t group, gid_t *groups, int *count)
{
    (void)user;
    (void)group;
    (void)groups;
    *count = 0;
    return -1;
}

int initgroups(const char *user, gid_t group)
{
    (void)user;
    (void)group;
    errno = ENOSYS;
    return -1;
}
