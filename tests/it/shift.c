/* Preloaded, it shifts the wall clock of one process by as many microseconds as a file says. All other clocks stay as they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long shift(void) {
    const char *path = getenv("SHIFT_BY");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    char text[32] = {0};
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int status = (int)syscall(SYS_clock_gettime, clock, time);
    if (status == 0 && clock == CLOCK_REALTIME) {
        long long nanos = time->tv_nsec + shift() % 1000000 * 1000, carry = nanos < 0 ? -1 : nanos / 1000000000;
        time->tv_sec += shift() / 1000000 + carry;
        time->tv_nsec = nanos - carry * 1000000000;
    }
    return status;
}
