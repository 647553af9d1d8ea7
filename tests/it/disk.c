/* Preloaded, it gives a process a disk of its own below the folder DISK_BELOW: DISK_ROOM is a file of eight bytes that says how many are
 * free. Whatever makes a file longer uses them up, whatever shortens or removes one gives them back; without any, nothing new is made
 * (ENOSPC). With a negative number the disk is only read (EROFS). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
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
static _Atomic long long *room;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("DISK_ROOM");
    int (*really_open)(const char *, int, ...) = real("open");
    int fd = file ? really_open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    room = mmap(NULL, sizeof *room, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    folder = getenv("DISK_BELOW");
    /* What it starts has another disk. */
    unsetenv("LD_PRELOAD");
}

static int below(const char *path) { return folder && strncmp(path, folder, strlen(folder)) == 0; }

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = folder ? readlink(link, path, size - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int refuse(void) {
    errno = *room < 0 ? EROFS : ENOSPC;
    return -1;
}

/* Nothing is made or changed below the folder on a disk that is only read, and nothing made on one that is full. */
static int takes(const char *path, int makes) { return !below(path) || *room > 0 || (*room == 0 && !makes); }

static int use_up(long long bytes) {
    if (bytes <= 0 || atomic_fetch_sub(room, bytes) >= bytes) return 1;
    atomic_fetch_add(room, bytes);
    return 0;
}

static long long length_of(const char *path) {
    struct stat meta;
    return lstat(path, &meta) == 0 && S_ISREG(meta.st_mode) ? meta.st_size : 0;
}

/* Whether a file that is open has room for a write that ends here. */
static int grows(int fd, long long end) {
    char path[4096];
    struct stat meta;
    if (!path_of(fd, path, sizeof path) || fstat(fd, &meta) != 0 || !S_ISREG(meta.st_mode)) return 1;
    return use_up(end - meta.st_size);
}

static int opens(const char *path, int flags) {
    int writes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    if (writes && !takes(path, (flags & O_CREAT) && access(path, F_OK) != 0)) return 0;
    if (below(path) && (flags & O_TRUNC)) atomic_fetch_add(room, length_of(path));
    return 1;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        static int (*really)(const char *, int, ...); \
        if (!really) really = real(#name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return opens(path, flags) ? really(path, flags, mode) : refuse(); \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *from, size_t length) {
    static ssize_t (*really)(int, const void *, size_t);
    if (!really) really = real("write");
    off_t at = lseek(fd, 0, SEEK_CUR);
    return at < 0 || grows(fd, at + (long long)length) ? really(fd, from, length) : refuse();
}

ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    static ssize_t (*really)(int, const void *, size_t, off64_t);
    if (!really) really = real("pwrite64");
    return grows(fd, at + (long long)length) ? really(fd, from, length, at) : refuse();
}

int ftruncate64(int fd, off64_t length) {
    static int (*really)(int, off64_t);
    if (!really) really = real("ftruncate64");
    char path[4096];
    struct stat meta;
    int ours = path_of(fd, path, sizeof path) && fstat(fd, &meta) == 0;
    if (ours && !use_up(length - meta.st_size)) return refuse();
    int done = really(fd, length);
    if (done == 0 && ours && length < meta.st_size) atomic_fetch_add(room, meta.st_size - length);
    return done;
}

int rename(const char *path, const char *to) {
    static int (*really)(const char *, const char *);
    if (!really) really = real("rename");
    if (!takes(path, 0)) return refuse();
    long long gone = below(to) ? length_of(to) : 0;
    int done = really(path, to);
    if (done == 0 && gone) atomic_fetch_add(room, gone);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    static int (*really)(const char *, mode_t);
    if (!really) really = real("mkdir");
    return takes(path, 1) || access(path, F_OK) == 0 ? really(path, mode) : refuse();
}

int unlink(const char *path) {
    static int (*really)(const char *);
    if (!really) really = real("unlink");
    if (!takes(path, 0)) return refuse();
    long long gone = below(path) ? length_of(path) : 0;
    int done = really(path);
    if (done == 0 && gone) atomic_fetch_add(room, gone);
    return done;
}

int unlinkat(int dir, const char *name, int flags) {
    static int (*really)(int, const char *, int);
    if (!really) really = real("unlinkat");
    char path[8192];
    if (name[0] == '/') snprintf(path, sizeof path, "%s", name);
    else if (dir == AT_FDCWD || !path_of(dir, path, 4096)) return really(dir, name, flags);
    else snprintf(path + strlen(path), 4096, "/%s", name);
    if (!takes(path, 0)) return refuse();
    long long gone = below(path) ? length_of(path) : 0;
    int done = really(dir, name, flags);
    if (done == 0 && gone) atomic_fetch_add(room, gone);
    return done;
}
