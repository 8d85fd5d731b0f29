/* The hashes with the instructions that aarch64 processors may have for SHA-256 and, fewer of them, for SHA-512. */
#include <arm_neon.h>
#include <sys/auxv.h>

#ifdef __clang__
#define SHA2 __attribute__((target("sha2")))
#define SHA3 __attribute__((target("sha3")))
#else
#define SHA2 __attribute__((target("+crypto")))
#define SHA3 __attribute__((target("arch=armv8.2-a+sha3")))
#endif
#define INLINE(features) features static inline __attribute__((always_inline))

/* Bits of AT_HWCAP (arch/arm64/include/uapi/asm/hwcap.h). */
enum { HAS_SHA2 = 1 << 6, HAS_SHA512 = 1 << 21 };

static int has_sha2(void) { return (getauxval(AT_HWCAP) & HAS_SHA2) != 0; }
static int has_sha512(void) { return (getauxval(AT_HWCAP) & HAS_SHA512) != 0; }

/* Every instruction waits for the one before, so two blocks at a time. */
struct sha2 {
  uint32x4_t abcd, efgh, w[4];
};

/* Four rounds with the words of `w[i % 4]`, which become those of 16 rounds later where there are any. */
INLINE(SHA2) void sha2_rounds(struct sha2 *s, int i) {
  uint32x4_t *w = s->w, abcd = s->abcd;
  uint32x4_t sum = vaddq_u32(w[i & 3], vld1q_u32(K32 + 4 * i));
  s->abcd = vsha256hq_u32(abcd, s->efgh, sum);
  s->efgh = vsha256h2q_u32(s->efgh, abcd, sum);
  if (i >= 12) return;
  w[i & 3] = vsha256su1q_u32(vsha256su0q_u32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3], w[(i + 3) & 3]);
}

SHA2 static void sha256_sha2(const uint8_t *const *blocks, uint8_t *const *digests) {
  struct sha2 s[2];
  for (int block = 0; block < 2; block++) {
    s[block].abcd = vld1q_u32(INITIAL32);
    s[block].efgh = vld1q_u32(INITIAL32 + 4);
  }
  for (size_t offset = 0; offset <= BLOCK_SIZE; offset += 64) {
    uint32x4_t abcd0 = s[0].abcd, efgh0 = s[0].efgh, abcd1 = s[1].abcd, efgh1 = s[1].efgh;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      for (int block = 0; block < 2; block++) {
        if (offset < BLOCK_SIZE)
          s[block].w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks[block] + offset + 16 * i)));
        else
          s[block].w[i] = vld1q_u32(PADDING32 + 4 * i);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      sha2_rounds(&s[0], i);
      sha2_rounds(&s[1], i);
    }
    s[0].abcd = vaddq_u32(s[0].abcd, abcd0), s[0].efgh = vaddq_u32(s[0].efgh, efgh0);
    s[1].abcd = vaddq_u32(s[1].abcd, abcd1), s[1].efgh = vaddq_u32(s[1].efgh, efgh1);
  }
  for (int block = 0; block < 2; block++) {
    vst1q_u8(digests[block], vrev32q_u8(vreinterpretq_u8_u32(s[block].abcd)));
    vst1q_u8(digests[block] + 16, vrev32q_u8(vreinterpretq_u8_u32(s[block].efgh)));
  }
}

struct sha512 {
  uint64x2_t ab, cd, ef, gh, w[8];
};

/* The same for SHA-512, two rounds at a time. */
INLINE(SHA3) void sha512_rounds(struct sha512 *s, int i) {
  uint64x2_t *w = s->w, ab = s->ab, cd = s->cd, ef = s->ef;
  uint64x2_t sum = vaddq_u64(w[i & 7], vld1q_u64(K64 + 2 * i));
  sum = vaddq_u64(vextq_u64(sum, sum, 1), s->gh);
  sum = vsha512hq_u64(sum, vextq_u64(ef, s->gh, 1), vextq_u64(cd, ef, 1));
  s->ab = vsha512h2q_u64(sum, cd, ab);
  s->cd = ab;
  s->ef = vaddq_u64(cd, sum);
  s->gh = ef;
  if (i >= 32) return;
  uint64x2_t before_7 = vextq_u64(w[(i + 4) & 7], w[(i + 5) & 7], 1);
  w[i & 7] = vsha512su1q_u64(vsha512su0q_u64(w[i & 7], w[(i + 1) & 7]), w[(i + 7) & 7], before_7);
}

SHA3 static void sha512_sha3(const uint8_t *const *blocks, uint8_t *const *digests) {
  struct sha512 s[2];
  for (int block = 0; block < 2; block++) {
    s[block].ab = vld1q_u64(INITIAL64), s[block].cd = vld1q_u64(INITIAL64 + 2);
    s[block].ef = vld1q_u64(INITIAL64 + 4), s[block].gh = vld1q_u64(INITIAL64 + 6);
  }
  for (size_t offset = 0; offset <= BLOCK_SIZE; offset += 128) {
    struct sha512 before[2] = {s[0], s[1]};
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
      for (int block = 0; block < 2; block++) {
        if (offset < BLOCK_SIZE)
          s[block].w[i] = vreinterpretq_u64_u8(vrev64q_u8(vld1q_u8(blocks[block] + offset + 16 * i)));
        else
          s[block].w[i] = vld1q_u64(PADDING64 + 2 * i);
      }
    }
#pragma GCC unroll 40
    for (int i = 0; i < 40; i++) {
      sha512_rounds(&s[0], i);
      sha512_rounds(&s[1], i);
    }
    for (int block = 0; block < 2; block++) {
      s[block].ab = vaddq_u64(s[block].ab, before[block].ab);
      s[block].cd = vaddq_u64(s[block].cd, before[block].cd);
      s[block].ef = vaddq_u64(s[block].ef, before[block].ef);
      s[block].gh = vaddq_u64(s[block].gh, before[block].gh);
    }
  }
  for (int block = 0; block < 2; block++) {
    vst1q_u8(digests[block], vrev64q_u8(vreinterpretq_u8_u64(s[block].ab)));
    vst1q_u8(digests[block] + 16, vrev64q_u8(vreinterpretq_u8_u64(s[block].cd)));
    vst1q_u8(digests[block] + 32, vrev64q_u8(vreinterpretq_u8_u64(s[block].ef)));
    vst1q_u8(digests[block] + 48, vrev64q_u8(vreinterpretq_u8_u64(s[block].gh)));
  }
}
