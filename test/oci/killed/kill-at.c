/*
 * Runs a program and kills it at one of its system calls:
 *
 *   kill-at NTH DIRECTORY PROGRAM [ARGUMENT]...
 *
 * Only calls that change something are counted: those that make, link, rename or remove names, wherever that is, and
 * those that write to, size or sync files below DIRECTORY. The NTH of all threads together (from 1) does not happen
 * any more. With 0 the program comes to its end. The last line of standard output is the number of calls.
 * Exit status: the program's, or 137 if it was killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/seccomp.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/ptrace.h>

#define SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Calls that count always. */
static const long names[] = {
    SYS_mkdirat, SYS_linkat, SYS_symlinkat, SYS_unlinkat, SYS_renameat2,
#ifdef SYS_rename
    SYS_mkdir, SYS_link, SYS_symlink, SYS_unlink, SYS_rename, SYS_renameat, SYS_rmdir,
#endif
};
/* Calls that count for files below the directory: their first argument is the file. */
static const long files[] = {
    SYS_write, SYS_writev, SYS_pwrite64, SYS_pwritev, SYS_ftruncate, SYS_fallocate,
    SYS_fsync, SYS_fdatasync, SYS_syncfs, SYS_fchmod, SYS_copy_file_range, SYS_sendfile, SYS_ioctl,
};

static int among(long nr, const long *calls, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (calls[i] == nr)
            return 1;
    return 0;
}

static int is_below(pid_t thread, int fd, const char *directory)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/%d/fd/%d", thread, fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    size_t prefix = strlen(directory);
    return size >= (ssize_t)prefix && memcmp(path, directory, prefix) == 0;
}

static int counts(pid_t thread, const char *directory)
{
    struct ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info) <= 0)
        return 0;
    long nr = (long)info.seccomp.nr;
    if (among(nr, names, SIZE(names)))
        return 1;
    if (nr == SYS_openat)
        return (info.seccomp.args[2] & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) != 0;
    int fd = (int)info.seccomp.args[nr == SYS_copy_file_range ? 2 : 0];
    if (nr == SYS_ioctl) {
        unsigned request = (unsigned)info.seccomp.args[1];
        if (request != FS_IOC_ENABLE_VERITY && request != FICLONE)
            return 0;
    }
    return is_below(thread, fd, directory);
}

static void child(char **argv)
{
    struct sock_filter filter[4 + SIZE(names) + SIZE(files)];
    size_t n = 0, calls = SIZE(names) + SIZE(files) + 1;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < calls; i++) {
        long nr = i == 0 ? SYS_openat : i <= SIZE(names) ? names[i - 1] : files[i - 1 - SIZE(names)];
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, (unsigned char)(calls - i), 0);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = filter};
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("kill-at: seccomp");
        _exit(125);
    }
    execvp(argv[0], argv);
    perror("kill-at: exec");
    _exit(125);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    unsigned long nth = strtoul(argv[1], NULL, 10), count = 0;
    pid_t program = fork();
    if (program == 0)
        child(argv + 3);
    int status;
    if (program < 0 || waitpid(program, &status, 0) != program || !WIFSTOPPED(status))
        return 125;
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, program, 0, options) != 0) {
        perror("kill-at: ptrace");
        return 125;
    }
    ptrace(PTRACE_CONT, program, 0, 0);
    for (;;) {
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0)
            return 125;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (thread != program)
                continue;
            printf("%lu\n", count);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        int event = status >> 16, signal = WSTOPSIG(status);
        if (event == PTRACE_EVENT_SECCOMP && counts(thread, argv[2]) && ++count == nth)
            kill(program, SIGKILL);
        /* stops of ptrace's own, and those that new threads begin with, are no signals for the program */
        if (event != 0 || signal == SIGSTOP || signal == SIGTRAP)
            signal = 0;
        ptrace(PTRACE_CONT, thread, 0, signal);
    }
}
