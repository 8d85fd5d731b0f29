/*
 * SHA-256 and SHA-512 of blocks of 4096 bytes (FIPS 180-4), as fs-verity's Merkle trees need them: several blocks at a
 * time, with what the processor has. In the Node addon only.
 */
#ifndef CFSBOOT_VERITY_H
#define CFSBOOT_VERITY_H

#include "linux.h"

/* The functions as a binding sees them. Algorithms have the kernel's numbers (FS_VERITY_HASH_ALG_*). */
extern const struct linux_call verity_calls[];
extern const size_t verity_call_count;

#endif
