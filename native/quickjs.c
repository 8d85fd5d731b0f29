/* The system calls of linux.c as a QuickJS module (QuickJS and quickjs-ng): one export per entry of the table. */
#include "quickjs.h"

#include <string.h>

#include "linux.h"
#include "quickjs-module.h"

static JSValue fail(JSContext *ctx, const struct linux_call *call, size_t index, const char *expected) {
  return JS_ThrowTypeError(ctx, "%s: argument %d: expected %s", call->name, (int)index, expected);
}

/* An integer of 32 bits, or where `wide` a safe integer or a bigint of 64 bits. */
static int get_integer(JSContext *ctx, JSValueConst value, int wide, int64_t *out) {
  int tag = JS_VALUE_GET_NORM_TAG(value);
  double number;
  if (wide && (tag == JS_TAG_BIG_INT || tag == JS_TAG_SHORT_BIG_INT)) return JS_ToBigInt64(ctx, out, value) == 0;
  if (!JS_IsNumber(value) || JS_ToFloat64(ctx, &number, value) < 0) return 0;
  double low = wide ? -9007199254740991.0 : -2147483648.0, high = wide ? 9007199254740991.0 : 4294967295.0;
  if (!(number >= low && number <= high)) return 0;
  *out = (int64_t)number;
  return (double)*out == number;
}

/* The memory of a Uint8Array; the value must outlive its use. */
static int get_bytes(JSContext *ctx, JSValueConst value, void **data, size_t *length) {
  size_t offset, element, size;
  if (!JS_IsObject(value)) return 0;
  JSValue buffer = JS_GetTypedArrayBuffer(ctx, value, &offset, length, &element);
  if (JS_IsException(buffer)) {
    JS_FreeValue(ctx, JS_GetException(ctx));
    return 0;
  }
  uint8_t *start = JS_GetArrayBuffer(ctx, &size, buffer);
  JS_FreeValue(ctx, buffer);
  /* An empty buffer may have no memory. */
  if (!start && *length > 0) return 0;
  *data = start ? start + offset : NULL;
  return element == 1;
}

/* 1 and `*status` (0 or -errno), or 0 for a value of another type. */
static int get_string(JSContext *ctx, JSValueConst value, struct linux_argument *argument, int *status) {
  size_t length;
  void *bytes;
  const char *text = NULL;
  if (JS_IsString(value)) {
    text = JS_ToCStringLen(ctx, &length, value);
    if (!text) return 0;
    bytes = (void *)text;
  } else if (!get_bytes(ctx, value, &bytes, &length)) {
    return 0;
  }
  *status = linux_new_string(argument, length);
  if (*status == 0 && length) memcpy(argument->owned, bytes, length);
  if (text) JS_FreeCString(ctx, text);
  if (*status == 0) *status = linux_check_string(argument);
  return 1;
}

static JSValue invoke(JSContext *ctx, JSValueConst self, int given, JSValueConst *values, int index) {
  const struct linux_call *call = &linux_calls[index];
  struct linux_argument arguments[LINUX_MAX_ARGUMENTS] = {0};
  size_t count = strlen(call->signature), i;
  const char *expected = NULL;
  int status = 0;
  (void)self;
  for (i = 0; i < count && status == 0; i++) {
    struct linux_argument *argument = &arguments[i];
    JSValueConst value = (int)i < given ? values[i] : JS_UNDEFINED;
    switch (call->signature[i]) {
      case LINUX_INT:
        if (!get_integer(ctx, value, 0, &argument->number)) expected = "an integer of 32 bits";
        break;
      case LINUX_LONG:
        if (!get_integer(ctx, value, 1, &argument->number)) expected = "an integer of 64 bits";
        break;
      case LINUX_NULLABLE_STRING:
        if (JS_IsNull(value)) break;
        /* fall through */
      case LINUX_STRING:
        if (!get_string(ctx, value, argument, &status)) expected = "a string or a Uint8Array";
        break;
      case LINUX_BUFFER:
        if (!get_bytes(ctx, value, &argument->data, &argument->length)) expected = "a Uint8Array";
        break;
    }
    if (expected) break;
  }
  JSValue result = expected ? fail(ctx, call, i, expected)
                            : JS_NewInt64(ctx, status ? status : call->function(arguments));
  linux_release(arguments, count);
  return result;
}

static int define_exports(JSContext *ctx, JSModuleDef *module) {
  for (size_t i = 0; i < linux_call_count; i++) {
    JSValue function = JS_NewCFunctionMagic(ctx, invoke, linux_calls[i].name, (int)strlen(linux_calls[i].signature),
                                            JS_CFUNC_generic_magic, (int)i);
    if (JS_SetModuleExport(ctx, module, linux_calls[i].name, function) < 0) return -1;
  }
  return 0;
}

JSModuleDef *js_init_module_linux(JSContext *ctx, const char *module_name) {
  JSModuleDef *module = JS_NewCModule(ctx, module_name, define_exports);
  for (size_t i = 0; module && i < linux_call_count; i++) JS_AddModuleExport(ctx, module, linux_calls[i].name);
  return module;
}
