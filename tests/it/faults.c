/* Preloaded, it has one call of a process on a file below a folder fail, or kills the process at it: the FAULT_AT-th of all its threads.
 * FAULT_COUNT is a file of eight bytes in which calls are counted; FAULT_ERRNO is what the call fails with, 0 for a kill. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *folder;
static unsigned long long at;
static int failure;
static _Atomic unsigned long long *count;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULT_COUNT"), *number = getenv("FAULT_AT"), *error = getenv("FAULT_ERRNO");
    int (*really_open)(const char *, int, ...) = real("open");
    int fd = file ? really_open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    at = number ? strtoull(number, NULL, 10) : 0;
    failure = error ? atoi(error) : 0;
    folder = getenv("FAULT_BELOW");
    /* What it starts is left alone. */
    unsetenv("LD_PRELOAD");
}

static int below(const char *path) { return folder && strncmp(path, folder, strlen(folder)) == 0; }

static int strikes(const char *path) {
    if (!below(path) || atomic_fetch_add(count, 1) + 1 != at) return 0;
    if (failure == 0) raise(SIGKILL);
    errno = failure;
    return 1;
}

static int strikes_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = folder ? readlink(link, path, sizeof path - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return strikes(path);
}

static int strikes_at(int dir, const char *path) { return path[0] == '/' || dir == AT_FDCWD ? strikes(path) : strikes_fd(dir); }

#define FD(result, name, parameters, arguments) \
    result name parameters { \
        static result(*really) parameters; \
        if (!really) really = real(#name); \
        return strikes_fd(fd) ? -1 : really arguments; \
    }
#define PATH(name, parameters, arguments) \
    int name parameters { \
        static int(*really) parameters; \
        if (!really) really = real(#name); \
        return strikes(path) ? -1 : really arguments; \
    }
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        static int (*really)(const char *, int, ...); \
        if (!really) really = real(#name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return strikes(path) ? -1 : really(path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        static int (*really)(int, const char *, int, ...); \
        if (!really) really = real(#name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return strikes_at(dir, path) ? -1 : really(dir, path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FD(ssize_t, read, (int fd, void *into, size_t length), (fd, into, length))
FD(ssize_t, pread64, (int fd, void *into, size_t length, off64_t place), (fd, into, length, place))
FD(ssize_t, write, (int fd, const void *from, size_t length), (fd, from, length))
FD(ssize_t, writev, (int fd, const struct iovec *parts, int length), (fd, parts, length))
FD(ssize_t, pwrite64, (int fd, const void *from, size_t length, off64_t place), (fd, from, length, place))
FD(int, fsync, (int fd), (fd))
FD(int, fdatasync, (int fd), (fd))
FD(int, ftruncate64, (int fd, off64_t length), (fd, length))
PATH(rename, (const char *path, const char *to), (path, to))
PATH(mkdir, (const char *path, mode_t mode), (path, mode))
PATH(rmdir, (const char *path), (path))
PATH(unlink, (const char *path), (path))

int unlinkat(int dir, const char *path, int flags) {
    int (*really)(int, const char *, int) = real("unlinkat");
    return strikes_at(dir, path) ? -1 : really(dir, path, flags);
}

DIR *opendir(const char *path) {
    DIR *(*really)(const char *) = real("opendir");
    return strikes(path) ? NULL : really(path);
}
