/* The system calls of linux.c and the hashes of verity.c as a Node-API addon: an object with one function per entry of
 * their tables. */
#include "linux.h"
#include "verity.h"

#include <node_api.h>
#include <stdio.h>
#include <string.h>

static napi_value fail(napi_env env, const struct linux_call *call, size_t index, const char *expected) {
  char message[128];
  snprintf(message, sizeof message, "%s: argument %zu: expected %s", call->name, index, expected);
  napi_throw_type_error(env, NULL, message);
  return NULL;
}

/* An integer of 32 bits, or where `wide` a safe integer or a bigint of 64 bits. */
static int get_integer(napi_env env, napi_value value, int wide, int64_t *out) {
  napi_valuetype type;
  double number;
  bool lossless;
  if (napi_typeof(env, value, &type) != napi_ok) return 0;
  if (wide && type == napi_bigint)
    return napi_get_value_bigint_int64(env, value, out, &lossless) == napi_ok && lossless;
  if (type != napi_number || napi_get_value_double(env, value, &number) != napi_ok) return 0;
  double low = wide ? -9007199254740991.0 : -2147483648.0, high = wide ? 9007199254740991.0 : 4294967295.0;
  if (!(number >= low && number <= high)) return 0;
  *out = (int64_t)number;
  return (double)*out == number;
}

static int get_bytes(napi_env env, napi_value value, void **data, size_t *length) {
  napi_typedarray_type type;
  bool is_typed_array;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array) return 0;
  if (napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) != napi_ok) return 0;
  return type == napi_uint8_array;
}

/* 1 and `*status` (0 or -errno), or 0 for a value of another type. */
static int get_string(napi_env env, napi_value value, struct linux_argument *argument, int *status) {
  napi_valuetype type;
  size_t length;
  void *bytes;
  if (napi_typeof(env, value, &type) != napi_ok) return 0;
  if (type == napi_string) {
    if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return 0;
    *status = linux_new_string(argument, length);
    if (*status == 0) napi_get_value_string_utf8(env, value, argument->owned, length + 1, &length);
  } else if (get_bytes(env, value, &bytes, &length)) {
    *status = linux_new_string(argument, length);
    if (*status == 0 && length) memcpy(argument->owned, bytes, length);
  } else {
    return 0;
  }
  if (*status == 0) *status = linux_check_string(argument);
  return 1;
}

static napi_value invoke(napi_env env, napi_callback_info info) {
  void *data;
  napi_value values[LINUX_MAX_ARGUMENTS], result = NULL;
  struct linux_argument arguments[LINUX_MAX_ARGUMENTS] = {0};
  size_t given = LINUX_MAX_ARGUMENTS;
  if (napi_get_cb_info(env, info, &given, values, NULL, &data) != napi_ok) return NULL;
  const struct linux_call *call = data;
  size_t count = strlen(call->signature);
  const char *expected = NULL;
  int status = 0;
  size_t i;
  /* Values that were not passed are undefined, which is of no kind. */
  for (i = 0; i < count && status == 0; i++) {
    struct linux_argument *argument = &arguments[i];
    napi_valuetype type;
    switch (call->signature[i]) {
      case LINUX_INT:
        if (!get_integer(env, values[i], 0, &argument->number)) expected = "an integer of 32 bits";
        break;
      case LINUX_LONG:
        if (!get_integer(env, values[i], 1, &argument->number)) expected = "an integer of 64 bits";
        break;
      case LINUX_NULLABLE_STRING:
        if (napi_typeof(env, values[i], &type) == napi_ok && type == napi_null) break;
        /* fall through */
      case LINUX_STRING:
        if (!get_string(env, values[i], argument, &status)) expected = "a string or a Uint8Array";
        break;
      case LINUX_BUFFER:
        if (!get_bytes(env, values[i], &argument->data, &argument->length)) expected = "a Uint8Array";
        break;
    }
    if (expected) break;
  }
  if (expected) {
    fail(env, call, i, expected);
  } else {
    napi_create_int64(env, status ? status : call->function(arguments), &result);
  }
  linux_release(arguments, count);
  return result;
}

static int define(napi_env env, napi_value exports, const struct linux_call *calls, size_t count) {
  for (size_t i = 0; i < count; i++) {
    napi_value function;
    if (napi_create_function(env, calls[i].name, NAPI_AUTO_LENGTH, invoke, (void *)&calls[i], &function) != napi_ok ||
        napi_set_named_property(env, exports, calls[i].name, function) != napi_ok)
      return 0;
  }
  return 1;
}

NAPI_MODULE_INIT() {
  int defined = define(env, exports, linux_calls, linux_call_count) &&
                define(env, exports, verity_calls, verity_call_count);
  return defined ? exports : NULL;
}
