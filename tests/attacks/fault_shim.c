/* Makes a chosen call of the C library fail: preloaded into a daemon, told by a file that both map what is to fail.
 *
 * A call is known by the function and by what it is about (a path, or what a descriptor leads to), with digits and ids
 * replaced, so that it has the same label in every run. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LABEL 160
#define LOG (1 << 20)

struct control {
    volatile int mode; /* 0 nothing, 1 write labels to the log, 2 fail one call */
    volatile int error;
    volatile int occurrence;
    volatile int seen;
    volatile int fired;
    volatile int length;
    char label[LABEL];
    char log[LOG];
};

static struct control *control;

__attribute__((constructor)) static void begin(void) {
    char path[4096] = "", line[4096];
    const char *given = getenv("FAULT_FILE");
    if (!given)
        return;
    strncpy(path, given, sizeof path - 8);
    long self = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    long size = syscall(SYS_read, self, line, sizeof line);
    syscall(SYS_close, self);
    if (size > 0 && memmem(line, size, "netd.dns", 8))
        strcat(path, ".dns"); /* The name server is a child of netd, and has what netd has in its environment. */
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    syscall(SYS_close, fd);
    if (found != MAP_FAILED)
        control = found;
}

static int is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

static void name(char *out, const char *function, const char *about) {
    size_t n = strlen(function);
    memcpy(out, function, n);
    out[n++] = ' ';
    for (const char *c = about; *c && n < LABEL - 2;) {
        size_t run = 0, digits = 0;
        while (is_hex(c[run]))
            digits += c[run++] <= '9';
        if (run && (run >= 8 || digits == run)) {
            out[n++] = '#';
            c += run;
        } else {
            size_t take = run ? run : 1;
            while (take-- && n < LABEL - 2)
                out[n++] = *c++;
        }
    }
    out[n] = 0;
}

/* Return the error that this call is to fail with, 0 when it is to be made. */
static int fault(const char *function, const char *about) {
    char label[LABEL];
    if (!control || !control->mode)
        return 0;
    name(label, function, about);
    if (control->mode == 1) {
        int size = (int)strlen(label), at = __sync_fetch_and_add(&control->length, size + 1);
        if (at + size + 1 < LOG) {
            memcpy(control->log + at, label, size);
            control->log[at + size] = '\n';
        }
        return 0;
    }
    if (strcmp(label, control->label) || __sync_fetch_and_add(&control->seen, 1) != control->occurrence)
        return 0;
    control->fired = 1;
    return control->error;
}

static int fault_of(const char *function, int fd) {
    char path[32], target[LABEL] = "";
    if (!control || !control->mode)
        return 0;
    char digits[12];
    int n = 0, value = fd;
    do
        digits[n++] = '0' + value % 10;
    while ((value /= 10) > 0);
    strcpy(path, "/proc/self/fd/");
    size_t at = strlen(path);
    while (n)
        path[at++] = digits[--n];
    path[at] = 0;
    long size = syscall(SYS_readlinkat, AT_FDCWD, path, target, sizeof target - 1);
    target[size > 0 ? size : 0] = 0;
    if (!strncmp(target, "socket:", 7)) {
        int domain = 0;
        socklen_t length = sizeof domain;
        syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
        strcpy(target, domain == AF_NETLINK ? "netlink" : domain == AF_UNIX ? "unix" : "inet");
    }
    return fault(function, target);
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL(value) do { int e_ = (value); if (e_) { errno = e_; return -1; } } while (0)
#define FAIL_WITH(value) do { int e_ = (value); if (e_) return e_; } while (0)

#define OPEN(function, parameters, path, ...) \
    int function parameters { \
        NEXT(function); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
        FAIL(fault(flags & (O_WRONLY | O_RDWR) ? "open-to-write" : "open", path)); \
        return next(__VA_ARGS__, flags, mode); \
    }
OPEN(open, (const char *path, int flags, ...), path, path)
OPEN(open64, (const char *path, int flags, ...), path, path)
OPEN(openat, (int folder, const char *path, int flags, ...), path, folder, path)
OPEN(openat64, (int folder, const char *path, int flags, ...), path, folder, path)

int socket(int domain, int type, int protocol) {
    NEXT(socket);
    FAIL(fault("socket", domain == AF_NETLINK ? "netlink" : domain == AF_UNIX ? "unix" : "inet"));
    return next(domain, type, protocol);
}
int socketpair(int domain, int type, int protocol, int pair[2]) {
    NEXT(socketpair);
    FAIL(fault("socketpair", ""));
    return next(domain, type, protocol, pair);
}
int pipe2(int pair[2], int flags) { NEXT(pipe2); FAIL(fault("pipe", "")); return next(pair, flags); }
int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags) {
    NEXT(accept4); FAIL(fault("accept", "")); return next(fd, a, n, flags);
}
int connect(int fd, const struct sockaddr *a, socklen_t n) { NEXT(connect); FAIL(fault_of("connect", fd)); return next(fd, a, n); }
int bind(int fd, const struct sockaddr *a, socklen_t n) { NEXT(bind); FAIL(fault_of("bind", fd)); return next(fd, a, n); }
ssize_t write(int fd, const void *data, size_t n) { NEXT(write); FAIL(fault_of("write", fd)); return next(fd, data, n); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { NEXT(pwrite64); FAIL(fault_of("write", fd)); return next(fd, data, n, at); }
ssize_t read(int fd, void *data, size_t n) { NEXT(read); FAIL(fault_of("read", fd)); return next(fd, data, n); }
ssize_t send(int fd, const void *data, size_t n, int f) { NEXT(send); FAIL(fault_of("send", fd)); return next(fd, data, n, f); }
ssize_t sendmsg(int fd, const struct msghdr *m, int f) { NEXT(sendmsg); FAIL(fault_of("send", fd)); return next(fd, m, f); }
ssize_t recv(int fd, void *data, size_t n, int f) { NEXT(recv); FAIL(fault_of("receive", fd)); return next(fd, data, n, f); }
ssize_t recvmsg(int fd, struct msghdr *m, int f) { NEXT(recvmsg); FAIL(fault_of("receive", fd)); return next(fd, m, f); }
ssize_t sendto(int fd, const void *data, size_t n, int f, const struct sockaddr *a, socklen_t l) {
    NEXT(sendto); FAIL(fault_of("send", fd)); return next(fd, data, n, f, a, l);
}
ssize_t recvfrom(int fd, void *data, size_t n, int f, struct sockaddr *a, socklen_t *l) {
    NEXT(recvfrom); FAIL(fault_of("receive", fd)); return next(fd, data, n, f, a, l);
}
int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int f) { NEXT(sendmmsg); FAIL(fault_of("send", fd)); return next(fd, m, n, f); }
int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int f, struct timespec *t) {
    NEXT(recvmmsg); FAIL(fault_of("receive", fd)); return next(fd, m, n, f, t);
}
int fsync(int fd) { NEXT(fsync); FAIL(fault_of("sync", fd)); return next(fd); }
int fdatasync(int fd) { NEXT(fdatasync); FAIL(fault_of("sync", fd)); return next(fd); }
int ftruncate64(int fd, off64_t n) { NEXT(ftruncate64); FAIL(fault_of("truncate", fd)); return next(fd, n); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); FAIL(fault("mkdir", path)); return next(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { NEXT(mkdirat); FAIL(fault("mkdir", path)); return next(folder, path, mode); }
int rename(const char *from, const char *to) { NEXT(rename); FAIL(fault("rename", from)); return next(from, to); }
int renameat(int a, const char *from, int b, const char *to) { NEXT(renameat); FAIL(fault("rename", from)); return next(a, from, b, to); }
int unlink(const char *path) { NEXT(unlink); FAIL(fault("unlink", path)); return next(path); }
int unlinkat(int folder, const char *path, int flags) { NEXT(unlinkat); FAIL(fault("unlink", path)); return next(folder, path, flags); }
int epoll_ctl(int a, int b, int c, void *d) {
    static int (*next)(int, int, int, void *);
    if (!next) next = (int (*)(int, int, int, void *))dlsym(RTLD_NEXT, "epoll_ctl");
    FAIL(b == 1 ? fault_of("epoll_ctl", c) : 0);
    return next(a, b, c, d);
}
int setns(int fd, int kind) { NEXT(setns); FAIL(fault("setns", "")); return next(fd, kind); }
int unshare(int flags) { NEXT(unshare); FAIL(fault("unshare", "")); return next(flags); }
int mount(const char *a, const char *b, const char *c, unsigned long d, const void *e) {
    static int (*next)(const char *, const char *, const char *, unsigned long, const void *);
    if (!next) next = (int (*)(const char *, const char *, const char *, unsigned long, const void *))dlsym(RTLD_NEXT, "mount");
    FAIL(fault("mount", b));
    return next(a, b, c, d, e);
}
int posix_spawn(pid_t *p, const char *path, const posix_spawn_file_actions_t *a, const posix_spawnattr_t *b, char *const c[], char *const d[]) {
    NEXT(posix_spawn); FAIL_WITH(fault("spawn", "")); return next(p, path, a, b, c, d);
}
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x) {
    NEXT(pthread_create); FAIL_WITH(fault("thread", "")); return next(t, a, f, x);
}
