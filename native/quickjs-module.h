#ifndef CFSBOOT_QUICKJS_MODULE_H
#define CFSBOOT_QUICKJS_MODULE_H

#include "quickjs.h"

/* The module of system calls, under the name by which the program imports it. */
JSModuleDef *js_init_module_linux(JSContext *ctx, const char *module_name);

#endif
