/*
 * Parts of the engine and of the C library that the program can do without, 50 KB in all, given smaller definitions:
 * these take their places when the executable is linked.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/*
 * Unicode properties (`\p{…}`) of regular expressions that are made while the program runs: there are none, which
 * becomes a SyntaxError. Literals are compiled with the program, by an engine that knows them all. (The build makes the
 * engine's own definitions weak.)
 */
enum { UNKNOWN_PROPERTY = -2 };

#define NO_PROPERTY(name, ...)     \
  int name(__VA_ARGS__);           \
  int name(__VA_ARGS__) {          \
    return UNKNOWN_PROPERTY;       \
  }

#pragma GCC diagnostic ignored "-Wunused-parameter"
NO_PROPERTY(unicode_script, void *ranges, const char *name, int extensions)
NO_PROPERTY(unicode_general_category, void *ranges, const char *name)
NO_PROPERTY(unicode_prop, void *ranges, const char *name)

/*
 * Functions of Math that would bring libm's tables. The build refuses a program that names one of them; where one is
 * called nevertheless, the program ends, since no number would be right.
 */
static _Noreturn void absent(const char *text) {
  ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
  (void)ignored;
  _exit(1);
}

#define ABSENT(name) absent("error: this program was built without " name "\n")

#define NO_MATH(name)       \
  double name(double);      \
  double name(double x) {   \
    ABSENT("Math." #name);  \
  }
#define NO_MATH_OF_TWO(name)        \
  double name(double, double);      \
  double name(double x, double y) { \
    ABSENT("Math." #name);          \
  }

NO_MATH(acos)
NO_MATH(acosh)
NO_MATH(asin)
NO_MATH(asinh)
NO_MATH(atan)
NO_MATH_OF_TWO(atan2)
NO_MATH(atanh)
NO_MATH(cbrt)
NO_MATH(cos)
NO_MATH(cosh)
NO_MATH(exp)
NO_MATH(expm1)
NO_MATH(log)
NO_MATH(log1p)
NO_MATH(log2)
NO_MATH(sin)
NO_MATH(sinh)
NO_MATH(tan)
NO_MATH(tanh)

/*
 * Threads: there is one. What is locked for Atomics and for the numbers of classes is never contended, and nothing
 * waits: the engine refuses Atomics.wait where the host has not allowed it.
 */
int pthread_mutex_lock(pthread_mutex_t *mutex) { return 0; }
int pthread_mutex_unlock(pthread_mutex_t *mutex) { return 0; }
int pthread_cond_init(pthread_cond_t *restrict condition, const pthread_condattr_t *restrict attributes) { return 0; }
int pthread_cond_destroy(pthread_cond_t *condition) { return 0; }
int pthread_cond_signal(pthread_cond_t *condition) { return 0; }
int pthread_cond_wait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex) { ABSENT("threads"); }
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  ABSENT("threads");
}
