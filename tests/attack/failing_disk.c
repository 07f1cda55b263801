// Makes calls on files below a folder fail, for tests of a disk that fails. Loaded with LD_PRELOAD.
//
// FAILING_FOLDER is the folder. While the file FAILING_RULE exists, it holds one rule: CALL ERRNO PART. The call fails with the
// error on paths that have the part in them; `-` is every path. Calls are write (and its siblings), sync, size, open and rename.
// A long write takes half of its bytes, and so on until what is left is short and fails: as on a disk that gets full.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int failing(const char *call, const char *path) {
    const char *folder = getenv("FAILING_FOLDER"), *rule = getenv("FAILING_RULE");
    if (!folder || !rule || !path || strncmp(path, folder, strlen(folder))) return 0;
    long fd = syscall(SYS_openat, AT_FDCWD, rule, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    char text[256] = {0}, name[32] = {0}, part[128] = {0};
    int number = 0;
    syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (sscanf(text, "%31s %d %127s", name, &number, part) != 3 || strcmp(name, call)) return 0;
    return strcmp(part, "-") == 0 || strstr(path, part) ? number : 0;
}

static int failing_fd(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return failing(call, path);
}

/* Fewer bytes than this are not split. */
#define SHORT 512

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(error) do { errno = (error); return -1; } while (0)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    int kept = errno, error = failing_fd("write", fd);
    errno = kept;
    if (!error) return real(fd, bytes, count);
    if (count > SHORT) return real(fd, bytes, count / 2);
    FAIL(error);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    int kept = errno, error = failing_fd("write", fd);
    errno = kept;
    if (error) FAIL(error);
    return real(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    int kept = errno, error = failing_fd("write", fd);
    errno = kept;
    if (!error) return real(fd, bytes, count, at);
    if (count > SHORT) return real(fd, bytes, count / 2, at);
    FAIL(error);
}

int fsync(int fd) {
    REAL(fsync);
    int kept = errno, error = failing_fd("sync", fd);
    errno = kept;
    if (error) FAIL(error);
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    int kept = errno, error = failing_fd("sync", fd);
    errno = kept;
    if (error) FAIL(error);
    return real(fd);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    int kept = errno, error = failing_fd("size", fd);
    errno = kept;
    if (error) FAIL(error);
    return real(fd, length);
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    int kept = errno, error = failing("open", path);
    errno = kept;
    if (error) FAIL(error);
    return real(path, flags, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    int kept = errno, error = failing("rename", to);
    errno = kept;
    if (error) FAIL(error);
    return real(from, to);
}
