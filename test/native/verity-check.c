/* Hashes the blocks on standard input with every kernel of verity.c that the processor has, and with what is chosen
 * (kernel -1); prints a line for each: algorithm, kernel, and the digests in hex. */
#include "../../native/verity.h"

#include <stdio.h>
#include <string.h>

static uint8_t data[64 * 4096], digests[64 * 64];

static int64_t call(const char *name, struct linux_argument *arguments) {
  for (size_t i = 0; i < verity_call_count; i++)
    if (strcmp(verity_calls[i].name, name) == 0) return verity_calls[i].function(arguments);
  return -1;
}

int main(void) {
  size_t length = fread(data, 1, sizeof data, stdin);
  for (int algorithm = 1; algorithm <= 2; algorithm++) {
    for (int kernel = -1; kernel < 16; kernel++) {
      char name[32] = "chosen";
      struct linux_argument naming[] = {{.number = algorithm}, {.number = kernel}, {.data = name, .length = 31}};
      if (kernel >= 0) {
        int64_t size = call("verity_kernel", naming);
        if (size < 0) continue;
        name[size] = 0;
      }
      struct linux_argument hashing[] = {
        {.number = algorithm},
        {.number = kernel},
        {.data = data, .length = 4096},
        {.data = data + 4096, .length = length - 4096},
        {.data = digests, .length = sizeof digests},
      };
      int64_t count = call("verity_hash_blocks", hashing);
      if (count != (int64_t)(length / 4096)) return 1;
      printf("%d %s ", algorithm, name);
      for (int64_t i = 0; i < count * (algorithm == 1 ? 32 : 64); i++) printf("%02x", digests[i]);
      printf("\n");
    }
  }
  return 0;
}
