/* Preloaded into a writer: records what it does to one folder's files, or lets it fail. Linux, single-threaded.

   FAULT_FOLDER    the folder, absolute
   FAULT_RECORD    file that takes the records; absent: none
   FAULT_CONTROL   file that holds "ERRNO KINDS" while writes ("w") or syncs ("s") are to fail, or "ERRNO r OFFSET"
                   while reads from OFFSET on are; absent: nothing fails

   A record: op (1 byte), fd (i32), offset (i64), lengths of path and data (u32 each), path, data; little-endian.
   It is written after the call succeeded. Memory maps are not recorded: SQLite maps only its -shm file, which no
   power loss leaves behind. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define MOST_FDS 4096
static char ours[MOST_FDS];
static int record_fd = -2;

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static ssize_t plain_write(int fd, const void *data, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    return real(fd, data, length);
}

static int plain_open(const char *path, int flags, mode_t mode) {
    REAL(int, open, const char *, int, ...);
    return real(path, flags, mode);
}

static int plain_close(int fd) {
    REAL(int, close, int);
    return real(fd);
}

static int inside(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]) && !strstr(path, "-shm");
}

static int is_ours(int fd) { return fd >= 0 && fd < MOST_FDS && ours[fd]; }

static void put(char op, int32_t fd, int64_t offset, const char *path, const void *data, uint32_t size) {
    const char *place = getenv("FAULT_RECORD");
    if (!place) return;
    if (record_fd == -2) record_fd = plain_open(place, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    char head[21];
    uint32_t length = path ? strlen(path) : 0;
    head[0] = op;
    memcpy(head + 1, &fd, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &length, 4);
    memcpy(head + 17, &size, 4);
    if (plain_write(record_fd, head, 21) != 21 || plain_write(record_fd, path, length) != length ||
        plain_write(record_fd, data, size) != size)
        abort();
}

static int fails_at(char kind, int64_t offset) {
    const char *place = getenv("FAULT_CONTROL");
    char text[32] = {0};
    int fd = place ? plain_open(place, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (fd < 0) return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    plain_close(fd);
    if (got <= 0 || !strchr(text, kind)) return 0;
    long long from = 0;
    sscanf(text, "%*d %*s %lld", &from);
    if (offset < from) return 0;
    errno = atoi(text);
    return 1;
}

static int fails(char kind) { return fails_at(kind, INT64_MAX); }

static int opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= MOST_FDS) return fd;
    ours[fd] = inside(path);
    if (ours[fd]) put('o', fd, (existed ? 0 : 1) | (flags & O_TRUNC ? 2 : 0), path, NULL, 0);
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        int existed = !access(path, F_OK); \
        if (!existed && (flags & O_CREAT) && inside(path) && fails('w')) return -1; \
        return opened(real(path, flags, mode), path, flags, existed); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        int existed = !access(path, F_OK); \
        return opened(real(folder, path, flags, mode), path, flags, existed); \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (is_ours(fd)) {
        put('c', fd, 0, NULL, NULL, 0);
        ours[fd] = 0;
    }
    return plain_close(fd);
}

ssize_t write(int fd, const void *data, size_t length) {
    if (is_ours(fd) && fails('w')) return -1;
    ssize_t done = plain_write(fd, data, length);
    if (done > 0 && is_ours(fd)) put('w', fd, lseek(fd, 0, SEEK_CUR) - done, NULL, data, done);
    return done;
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t length, offset_type offset) { \
        REAL(ssize_t, name, int, const void *, size_t, offset_type); \
        if (is_ours(fd) && fails('w')) return -1; \
        ssize_t done = real(fd, data, length, offset); \
        if (done > 0 && is_ours(fd)) put('w', fd, offset, NULL, data, done); \
        return done; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PREAD(name, offset_type) \
    ssize_t name(int fd, void *data, size_t length, offset_type offset) { \
        REAL(ssize_t, name, int, void *, size_t, offset_type); \
        return is_ours(fd) && fails_at('r', offset) ? -1 : real(fd, data, length, offset); \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

#define TRUNCATE(name, offset_type) \
    int name(int fd, offset_type length) { \
        REAL(int, name, int, offset_type); \
        if (is_ours(fd) && fails('w')) return -1; \
        int result = real(fd, length); \
        if (!result && is_ours(fd)) put('t', fd, length, NULL, NULL, 0); \
        return result; \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name) \
    int name(int fd) { \
        REAL(int, name, int); \
        if (is_ours(fd) && fails('s')) return -1; \
        int result = real(fd); \
        if (!result && is_ours(fd)) put('s', fd, 0, NULL, NULL, 0); \
        return result; \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (inside(to) && fails('w')) return -1;
    int result = real(from, to);
    if (!result && inside(to)) put('r', 0, 0, from, to, strlen(to));
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    int result = real(path);
    if (!result && inside(path)) put('u', 0, 0, path, NULL, 0);
    return result;
}
