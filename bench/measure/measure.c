/*
 * measure RUNS UMOUNT PROGRAM [ARGUMENT...]: runs a program again and again, its output thrown away, and prints a line for
 * each run: nanoseconds from before the fork to after the wait, the peak resident set in KiB, and the microseconds of
 * processor time. After each run the mount at UMOUNT ("-": none) is taken away. Small and static, since a child's peak includes what its parent had.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long microseconds(struct timeval t) {
  return t.tv_sec * 1000000LL + t.tv_usec;
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  int null = open("/dev/null", O_WRONLY);
  for (int i = atoi(argv[1]); i > 0; i--) {
    long long start = now();
    pid_t child = vfork();
    if (child == 0) {
      dup2(null, STDOUT_FILENO);
      execv(argv[3], argv + 3);
      _exit(127);
    }
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) < 0) return 1;
    long long end = now();
    if (status != 0) {
      fprintf(stderr, "%s: wait status %d\n", argv[3], status);
      return 1;
    }
    if (strcmp(argv[2], "-") != 0 && umount2(argv[2], MNT_DETACH) < 0) {
      perror("umount2");
      return 1;
    }
    printf("%lld %ld %lld\n", end - start, usage.ru_maxrss,
           microseconds(usage.ru_utime) + microseconds(usage.ru_stime));
  }
  return 0;
}
