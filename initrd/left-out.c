/*
 * Parts of the engine and of the C library that the program can do without, 45 KB in all, given smaller definitions:
 * these take their places when the executable is linked.
 */
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

#define ABSENT(name) absent("error: this program was built without Math." #name "\n")

#define NO_MATH(name)      \
  double name(double);     \
  double name(double x) {  \
    ABSENT(name);          \
  }
#define NO_MATH_OF_TWO(name)         \
  double name(double, double);       \
  double name(double x, double y) {  \
    ABSENT(name);                    \
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
