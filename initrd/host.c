/*
 * The program of the initramfs around its bytecode: one module run by QuickJS (or quickjs-ng) with the few intrinsics
 * that it needs, and neither files to load nor a compiler.
 *
 * The exit status is 0 only when the module's promise is fulfilled and no rejection was left unhandled. Everything
 * else is told on standard error: the messages of the error and of its causes on one line, and for a fault of the
 * program (not of the system) where it happened.
 */
#include "quickjs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../native/quickjs-module.h"

#ifdef QJS_VERSION_MAJOR /* quickjs-ng */
typedef bool js_bool;
#else
typedef JS_BOOL js_bool;
#endif

/* The bytecode, from qjsc. */
extern const uint8_t program[];
extern const uint32_t program_size;

enum {
  MAX_CAUSES = 64,  /* a chain of causes may be a circle */
  MAX_FRAMES = 16,
  MAX_REPORT = 16384,
};

static const char *program_name = "composefs-setup-root";
static int argument_count;
static char **arguments;

/* What is told about an error, in one piece; what does not fit is cut. */
static char report[MAX_REPORT];
static size_t report_length;

static void add(const char *text, size_t length) {
  /* The last byte is kept for a newline. */
  size_t room = sizeof report - 1 - report_length;
  if (length > room) length = room;
  memcpy(report + report_length, text, length);
  report_length += length;
}

static void add_text(const char *text) { add(text, strlen(text)); }

/* A message of one line: control characters of its own become blanks. */
static void add_message(const char *text) {
  for (; *text; text++) add((unsigned char)*text < 0x20 ? " " : text, 1);
}

static void send_report(void) {
  report[report_length++] = '\n';
  for (size_t done = 0; done < report_length;) {
    ssize_t count = write(STDERR_FILENO, report + done, report_length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    done += (size_t)count;
  }
  report_length = 0;
}

/* A property as a C string to be freed with JS_FreeCString; NULL if there is none. */
static const char *get_text(JSContext *ctx, JSValueConst object, const char *name) {
  JSValue value = JS_GetPropertyStr(ctx, object, name);
  const char *text = JS_IsString(value) ? JS_ToCString(ctx, value) : NULL;
  JS_FreeValue(ctx, value);
  return text;
}

static void drop_exception(JSContext *ctx) { JS_FreeValue(ctx, JS_GetException(ctx)); }

/* Errors that the engine throws when the program is at fault. */
static int is_fault(const char *name) {
  static const char *const names[] = {"TypeError",     "RangeError", "ReferenceError", "SyntaxError",
                                      "InternalError", "EvalError",  "URIError",       "AggregateError"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return 1;
  return 0;
}

/* The innermost frames of a stack, a line each. */
static void add_stack(const char *stack) {
  int frames = 0;
  for (const char *line = stack; *line; frames++) {
    size_t length = strcspn(line, "\n");
    if (frames < MAX_FRAMES) {
      add("\n", 1);
      add(line, length);
    }
    line += length + (line[length] == '\n');
  }
  if (frames > MAX_FRAMES) {
    char more[48];
    snprintf(more, sizeof more, "\n    ... and %d more", frames - MAX_FRAMES);
    add_text(more);
  }
}

static void print_error(JSContext *ctx, JSValueConst thrown) {
  char *fault_stack = NULL;
  JSValue error = JS_DupValue(ctx, thrown);
  add_text(program_name);
  add_text(": error");
  for (int depth = 0; depth < MAX_CAUSES; depth++) {
    const char *message = JS_IsObject(error) ? get_text(ctx, error, "message") : NULL;
    add_text(": ");
    if (!message) {
      /* Something thrown that is not an error. */
      const char *text = JS_ToCString(ctx, error);
      add_message(text ? text : "(unprintable)");
      JS_FreeCString(ctx, text);
      drop_exception(ctx);
      break;
    }
    const char *name = get_text(ctx, error, "name");
    if (name && is_fault(name)) {
      add_message(name);
      add_text(": ");
      const char *stack = get_text(ctx, error, "stack");
      free(fault_stack);
      fault_stack = stack ? strdup(stack) : NULL;
      JS_FreeCString(ctx, stack);
    }
    add_message(*message ? message : "(no message)");
    JS_FreeCString(ctx, name);
    JS_FreeCString(ctx, message);
    JSValue cause = JS_GetPropertyStr(ctx, error, "cause");
    JS_FreeValue(ctx, error);
    error = cause;
    if (JS_IsException(error)) drop_exception(ctx);
    if (JS_IsUndefined(error) || JS_IsNull(error) || JS_IsException(error)) break;
  }
  JS_FreeValue(ctx, error);
  if (fault_stack) add_stack(fault_stack);
  free(fault_stack);
  send_report();
}

static void print_fault(const char *text) {
  add_text(program_name);
  add_text(": error: ");
  add_text(text);
  send_report();
}

/* Rejected promises that nothing handles, so far. */
struct rejection {
  struct rejection *next;
  JSValue promise, reason;
};
static struct rejection *rejections;

static void track_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, js_bool is_handled, void *opaque) {
  struct rejection **at = &rejections, *found;
  (void)opaque;
  while (*at && JS_VALUE_GET_PTR((*at)->promise) != JS_VALUE_GET_PTR(promise)) at = &(*at)->next;
  found = *at;
  if (is_handled && found) {
    *at = found->next;
    JS_FreeValue(ctx, found->promise);
    JS_FreeValue(ctx, found->reason);
    free(found);
  } else if (!is_handled && !found) {
    struct rejection *new = malloc(sizeof *new);
    if (!new) abort();
    *new = (struct rejection){NULL, JS_DupValue(ctx, promise), JS_DupValue(ctx, reason)};
    *at = new;
  }
}

/* The status, or 1 if it would hide a rejected promise. */
static int final_status(JSContext *ctx, int status) {
  if (!rejections || status != 0) return status;
  print_error(ctx, rejections->reason);
  return 1;
}

static JSValue host_exit(JSContext *ctx, JSValueConst self, int count, JSValueConst *values) {
  int32_t status = 1;
  (void)self;
  if (count < 1 || JS_ToInt32(ctx, &status, values[0]) < 0) return JS_EXCEPTION;
  exit(final_status(ctx, status));
}

static int define_host_exports(JSContext *ctx, JSModuleDef *module) {
  JSValue list = JS_NewArray(ctx);
  for (int i = 1; i < argument_count; i++)
    JS_SetPropertyUint32(ctx, list, (uint32_t)(i - 1), JS_NewString(ctx, arguments[i]));
  if (JS_SetModuleExport(ctx, module, "args", list) < 0) return -1;
  return JS_SetModuleExport(ctx, module, "exit", JS_NewCFunction(ctx, host_exit, "exit", 1));
}

static JSModuleDef *js_init_module_host(JSContext *ctx, const char *module_name) {
  JSModuleDef *module = JS_NewCModule(ctx, module_name, define_host_exports);
  if (module) {
    JS_AddModuleExport(ctx, module, "args");
    JS_AddModuleExport(ctx, module, "exit");
  }
  return module;
}

static JSContext *new_context(JSRuntime *runtime) {
  JSContext *ctx = JS_NewContextRaw(runtime);
  if (!ctx) return NULL;
  JS_AddIntrinsicBaseObjects(ctx);
  JS_AddIntrinsicRegExp(ctx);
  JS_AddIntrinsicJSON(ctx);
  JS_AddIntrinsicMapSet(ctx);
  JS_AddIntrinsicTypedArrays(ctx);
  JS_AddIntrinsicPromise(ctx);
#ifdef QJS_VERSION_MAJOR
  JS_AddIntrinsicBigInt(ctx);
#endif
  return ctx;
}

/* Runs the module and everything that it has started. Returns the exit status. */
static int run(JSContext *ctx) {
  JSValue module = JS_ReadObject(ctx, program, program_size, JS_READ_OBJ_BYTECODE);
  JSValue promise = JS_EXCEPTION;
  if (!JS_IsException(module) && JS_ResolveModule(ctx, module) == 0) promise = JS_EvalFunction(ctx, module);
  JSContext *job;
  while (!JS_IsException(promise)) {
    int count = JS_ExecutePendingJob(JS_GetRuntime(ctx), &job);
    if (count == 0) break;
    if (count < 0) promise = JS_EXCEPTION;
  }
  if (JS_IsException(promise)) {
    print_error(ctx, JS_GetException(ctx));
    return 1;
  }
  switch (JS_PromiseState(ctx, promise)) {
    case JS_PROMISE_FULFILLED:
      return final_status(ctx, 0);
    case JS_PROMISE_REJECTED:
      print_error(ctx, JS_PromiseResult(ctx, promise));
      return 1;
    default:
      print_fault("the program waits for something that never happens (an await that does not settle)");
      return 1;
  }
}

int main(int argc, char **argv) {
  argument_count = argc;
  arguments = argv;
  if (argc > 0) {
    const char *slash = strrchr(argv[0], '/');
    program_name = slash ? slash + 1 : argv[0];
  }
  JSRuntime *runtime = JS_NewRuntime();
  JSContext *ctx = runtime ? new_context(runtime) : NULL;
  if (!ctx) {
    print_fault("out of memory");
    return 1;
  }
  JS_SetHostPromiseRejectionTracker(runtime, track_rejection, NULL);
  if (!js_init_module_linux(ctx, "cfsboot:linux") || !js_init_module_host(ctx, "cfsboot:host")) {
    print_error(ctx, JS_GetException(ctx));
    return 1;
  }
  /* Nothing is freed: the process ends. */
  return run(ctx);
}
