/* Preloaded: whatever a program asks to be synced is not, and it is told that it was. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

int fsync(int file) { (void)file; return 0; }
int fdatasync(int file) { (void)file; return 0; }
int syncfs(int file) { (void)file; return 0; }
int sync_file_range(int file, off64_t from, off64_t count, unsigned flags)
{
    (void)file; (void)from; (void)count; (void)flags;
    return 0;
}
