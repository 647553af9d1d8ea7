/* Preloaded, it gives one process no more threads while a file is there, as a machine does that has none left. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

typedef int start(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    const char *none = getenv("NO_THREADS_WHILE");
    if (none && access(none, F_OK) == 0) return EAGAIN;
    return ((start *)dlsym(RTLD_NEXT, "pthread_create"))(thread, attributes, body, argument);
}
