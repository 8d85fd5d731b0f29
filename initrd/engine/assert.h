/*
 * What the engine is compiled with in place of the C library's <assert.h>: every check stays, the text of its
 * expression, 8 KB in all, does not.
 */
#undef assert
#define assert(expression) ((expression) ? (void)0 : assertion_failed(__FILE__, __LINE__))

#ifndef ENGINE_ASSERT_H
#define ENGINE_ASSERT_H
_Noreturn void assertion_failed(const char *file, int line);
#endif
