/*
 * The system calls that cfsboot is written on, once, for both bindings.
 *
 * Every call is a plain function over an array of arguments that returns a value or -errno. `linux_calls` says what
 * there is and which kinds of arguments each call takes; a binding walks the table and converts arguments, so a new
 * call is one function and one line of the table.
 */
#ifndef CFSBOOT_LINUX_H
#define CFSBOOT_LINUX_H

#include <stddef.h>
#include <stdint.h>

/* Kinds of arguments, one character each in `struct linux_call.signature`. */
enum {
  LINUX_INT = 'i',             /* an integer of 32 bits, signed or unsigned */
  LINUX_LONG = 'l',            /* an integer of 64 bits: a number or a bigint */
  LINUX_STRING = 's',          /* a string (UTF-8) or bytes; a NUL inside is EINVAL */
  LINUX_NULLABLE_STRING = 'S', /* the same, or null for a null pointer */
  LINUX_BUFFER = 'b',          /* a Uint8Array that the call may write to */
};

enum { LINUX_MAX_ARGUMENTS = 7 };

struct linux_argument {
  int64_t number;
  /* A string's copy (ended by NUL, freed by linux_release) or a buffer's own memory. */
  void *data;
  size_t length;
  char *owned;
};

struct linux_call {
  const char *name;
  const char *signature;
  int64_t (*function)(const struct linux_argument *arguments);
};

extern const struct linux_call linux_calls[];
extern const size_t linux_call_count;

/* Makes room for a string of `length` bytes; the caller fills `data`, then calls linux_check_string. 0 or -ENOMEM. */
int linux_new_string(struct linux_argument *argument, size_t length);

/* 0, or -EINVAL if a NUL is inside. */
int linux_check_string(const struct linux_argument *argument);

/* Frees what linux_new_string allocated. */
void linux_release(struct linux_argument *arguments, size_t count);

#endif
