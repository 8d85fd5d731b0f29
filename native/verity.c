#include "verity.h"

#include <errno.h>
#include <string.h>

enum { BLOCK_SIZE = 4096, MAX_LANES = 16, MAX_DIGEST = 64 };

/* FIPS 180-4, 4.2 and 5.3: SHA-256 has the upper halves of SHA-512's constants, and fewer of them. */
#define CONSTANTS_OF_SHA256(X) \
  X(0x428a2f98d728ae22) X(0x7137449123ef65cd) X(0xb5c0fbcfec4d3b2f) X(0xe9b5dba58189dbbc) \
  X(0x3956c25bf348b538) X(0x59f111f1b605d019) X(0x923f82a4af194f9b) X(0xab1c5ed5da6d8118) \
  X(0xd807aa98a3030242) X(0x12835b0145706fbe) X(0x243185be4ee4b28c) X(0x550c7dc3d5ffb4e2) \
  X(0x72be5d74f27b896f) X(0x80deb1fe3b1696b1) X(0x9bdc06a725c71235) X(0xc19bf174cf692694) \
  X(0xe49b69c19ef14ad2) X(0xefbe4786384f25e3) X(0x0fc19dc68b8cd5b5) X(0x240ca1cc77ac9c65) \
  X(0x2de92c6f592b0275) X(0x4a7484aa6ea6e483) X(0x5cb0a9dcbd41fbd4) X(0x76f988da831153b5) \
  X(0x983e5152ee66dfab) X(0xa831c66d2db43210) X(0xb00327c898fb213f) X(0xbf597fc7beef0ee4) \
  X(0xc6e00bf33da88fc2) X(0xd5a79147930aa725) X(0x06ca6351e003826f) X(0x142929670a0e6e70) \
  X(0x27b70a8546d22ffc) X(0x2e1b21385c26c926) X(0x4d2c6dfc5ac42aed) X(0x53380d139d95b3df) \
  X(0x650a73548baf63de) X(0x766a0abb3c77b2a8) X(0x81c2c92e47edaee6) X(0x92722c851482353b) \
  X(0xa2bfe8a14cf10364) X(0xa81a664bbc423001) X(0xc24b8b70d0f89791) X(0xc76c51a30654be30) \
  X(0xd192e819d6ef5218) X(0xd69906245565a910) X(0xf40e35855771202a) X(0x106aa07032bbd1b8) \
  X(0x19a4c116b8d2d0c8) X(0x1e376c085141ab53) X(0x2748774cdf8eeb99) X(0x34b0bcb5e19b48a8) \
  X(0x391c0cb3c5c95a63) X(0x4ed8aa4ae3418acb) X(0x5b9cca4f7763e373) X(0x682e6ff3d6b2b8a3) \
  X(0x748f82ee5defb2fc) X(0x78a5636f43172f60) X(0x84c87814a1f0ab72) X(0x8cc702081a6439ec) \
  X(0x90befffa23631e28) X(0xa4506cebde82bde9) X(0xbef9a3f7b2c67915) X(0xc67178f2e372532b)
#define MORE_CONSTANTS_OF_SHA512(X) \
  X(0xca273eceea26619c) X(0xd186b8c721c0c207) X(0xeada7dd6cde0eb1e) X(0xf57d4f7fee6ed178) \
  X(0x06f067aa72176fba) X(0x0a637dc5a2c898a6) X(0x113f9804bef90dae) X(0x1b710b35131c471b) \
  X(0x28db77f523047d84) X(0x32caab7b40c72493) X(0x3c9ebe0a15c9bebc) X(0x431d67c49c100d4c) \
  X(0x4cc5d4becb3e42b6) X(0x597f299cfc657e2a) X(0x5fcb6fab3ad6faec) X(0x6c44198c4a475817)
#define INITIAL_VALUES(X) \
  X(0x6a09e667f3bcc908) X(0xbb67ae8584caa73b) X(0x3c6ef372fe94f82b) X(0xa54ff53a5f1d36f1) \
  X(0x510e527fade682d1) X(0x9b05688c2b3e6c1f) X(0x1f83d9abfb41bd6b) X(0x5be0cd19137e2179)
#define WHOLE(value) UINT64_C(value),
#define UPPER_HALF(value) (uint32_t)(UINT64_C(value) >> 32),

static const uint32_t K32[64] = {CONSTANTS_OF_SHA256(UPPER_HALF)};
static const uint64_t K64[80] = {CONSTANTS_OF_SHA256(WHOLE) MORE_CONSTANTS_OF_SHA512(WHOLE)};
static const uint32_t INITIAL32[8] = {INITIAL_VALUES(UPPER_HALF)};
static const uint64_t INITIAL64[8] = {INITIAL_VALUES(WHOLE)};

/* What is hashed after a block: a bit, zeros, and how many bits the block has. */
static const uint32_t PADDING32[16] = {[0] = UINT32_C(1) << 31, [15] = BLOCK_SIZE * 8};
static const uint64_t PADDING64[16] = {[0] = UINT64_C(1) << 63, [15] = BLOCK_SIZE * 8};

/* Words in files are big-endian. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BIG_ENDIAN(bits, value) __builtin_bswap##bits(value)
#else
#define BIG_ENDIAN(bits, value) (value)
#endif
static inline uint32_t load32(const uint8_t *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return BIG_ENDIAN(32, word);
}
static inline uint64_t load64(const uint8_t *bytes) {
  uint64_t word;
  memcpy(&word, bytes, sizeof word);
  return BIG_ENDIAN(64, word);
}
static inline void store32(uint8_t *bytes, uint32_t word) {
  word = BIG_ENDIAN(32, word);
  memcpy(bytes, &word, sizeof word);
}
static inline void store64(uint8_t *bytes, uint64_t word) {
  word = BIG_ENDIAN(64, word);
  memcpy(bytes, &word, sizeof word);
}

#define KERNEL sha256_plain
#define TARGET
#define BITS 32
#define LANES 1
#include "verity-lanes.h"

#define KERNEL sha512_plain
#define TARGET
#define BITS 64
#define LANES 1
#include "verity-lanes.h"

/*
 * Vectors of 128 bits, which processors without anything better have (SSE2, NEON). Two words of 64 bits in one are not
 * faster than plain C.
 */
#define KERNEL sha256_vector
#define TARGET
#define BITS 32
#define LANES 4
#include "verity-lanes.h"

/* Clang before 16 knows the instructions of aarch64 only where the whole file is for processors that have them. */
#if defined __aarch64__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && \
  !(defined __clang__ && __clang_major__ < 16)
#define AARCH64_KERNELS
#endif
#if defined __x86_64__
#include "verity-x86.h"
#elif defined AARCH64_KERNELS
#include "verity-arm.h"
#endif

static int always(void) { return 1; }

/* A way to hash `lanes` blocks at once. */
struct kernel {
  const char *name;
  int lanes;
  /* What a run takes, full or not: tenths of a microsecond on a Xeon (Sapphire Rapids); aarch64's are in proportion to
   * what its instructions promise. The fewer blocks there are, the less a wide kernel pays. */
  int cost;
  int (*supported)(void);
  void (*run)(const uint8_t *const *blocks, uint8_t *const *digests);
};

static const struct kernel sha256_kernels[] = {
  {"plain", 1, 106, always, sha256_plain},
  {"vector", 4, 221, always, sha256_vector},
#if defined __x86_64__
  {"avx2", 8, 215, has_avx2, sha256_avx2},
  {"sha-ni", 2, 35, has_sha_ni, sha256_sha_ni},
  {"avx512", 16, 165, has_avx512, sha256_avx512},
#elif defined AARCH64_KERNELS
  {"sha2", 2, 35, has_sha2, sha256_sha2},
#endif
};
static const struct kernel sha512_kernels[] = {
  {"plain", 1, 71, always, sha512_plain},
#if defined __x86_64__
  {"avx2", 4, 137, has_avx2, sha512_avx2},
  {"avx512", 8, 103, has_avx512, sha512_avx512},
#elif defined AARCH64_KERNELS
  {"sha3", 2, 60, has_sha512, sha512_sha3},
#endif
};

enum { MAX_KERNELS = 5 };
enum { UNKNOWN, SUPPORTED, UNSUPPORTED };

struct algorithm {
  size_t digest_size;
  const struct kernel *kernels;
  int kernel_count;
  /* Asking the processor can take long in a virtual machine, so it is asked once. Threads that ask at once agree. */
  unsigned char *support;
};

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
_Static_assert(COUNT(sha256_kernels) <= MAX_KERNELS && COUNT(sha512_kernels) <= MAX_KERNELS, "MAX_KERNELS");
static unsigned char sha256_support[MAX_KERNELS], sha512_support[MAX_KERNELS];
static const struct algorithm algorithms[] = {
  [1] = {32, sha256_kernels, COUNT(sha256_kernels), sha256_support},
  [2] = {64, sha512_kernels, COUNT(sha512_kernels), sha512_support},
};

static const struct algorithm *find_algorithm(int64_t number) {
  return number >= 1 && number < COUNT(algorithms) ? &algorithms[number] : NULL;
}

static int is_supported(const struct algorithm *algorithm, int kernel) {
  unsigned char *known = &algorithm->support[kernel];
  unsigned char value = __atomic_load_n(known, __ATOMIC_RELAXED);
  if (value == UNKNOWN) {
    value = algorithm->kernels[kernel].supported() ? SUPPORTED : UNSUPPORTED;
    __atomic_store_n(known, value, __ATOMIC_RELAXED);
  }
  return value == SUPPORTED;
}

/* The kernel that takes least for each of `count` blocks, or the one that is forced. */
static const struct kernel *choose_kernel(const struct algorithm *algorithm, int forced, int count) {
  if (forced >= 0) return &algorithm->kernels[forced];
  const struct kernel *best = NULL;
  int best_filled = 1;
  for (int i = 0; i < algorithm->kernel_count; i++) {
    const struct kernel *kernel = &algorithm->kernels[i];
    int filled = kernel->lanes < count ? kernel->lanes : count;
    if (best && kernel->cost * best_filled >= best->cost * filled) continue;
    if (!is_supported(algorithm, i)) continue;
    best = kernel, best_filled = filled;
  }
  return best;
}

/* Blocks that wait until there are as many as fit into the widest vector. */
struct queue {
  const struct algorithm *algorithm;
  int forced, count;
  const uint8_t *blocks[MAX_LANES];
  uint8_t *digests[MAX_LANES];
};

static void run_queue(struct queue *queue) {
  uint8_t unused[MAX_DIGEST];
  for (int at = 0; at < queue->count;) {
    int left = queue->count - at;
    const struct kernel *kernel = choose_kernel(queue->algorithm, queue->forced, left);
    const uint8_t *blocks[MAX_LANES];
    uint8_t *digests[MAX_LANES];
    for (int lane = 0; lane < kernel->lanes; lane++) {
      blocks[lane] = queue->blocks[lane < left ? at + lane : at];
      digests[lane] = lane < left ? queue->digests[at + lane] : unused;
    }
    kernel->run(blocks, digests);
    at += kernel->lanes;
  }
  queue->count = 0;
}

static void push(struct queue *queue, const uint8_t *block, uint8_t *digest) {
  queue->blocks[queue->count] = block;
  queue->digests[queue->count++] = digest;
  if (queue->count == MAX_LANES) run_queue(queue);
}

static int is_zero(const uint8_t *block) { return block[0] == 0 && memcmp(block, block + 1, BLOCK_SIZE - 1) == 0; }

/*
 * Hashes the blocks of two buffers, of which both are whole blocks, into the third, one digest after the other. The
 * second argument forces a kernel, by its index; -1 leaves the choice. Returns the number of blocks.
 */
static int64_t call_verity_hash_blocks(const struct linux_argument *a) {
  const struct algorithm *algorithm = find_algorithm(a[0].number);
  const struct linux_argument *inputs = &a[2], *output = &a[4];
  if (!algorithm || a[1].number < -1 || a[1].number >= algorithm->kernel_count) return -EINVAL;
  int forced = (int)a[1].number;
  if (forced >= 0 && !is_supported(algorithm, forced)) return -EOPNOTSUPP;
  size_t size = algorithm->digest_size, total = 0;
  for (int i = 0; i < 2; i++) {
    if (inputs[i].length % BLOCK_SIZE != 0) return -EINVAL;
    total += inputs[i].length / BLOCK_SIZE;
  }
  if (output->length / size < total) return -ERANGE;

  struct queue queue = {.algorithm = algorithm, .forced = forced};
  uint8_t zero_digest[MAX_DIGEST], *digest = output->data;
  int has_zero_digest = 0;
  for (int i = 0; i < 2; i++) {
    const uint8_t *block = inputs[i].data;
    for (size_t left = inputs[i].length; left > 0; left -= BLOCK_SIZE, block += BLOCK_SIZE, digest += size) {
      if (!is_zero(block)) {
        push(&queue, block, digest);
        continue;
      }
      /* Files have holes: all of their blocks are hashed once. */
      if (!has_zero_digest) {
        struct queue alone = {.algorithm = algorithm, .forced = forced};
        push(&alone, block, zero_digest);
        run_queue(&alone);
        has_zero_digest = 1;
      }
      memcpy(digest, zero_digest, size);
    }
  }
  run_queue(&queue);
  return (int64_t)total;
}

/*
 * Fills the buffer with the name of the kernel of an index and returns its length; -EOPNOTSUPP where the processor
 * lacks what it needs, -ENOENT after the last one.
 */
static int64_t call_verity_kernel(const struct linux_argument *a) {
  const struct algorithm *algorithm = find_algorithm(a[0].number);
  if (!algorithm) return -EINVAL;
  if (a[1].number < 0 || a[1].number >= algorithm->kernel_count) return -ENOENT;
  int index = (int)a[1].number;
  if (!is_supported(algorithm, index)) return -EOPNOTSUPP;
  const char *name = algorithm->kernels[index].name;
  if (a[2].length < strlen(name)) return -ERANGE;
  memcpy(a[2].data, name, strlen(name));
  return (int64_t)strlen(name);
}

const struct linux_call verity_calls[] = {
  {"verity_hash_blocks", "iibbb", call_verity_hash_blocks},
  {"verity_kernel", "iib", call_verity_kernel},
};
const size_t verity_call_count = sizeof verity_calls / sizeof *verity_calls;
