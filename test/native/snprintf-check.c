/* Prints every case on which initrd/engine/snprintf.c and the C library differ, and the number of cases. */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define vsnprintf own_vsnprintf
#define snprintf own_snprintf
int own_vsnprintf(char *restrict text, size_t size, const char *restrict format, __builtin_va_list values);
int own_snprintf(char *restrict text, size_t size, const char *restrict format, ...);
#include "../../initrd/engine/snprintf.c"
#undef vsnprintf
#undef snprintf

static int cases;

#define COMPARE_IN(size, ...)                                                                     \
  do {                                                                                            \
    char own[64], libc[64];                                                                       \
    memset(own, '#', sizeof own);                                                                 \
    memset(libc, '#', sizeof libc);                                                               \
    int a = own_snprintf(own, size, __VA_ARGS__), b = snprintf(libc, size, __VA_ARGS__);          \
    cases++;                                                                                      \
    if (a != b || memcmp(own, libc, sizeof own) != 0)                                             \
      printf("%s, %d bytes: %d \"%.*s\", expected %d \"%.*s\"\n", #__VA_ARGS__, (int)(size), a,   \
             (int)sizeof own, own, b, (int)sizeof libc, libc);                                    \
  } while (0)
/* Where it fits, where it just does not, and where nothing does. */
#define COMPARE(...)                                                            \
  do {                                                                          \
    int length = snprintf(NULL, 0, __VA_ARGS__);                                \
    const int sizes[] = {64, length + 1, length, length > 1 ? length / 2 : 1, 1, 0}; \
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) COMPARE_IN((size_t)sizes[i], __VA_ARGS__); \
  } while (0)

int main(void) {
  COMPARE("%s", "text without conversions" + 5);
  COMPARE("%s at %s:%d:%d", "f", "program.mjs", 12, 345);
  COMPARE("expecting %%");
  COMPARE("expecting '%c'", ';');
  COMPARE("'%.*s'", 3, "more than three");
  COMPARE("'%.*s'", 30, "fewer");
  COMPARE("'%.3s|%.0s|%8s|%8.2s'", "January", "none", "right", "both");
  COMPARE("\\u%04x \\x%02x %x", 0xe9, 7, 0xdeadbeefu);
  COMPARE("%02d:%02d %04d %5d", 3, 123, -7, -7);
  COMPARE("%*d|%0*d", 6, 42, 6, -42);
  COMPARE("%u %u", 0u, UINT_MAX);
  COMPARE("%d %d %d", 0, INT_MAX, INT_MIN);
  COMPARE("%ld %ld", (long)INT64_MAX, (long)INT64_MIN);
  COMPARE("%lld %llu %llx", -5000000000LL, ULLONG_MAX, ULLONG_MAX);
  printf("%d cases\n", cases);
  return 0;
}
