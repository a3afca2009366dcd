/* The file `heap`: checking it, mapping it, writing it. */
#define _GNU_SOURCE
#include "heap.h"
#include "region.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "hookrunH"
#define OTHERS_WRITE 022
#define OVERFLOW_ID 65534 /* how the kernel shows a user that a user namespace does not know */
#define MOST_SOURCES 0x10000

/* Python's data, which build-start.sh has put into sections of these names; the linker makes the symbols. */
extern char __start_pydata[], __stop_pydata[], __start_pybss[], __stop_pybss[];
extern const Elf64_Ehdr __ehdr_start;

static const unsigned char *own_build_id(void)
{
    const char *start = (const char *)&__ehdr_start;
    const Elf64_Phdr *headers = (const Elf64_Phdr *)(start + __ehdr_start.e_phoff);

    for (int i = 0; i < __ehdr_start.e_phnum; i++) {
        const char *note = start + headers[i].p_offset;
        const char *end = note + headers[i].p_filesz;

        while (headers[i].p_type == PT_NOTE && note < end) {
            const Elf64_Nhdr *head = (const Elf64_Nhdr *)note;

            if (head->n_type == NT_GNU_BUILD_ID && head->n_descsz == BUILD_ID_SIZE)
                return (const unsigned char *)note + sizeof(*head) + ((head->n_namesz + 3) & ~3U);
            note += sizeof(*head) + ((head->n_namesz + 3) & ~3U) + ((head->n_descsz + 3) & ~3U);
        }
    }
    return NULL;
}

/* FNV-1a: finds what is damaged by chance. */
#define NOTHING 0xcbf29ce484222325UL
static uint64_t checksum(uint64_t sum, const void *data, size_t length)
{
    const unsigned char *bytes = data;

    while (length--)
        sum = (sum ^ *bytes++) * 0x100000001b3UL;
    return sum;
}

static uint64_t checksum_of(const struct heap *heap, const char *sources)
{
    uint64_t sum = checksum(NOTHING, heap, offsetof(struct heap, checksum));

    return checksum(sum, sources, heap->sources_length);
}

static uint64_t checksum_of_content(int descriptor, const struct heap *heap)
{
    static char part[65536];
    uint64_t sum = NOTHING;

    for (int i = 0; i < PIECES; i++)
        for (uint64_t done = 0, length; done < heap->pieces[i].length; done += length) {
            length = heap->pieces[i].length - done;
            if (length > sizeof(part))
                length = sizeof(part);
            if (pread(descriptor, part, length, (off_t)(heap->pieces[i].offset + done)) != (ssize_t)length)
                return NOTHING;
            sum = checksum(sum, part, length);
        }
    return sum;
}

/* Whether this process is in a user namespace where the host's root is nobody: rootless Podman's runtime is. */
static int root_is_nobody(void)
{
    unsigned long inside, outside, count;
    char map[128];
    int descriptor = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
    ssize_t length = descriptor < 0 ? -1 : read(descriptor, map, sizeof(map) - 1);

    if (descriptor >= 0)
        close(descriptor);
    if (length <= 0)
        return 0;
    map[length] = 0;
    return sscanf(map, "%lu %lu %lu", &inside, &outside, &count) == 3 && count != 4294967295UL;
}

static int is_trusted(const struct stat *status)
{
    if (!S_ISREG(status->st_mode) || status->st_mode & OTHERS_WRITE)
        return 0;
    return status->st_uid == 0 || status->st_uid == geteuid() || (status->st_uid == OVERFLOW_ID && root_is_nobody());
}

/* The sources are asked for from their directory: a path from the root costs twice as much. */
static int are_unchanged(const struct heap *heap, const char *sources, uint32_t count)
{
    const char *end = sources + heap->sources_length;
    int directory = open(sources, O_PATH | O_DIRECTORY | O_CLOEXEC);
    uint32_t same = 0;

    if (directory < 0)
        return 0;
    sources += strlen(sources) + 1;
    while (same < count && sources + sizeof(struct source) < end) {
        struct source known;
        struct stat status;

        memcpy(&known, sources, sizeof(known));
        sources += sizeof(known);
        if (fstatat(directory, sources, &status, 0) != 0 || status.st_size != known.size ||
            status.st_mtim.tv_sec != known.seconds || status.st_mtim.tv_nsec != known.nanoseconds)
            break;
        sources += strlen(sources) + 1;
        same++;
    }
    close(directory);
    return same == count;
}

static const char *check(int descriptor, int thoroughly, struct heap *heap)
{
    static const char damaged[] = "it is damaged";
    static char sources[MOST_SOURCES];
    struct stat status;

    if (fstat(descriptor, &status) != 0 || !is_trusted(&status))
        return "users other than root can write it";
    if (pread(descriptor, heap, sizeof(*heap), 0) != sizeof(*heap) || memcmp(heap->magic, MAGIC, sizeof(heap->magic)))
        return damaged;
    if (memcmp(heap->build_id, own_build_id(), BUILD_ID_SIZE) != 0)
        return "another hookrun-start made it";
    if ((uint64_t)status.st_size != heap->length || heap->sources_length > sizeof(sources) || !heap->sources_length ||
        pread(descriptor, sources, heap->sources_length, sizeof(*heap)) != (ssize_t)heap->sources_length ||
        sources[heap->sources_length - 1] || heap->checksum != checksum_of(heap, sources))
        return damaged;
    if (thoroughly && heap->content != checksum_of_content(descriptor, heap))
        return "its content is damaged, and calls go on with it";
    return are_unchanged(heap, sources, thoroughly ? heap->sources : heap->first)
               ? NULL
               : "hookrun was changed since it was made";
}

int heap_open(const char *path, int thoroughly, struct heap *heap, const char **why)
{
    int descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (descriptor < 0) {
        *why = errno == ENOENT ? "there is none" : "it cannot be opened";
        return -1;
    }
    *why = check(descriptor, thoroughly, heap);
    if (!*why)
        return descriptor;
    close(descriptor);
    return -1;
}

/*
 * The last page of a piece may hold what is not Python's: libc's data follow Python's without a gap, and without ASLR
 * the thread's own variables lie right behind them. So whole pages are mapped, and the rest is read.
 */
static int place(int descriptor, const struct piece *piece, int flags)
{
    char *address = (char *)piece->address;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t whole = piece->length & ~(page - 1);
    size_t rest = piece->length - whole;
    void *found = mmap(address, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, descriptor, (off_t)piece->offset);

    if (found != address)
        return -1;
    return pread(descriptor, address + whole, rest, (off_t)(piece->offset + whole)) == (ssize_t)rest ? 0 : -1;
}

int heap_map(int descriptor, const struct heap *heap, const char **why)
{
    if (place(descriptor, &heap->pieces[REGION], MAP_FIXED_NOREPLACE) != 0) {
        *why = errno == EEXIST ? "its address is taken" : "there is no memory for it";
        return -1;
    }
    if (place(descriptor, &heap->pieces[DATA], MAP_FIXED) != 0 ||
        place(descriptor, &heap->pieces[BSS], MAP_FIXED) != 0) {
        *why = "there is no memory for it";
        return -1;
    }
    close(descriptor);
    return 0;
}

static void set_piece(struct piece *piece, const char *start, size_t length)
{
    piece->address = (uint64_t)start;
    piece->length = length;
}

void heap_pieces(struct piece pieces[PIECES])
{
    set_piece(&pieces[DATA], __start_pydata, (size_t)(__stop_pydata - __start_pydata));
    set_piece(&pieces[BSS], __start_pybss, (size_t)(__stop_pybss - __start_pybss));
    set_piece(&pieces[REGION], region_base(), region_used());
}

static int write_at(int descriptor, const void *data, size_t length, off_t offset)
{
    const char *rest = data;

    while (length) {
        ssize_t written = pwrite(descriptor, rest, length, offset);

        if (written < 0)
            return -1;
        rest += written;
        length -= (size_t)written;
        offset += written;
    }
    return 0;
}

int heap_write(int descriptor, const char *sources, size_t length, uint32_t count, uint32_t first)
{
    struct heap heap;
    uint64_t offset = sizeof(heap) + length;

    memset(&heap, 0, sizeof(heap));
    memcpy(heap.magic, MAGIC, sizeof(heap.magic));
    memcpy(heap.build_id, own_build_id(), BUILD_ID_SIZE);
    heap.sources = count;
    heap.first = first;
    heap.sources_length = length;
    heap_pieces(heap.pieces);
    heap.content = NOTHING;
    for (int i = 0; i < PIECES; i++) {
        heap.pieces[i].offset = (offset + REGION_PAGE - 1) & ~(REGION_PAGE - 1);
        offset = heap.pieces[i].offset + heap.pieces[i].length;
        if (write_at(descriptor, (const void *)heap.pieces[i].address, heap.pieces[i].length,
                     (off_t)heap.pieces[i].offset) != 0)
            return -1;
        heap.content = checksum(heap.content, (const void *)heap.pieces[i].address, heap.pieces[i].length);
    }
    heap.length = offset;
    heap.checksum = checksum_of(&heap, sources);
    if (write_at(descriptor, sources, length, sizeof(heap)) != 0 || write_at(descriptor, &heap, sizeof(heap), 0) != 0)
        return -1;
    return fsync(descriptor);
}
