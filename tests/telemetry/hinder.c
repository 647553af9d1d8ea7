/* Preloaded, it hinders writing and syncing of files below a folder: HINDER is a file that says of which, `SUBSTRING MICROSECONDS ERRNO`. A call on
 * a file whose path has the substring takes so much longer, and fails if there is an errno. An empty file hinders nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static const char *file;

__attribute__((constructor)) static void begin(void) {
    file = getenv("HINDER");
    /* What it starts is left alone. */
    unsetenv("LD_PRELOAD");
}

/* System calls, not functions: those are the ones below. */
static int hindered(int fd) {
    int said = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC) : -1;
    if (said < 0) return 0;
    char text[256] = {0}, what[128], link[64], path[4096];
    long length = syscall(SYS_read, said, text, sizeof text - 1);
    syscall(SYS_close, said);
    unsigned int micros = 0;
    int failure = 0;
    if (length <= 0 || sscanf(text, "%127s %u %d", what, &micros, &failure) != 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t named = readlink(link, path, sizeof path - 1);
    if (named < 0) return 0;
    path[named] = 0;
    if (strstr(path, what) == NULL) return 0;
    usleep(micros);
    errno = failure;
    return failure;
}

#define CALL(type, name, parameters, arguments)                            \
    type name parameters {                                                 \
        if (hindered(fd)) return -1;                                       \
        type(*really) parameters = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        return really arguments;                                           \
    }

CALL(int, fdatasync, (int fd), (fd))
CALL(int, fsync, (int fd), (fd))
CALL(int, sync_file_range, (int fd, off64_t from, off64_t bytes, unsigned int flags), (fd, from, bytes, flags))
CALL(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at), (fd, bytes, length, at))
CALL(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at))
