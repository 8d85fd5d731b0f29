/* Compiled with glibc (the Node addon) and musl (the initramfs program), so without linux/ *.h and with raw system
 * calls where either library lacks a wrapper. */
#define _GNU_SOURCE
#include "linux.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* These numbers are the same on every architecture. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

enum { MAX_OPENAT2_TRIES = 256 };
enum { STATX_BUFFER = 256, STATFS_BUFFER = 120 };

/* The open flags whose values differ between architectures, as TypeScript knows them (x86_64). */
enum {
  JS_O_DIRECT = 040000,
  JS_O_DIRECTORY = 0200000,
  JS_O_NOFOLLOW = 0400000,
};

static int64_t open_flags(int64_t flags) {
  int64_t out = flags & ~(int64_t)(JS_O_DIRECT | JS_O_DIRECTORY | JS_O_NOFOLLOW);
  if (flags & JS_O_DIRECT) out |= O_DIRECT;
  if (flags & JS_O_DIRECTORY) out |= O_DIRECTORY;
  if (flags & JS_O_NOFOLLOW) out |= O_NOFOLLOW;
  return out;
}

/* Evaluates a call to its value or -errno, again after EINTR. */
#define RETRY(call)                               \
  ({                                              \
    int64_t value_;                               \
    do {                                          \
      value_ = (call);                            \
    } while (value_ == -1 && errno == EINTR);     \
    value_ == -1 ? -(int64_t)errno : value_;      \
  })

#define CALL(name) static int64_t call_##name(const struct linux_argument *a)
#define INT(n) ((int)a[n].number)
#define LONG(n) (a[n].number)
#define STRING(n) ((const char *)a[n].data)

CALL(openat) { return RETRY(openat(INT(0), STRING(1), (int)open_flags(LONG(2)), (mode_t)INT(3))); }

/* An open file once more, on the mount of another: by its handle, so whatever is mounted over it there. */
CALL(open_by_handle_at) {
  struct {
    struct file_handle handle;
    unsigned char rest[MAX_HANDLE_SZ];
  } file = {.handle = {.handle_bytes = MAX_HANDLE_SZ}};
  int mount_id;
  int64_t result = RETRY(name_to_handle_at(INT(1), "", &file.handle, &mount_id, AT_EMPTY_PATH));
  return result < 0 ? result : RETRY(open_by_handle_at(INT(0), &file.handle, (int)open_flags(LONG(2))));
}

/*
 * With `..` in a path under RESOLVE_BENEATH or RESOLVE_IN_ROOT, any rename or mount on the machine in the meantime makes
 * the kernel say EAGAIN: again, but not for ever.
 */
CALL(openat2) {
  struct {
    uint64_t flags, mode, resolve;
  } how = {(uint64_t)open_flags(LONG(2)), (uint64_t)LONG(3), (uint64_t)LONG(4)};
  int64_t result;
  int tries = 0;
  do {
    if (tries > 0) sched_yield();
    result = RETRY(syscall(SYS_openat2, INT(0), STRING(1), &how, sizeof how));
  } while (result == -EAGAIN && how.resolve != 0 && ++tries < MAX_OPENAT2_TRIES);
  return result;
}

/* Not retried: Linux has released the descriptor when close is interrupted. */
CALL(close) { return close(INT(0)) == -1 && errno != EINTR ? -(int64_t)errno : 0; }

CALL(read) { return RETRY(read(INT(0), a[1].data, a[1].length)); }
CALL(pread) { return RETRY(pread(INT(0), a[1].data, a[1].length, LONG(2))); }
CALL(write) { return RETRY(write(INT(0), a[1].data, a[1].length)); }
CALL(pwrite) { return RETRY(pwrite(INT(0), a[1].data, a[1].length, LONG(2))); }
CALL(lseek) { return RETRY(lseek(INT(0), LONG(1), INT(2))); }

CALL(statx) {
  if (a[4].length < STATX_BUFFER) return -EINVAL;
  return RETRY(syscall(SYS_statx, INT(0), STRING(1), INT(2), (unsigned)INT(3), a[4].data));
}

CALL(readlinkat) { return RETRY(readlinkat(INT(0), STRING(1), a[2].data, a[2].length)); }
CALL(getdents64) { return RETRY(syscall(SYS_getdents64, INT(0), a[1].data, a[1].length)); }
CALL(faccessat) { return RETRY(faccessat(INT(0), STRING(1), INT(2), 0)); }

CALL(mkdirat) { return RETRY(mkdirat(INT(0), STRING(1), (mode_t)INT(2))); }
CALL(mknodat) { return RETRY(mknodat(INT(0), STRING(1), (mode_t)INT(2), (dev_t)LONG(3))); }
CALL(symlinkat) { return RETRY(symlinkat(STRING(0), INT(1), STRING(2))); }
CALL(linkat) { return RETRY(linkat(INT(0), STRING(1), INT(2), STRING(3), INT(4))); }
CALL(unlinkat) { return RETRY(unlinkat(INT(0), STRING(1), INT(2))); }
CALL(renameat2) {
  return RETRY(syscall(SYS_renameat2, INT(0), STRING(1), INT(2), STRING(3), (unsigned)INT(4)));
}
CALL(fchmod) { return RETRY(fchmod(INT(0), (mode_t)INT(1))); }
CALL(fchownat) { return RETRY(fchownat(INT(0), STRING(1), (uid_t)INT(2), (gid_t)INT(3), INT(4))); }

CALL(utimensat) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)LONG(2), .tv_nsec = INT(3)}};
  return RETRY(utimensat(INT(0), STRING(1), times, INT(4)));
}

CALL(ftruncate) { return RETRY(ftruncate(INT(0), LONG(1))); }
CALL(fsync) { return RETRY(fsync(INT(0))); }
CALL(fdatasync) { return RETRY(fdatasync(INT(0))); }
CALL(syncfs) { return RETRY(syncfs(INT(0))); }
CALL(flock) { return RETRY(flock(INT(0), INT(1))); }

/* The whole file, for the open file and not for the process. */
CALL(fcntl_lock) {
  struct flock lock = {.l_type = (short)INT(1), .l_whence = SEEK_SET};
  return RETRY(fcntl(INT(0), F_OFD_SETLK, &lock));
}

CALL(fstatfs) {
  if (a[1].length < STATFS_BUFFER) return -EINVAL;
  return RETRY(syscall(SYS_fstatfs, INT(0), a[1].data));
}

CALL(copy_file_range) {
  return RETRY(syscall(SYS_copy_file_range, INT(0), NULL, INT(1), NULL, (size_t)LONG(2), 0));
}

/* Bits 16..29 of a request say how large its argument is; requests from before that convention have 0 there. */
CALL(ioctl) {
  if (a[2].length < (((uint32_t)INT(1) >> 16) & 0x3fff)) return -EINVAL;
  return RETRY(syscall(SYS_ioctl, INT(0), (unsigned)INT(1), a[2].data));
}
CALL(ioctl_value) { return RETRY(syscall(SYS_ioctl, INT(0), (unsigned)INT(1), (long)LONG(2))); }

CALL(llistxattr) { return RETRY(llistxattr(STRING(0), a[1].data, a[1].length)); }
CALL(lgetxattr) { return RETRY(lgetxattr(STRING(0), STRING(1), a[2].data, a[2].length)); }
CALL(lsetxattr) { return RETRY(lsetxattr(STRING(0), STRING(1), a[2].data, a[2].length, INT(3))); }

CALL(fsopen) { return RETRY(syscall(SYS_fsopen, STRING(0), (unsigned)INT(1))); }
CALL(fsconfig) {
  return RETRY(syscall(SYS_fsconfig, INT(0), (unsigned)INT(1), STRING(2), STRING(3), INT(4)));
}
CALL(fsmount) { return RETRY(syscall(SYS_fsmount, INT(0), (unsigned)INT(1), (unsigned)INT(2))); }
CALL(open_tree) { return RETRY(syscall(SYS_open_tree, INT(0), STRING(1), (unsigned)INT(2))); }
CALL(move_mount) {
  return RETRY(syscall(SYS_move_mount, INT(0), STRING(1), INT(2), STRING(3), (unsigned)INT(4)));
}

CALL(mount_setattr) {
  struct {
    uint64_t set, clear, propagation, userns;
  } attributes = {(uint64_t)LONG(3), (uint64_t)LONG(4), (uint64_t)LONG(5), (uint64_t)LONG(6)};
  return RETRY(syscall(SYS_mount_setattr, INT(0), STRING(1), (unsigned)INT(2), &attributes, sizeof attributes));
}

CALL(mount) {
  return RETRY(mount(STRING(0), STRING(1), STRING(2), (unsigned long)LONG(3), STRING(4)));
}
CALL(umount2) { return RETRY(umount2(STRING(0), INT(1))); }

CALL(unshare) { return RETRY(unshare(INT(0))); }
CALL(setns) { return RETRY(setns(INT(0), INT(1))); }
CALL(geteuid) {
  (void)a;
  return geteuid();
}

/* A list of strings, each ended by NUL, as an array of pointers ended by a null pointer. */
static char **split_strings(const struct linux_argument *list) {
  char *at = list->data, *end = at + list->length;
  size_t count = 0;
  for (char *p = at; p < end; p++) count += *p == 0;
  char **out = calloc(count + 1, sizeof *out);
  for (size_t i = 0; out && i < count; i++) {
    out[i] = at;
    at += strlen(at) + 1;
  }
  return out;
}

CALL(execve) {
  char **argv = split_strings(&a[1]), **env = split_strings(&a[2]);
  int64_t result = -ENOMEM;
  if (argv && env) {
    /* Node marks its standard descriptors close-on-exec. */
    for (int fd = 0; fd <= 2; fd++) {
      int flags = fcntl(fd, F_GETFD);
      if (flags >= 0) fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC);
    }
    execve(STRING(0), argv, env);
    result = -(int64_t)errno;
  }
  free(argv);
  free(env);
  return result;
}

CALL(getrandom) { return RETRY(getrandom(a[0].data, a[0].length, 0)); }

/* Fills the buffer with the name of an errno and what it means, `ENOENT` NUL `No such file or directory`; returns the
 * length. */
CALL(describe_errno) {
  static const struct {
    int number;
    const char *name;
  } names[] = {
#define E(name) {name, #name}
    E(EPERM), E(ENOENT), E(ESRCH), E(EINTR), E(EIO), E(ENXIO), E(E2BIG), E(ENOEXEC), E(EBADF), E(ECHILD), E(EAGAIN),
    E(ENOMEM), E(EACCES), E(EFAULT), E(ENOTBLK), E(EBUSY), E(EEXIST), E(EXDEV), E(ENODEV), E(ENOTDIR), E(EISDIR),
    E(EINVAL), E(ENFILE), E(EMFILE), E(ENOTTY), E(ETXTBSY), E(EFBIG), E(ENOSPC), E(ESPIPE), E(EROFS), E(EMLINK),
    E(EPIPE), E(EDOM), E(ERANGE), E(EDEADLK), E(ENAMETOOLONG), E(ENOLCK), E(ENOSYS), E(ENOTEMPTY), E(ELOOP),
    E(ENOMSG), E(EIDRM), E(ENOSTR), E(ENODATA), E(ETIME), E(ENONET), E(ENOLINK), E(ECOMM), E(EPROTO), E(EMULTIHOP),
    E(EBADMSG), E(EOVERFLOW), E(EBADFD), E(EREMCHG), E(EILSEQ), E(EUSERS), E(ENOTSOCK), E(EOPNOTSUPP), E(ECONNRESET),
    E(ENOBUFS), E(ETIMEDOUT), E(EHOSTDOWN), E(EALREADY), E(EINPROGRESS), E(ESTALE), E(EUCLEAN), E(EREMOTEIO),
    E(EDQUOT), E(ENOMEDIUM), E(EMEDIUMTYPE), E(ECANCELED), E(ENOKEY), E(EKEYEXPIRED), E(EKEYREVOKED),
    E(EKEYREJECTED), E(EOWNERDEAD), E(ENOTRECOVERABLE),
#undef E
  };
  const char *name = "";
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].number == INT(0)) name = names[i].name;
  const char *text = strerror(INT(0));
  size_t name_size = strlen(name) + 1, text_length = strlen(text);
  if (a[1].length < name_size + text_length) return -ERANGE;
  memcpy(a[1].data, name, name_size);
  memcpy((char *)a[1].data + name_size, text, text_length);
  return (int64_t)(name_size + text_length);
}

const struct linux_call linux_calls[] = {
#define ENTRY(name, signature) {#name, signature, call_##name}
  ENTRY(openat, "isii"),
  ENTRY(openat2, "islll"),
  ENTRY(open_by_handle_at, "iil"),
  ENTRY(close, "i"),
  ENTRY(read, "ib"),
  ENTRY(pread, "ibl"),
  ENTRY(write, "ib"),
  ENTRY(pwrite, "ibl"),
  ENTRY(lseek, "ili"),
  ENTRY(statx, "isiib"),
  ENTRY(readlinkat, "isb"),
  ENTRY(getdents64, "ib"),
  ENTRY(faccessat, "isi"),
  ENTRY(mkdirat, "isi"),
  ENTRY(mknodat, "isil"),
  ENTRY(symlinkat, "sis"),
  ENTRY(linkat, "isisi"),
  ENTRY(unlinkat, "isi"),
  ENTRY(renameat2, "isisi"),
  ENTRY(fchmod, "ii"),
  ENTRY(fchownat, "isiii"),
  ENTRY(utimensat, "islii"),
  ENTRY(ftruncate, "il"),
  ENTRY(fsync, "i"),
  ENTRY(fdatasync, "i"),
  ENTRY(syncfs, "i"),
  ENTRY(flock, "ii"),
  ENTRY(fcntl_lock, "ii"),
  ENTRY(fstatfs, "ib"),
  ENTRY(copy_file_range, "iil"),
  ENTRY(ioctl, "iib"),
  ENTRY(ioctl_value, "iil"),
  ENTRY(llistxattr, "sb"),
  ENTRY(lgetxattr, "ssb"),
  ENTRY(lsetxattr, "ssbi"),
  ENTRY(fsopen, "si"),
  ENTRY(fsconfig, "iiSSi"),
  ENTRY(fsmount, "iii"),
  ENTRY(open_tree, "isi"),
  ENTRY(move_mount, "isisi"),
  ENTRY(mount_setattr, "isillll"),
  ENTRY(mount, "SsSlS"),
  ENTRY(umount2, "si"),
  ENTRY(unshare, "i"),
  ENTRY(setns, "ii"),
  ENTRY(geteuid, ""),
  ENTRY(execve, "sbb"),
  ENTRY(getrandom, "b"),
  ENTRY(describe_errno, "ib"),
#undef ENTRY
};
const size_t linux_call_count = sizeof linux_calls / sizeof *linux_calls;

int linux_new_string(struct linux_argument *argument, size_t length) {
  argument->owned = malloc(length + 1);
  if (!argument->owned) return -ENOMEM;
  argument->owned[length] = 0;
  argument->data = argument->owned;
  argument->length = length;
  return 0;
}

int linux_check_string(const struct linux_argument *argument) {
  return memchr(argument->data, 0, argument->length) ? -EINVAL : 0;
}

void linux_release(struct linux_argument *arguments, size_t count) {
  for (size_t i = 0; i < count; i++) free(arguments[i].owned);
}
