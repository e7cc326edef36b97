/* Preloaded into a server under test: notes of every file how much of it was synced, so that the harness can take away what a power cut
 * would. Each successful fsync and fdatasync appends one record to the file SYNC_NOTES names: inode number and size, 8 bytes each.
 * Files whose name ends in what SYNC_FORGETS holds are not noted, as if the program never synced them: the tests must notice that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
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

static int synced(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    /* What is written after this look may be synced or not: it does not count. */
    int known = fstat(fd, &before) == 0 && S_ISREG(before.st_mode) && !forgotten(fd);
    int result = real(fd);
    if (result == 0 && known && notes >= 0) {
        uint64_t note[2] = {before.st_ino, (uint64_t)before.st_size};
        if (write(notes, note, sizeof note) != sizeof note)
            abort();
    }
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
