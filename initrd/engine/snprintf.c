/*
 * The part of snprintf that the engine and its host use, in place of the C library's, which brings floating point and
 * files, 12 KB: %c %d %s %u %x and %%, with `l` and `ll`, a width with or without `0`, and a precision for strings
 * (each a number or `*`). Any other conversion ends the process.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the text goes: what does not fit is counted only. */
struct sink {
  char *text;
  size_t room, length;
};

static void put(struct sink *sink, char byte) {
  if (sink->length < sink->room) sink->text[sink->length] = byte;
  sink->length++;
}

/* A piece of a number or a string, right-aligned in `width`. */
static void put_field(struct sink *sink, const char *piece, size_t length, size_t width, char fill) {
  for (; width > length; width--) put(sink, fill);
  for (size_t i = 0; i < length; i++) put(sink, piece[i]);
}

static void put_number(struct sink *sink, uint64_t value, int negative, unsigned base, size_t width, char fill) {
  char digits[24];
  size_t at = sizeof digits;
  do {
    digits[--at] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value);
  if (negative && fill == '0') {
    put(sink, '-');
    if (width) width--;
  } else if (negative) {
    digits[--at] = '-';
  }
  put_field(sink, digits + at, sizeof digits - at, width, fill);
}

/* A width or a precision. */
#define NUMBER(number)                                             \
  if (*format == '*') {                                            \
    number = (size_t)va_arg(values, int);                          \
    format++;                                                      \
  } else {                                                         \
    for (number = 0; *format >= '0' && *format <= '9'; format++)   \
      number = number * 10 + (size_t)(*format - '0');              \
  }

int vsnprintf(char *restrict text, size_t size, const char *restrict format, va_list values) {
  struct sink sink = {text, size ? size - 1 : 0, 0};
  for (; *format; format++) {
    if (*format != '%') {
      put(&sink, *format);
      continue;
    }
    size_t width, precision = SIZE_MAX;
    char fill = ' ', byte;
    int is_long = 0;
    int64_t number;
    if (*++format == '0') fill = *format++;
    NUMBER(width)
    if (*format == '.') {
      format++;
      NUMBER(precision)
    }
    for (; *format == 'l'; format++) is_long = 1;
    switch (*format) {
      case '%':
        put(&sink, '%');
        break;
      case 'c':
        byte = (char)va_arg(values, int);
        put_field(&sink, &byte, 1, width, ' ');
        break;
      case 's': {
        const char *string = va_arg(values, const char *);
        put_field(&sink, string, strnlen(string, precision), width, ' ');
        break;
      }
      case 'd':
        number = is_long ? va_arg(values, int64_t) : va_arg(values, int);
        put_number(&sink, number < 0 ? -(uint64_t)number : (uint64_t)number, number < 0, 10, width, fill);
        break;
      case 'u':
      case 'x':
        put_number(&sink, is_long ? va_arg(values, uint64_t) : va_arg(values, unsigned), 0, *format == 'x' ? 16 : 10,
                   width, fill);
        break;
      default:
        abort();
    }
  }
  if (size) text[sink.length < sink.room ? sink.length : sink.room] = '\0';
  return (int)sink.length;
}

int snprintf(char *restrict text, size_t size, const char *restrict format, ...) {
  va_list values;
  va_start(values, format);
  int length = vsnprintf(text, size, format, values);
  va_end(values);
  return length;
}
