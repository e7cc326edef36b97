/* Preloaded into a server under test: notes of every file how much of it was synced, so that the harness can take away what a power cut
 * would. Each successful fsync and fdatasync appends one record to the file SYNC_NOTES names: inode number, size, and the number of bytes
 * that follow, 8 bytes each; then the whole contents if the file is small, because small files are overwritten in place.
 * Files whose name ends in what SYNC_FORGETS holds are not noted, as if the program never synced them: the tests must notice that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int notes = -1;

__attribute__((constructor)) static void open_notes(void) {
    const char *path = getenv("SYNC_NOTES");
    if (path)
        notes = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int forgotten(int fd) {
    const char *ending = getenv("SYNC_FORGETS");
    char link[32], path[PATH_MAX];
    if (!ending)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    size_t wanted = strlen(ending);
    return length >= (ssize_t)wanted && memcmp(path + length - wanted, ending, wanted) == 0;
}

struct note {
    uint64_t inode, size, stored;
    char contents[4096];
};

/* What the file holds by now; what is written later may be synced or not, and does not count. */
static int look(int fd, struct note *note) {
    struct stat now;
    char link[32];
    if (fstat(fd, &now) != 0 || !S_ISREG(now.st_mode))
        return 0;
    note->inode = now.st_ino;
    note->size = (uint64_t)now.st_size;
    note->stored = 0;
    if (now.st_size > (off_t)sizeof note->contents)
        return 1;
    /* The descriptor may be open for writing alone. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = open(link, O_RDONLY | O_CLOEXEC);
    ssize_t got = reader < 0 ? -1 : pread(reader, note->contents, now.st_size, 0);
    close(reader);
    if (got == now.st_size)
        note->stored = note->size;
    return 1;
}

static int synced(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct note note;
    int known = notes >= 0 && !forgotten(fd) && look(fd, &note);
    int result = real(fd);
    if (result == 0 && known) {
        ssize_t length = offsetof(struct note, contents) + note.stored;
        if (write(notes, &note, length) != length)
            abort();
    }
    return result;
}

/* The inode of a file that goes may come back as another file's, of which nothing is synced yet. */
static void forget(const char *path) {
    struct stat gone;
    if (notes >= 0 && lstat(path, &gone) == 0 && S_ISREG(gone.st_mode) && gone.st_nlink == 1) {
        uint64_t note[3] = {gone.st_ino, 0, 0};
        if (write(notes, note, sizeof note) != sizeof note)
            abort();
    }
}

int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    forget(path);
    return real(path);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    forget(to);
    return real(from, to);
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
