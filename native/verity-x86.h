/* The hashes with what x86_64 processors may have: AVX-512, AVX2, and instructions for SHA-256. */
#include <cpuid.h>
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))
#define SHA_NI __attribute__((target("sha,sse4.1,ssse3")))
#define INLINE(features) features static inline __attribute__((always_inline))

/* Which bytes of a big-endian word come first, for the byte shuffles. */
static const uint8_t swap32[16] = {3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12};
static const uint8_t swap64[16] = {7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8};

/*
 * From blocks to words: a vector of each block is read, and the matrix transposed, by ever larger parts. After the
 * steps within 128 bits, the vector 4g + c (of 64-bit words: 2g + c) has in its quarter q the word 4q + c (2q + c) of
 * the blocks 4g… (2g…).
 */
INLINE(AVX2) __m256i avx2_row(const uint8_t *bytes, const uint8_t swap[16]) {
  __m256i order = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)swap));
  return _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)bytes), order);
}

INLINE(AVX2) void avx2_load32(__m256i *words, const uint8_t *const *blocks, size_t offset) {
  __m256i s[8], t[8];
#pragma GCC unroll 2
  for (int half = 0; half < 2; half++, words += 8, offset += 32) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) s[i] = avx2_row(blocks[i] + offset, swap32);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_epi32(s[i], s[i + 1]);
      t[i + 1] = _mm256_unpackhi_epi32(s[i], s[i + 1]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 4) {
      s[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
      s[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
      s[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
      s[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 8
    for (int c = 0; c < 4; c++) {
      words[c] = _mm256_permute2x128_si256(s[c], s[c + 4], 0x20);
      words[c + 4] = _mm256_permute2x128_si256(s[c], s[c + 4], 0x31);
    }
  }
}

INLINE(AVX2) void avx2_load64(__m256i *words, const uint8_t *const *blocks, size_t offset) {
  __m256i s[4], t[4];
#pragma GCC unroll 4
  for (int quarter = 0; quarter < 4; quarter++, words += 4, offset += 32) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) s[i] = avx2_row(blocks[i] + offset, swap64);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i += 2) {
      t[i] = _mm256_unpacklo_epi64(s[i], s[i + 1]);
      t[i + 1] = _mm256_unpackhi_epi64(s[i], s[i + 1]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 2; c++) {
      words[c] = _mm256_permute2x128_si256(t[c], t[c + 2], 0x20);
      words[c + 2] = _mm256_permute2x128_si256(t[c], t[c + 2], 0x31);
    }
  }
}

INLINE(AVX512) __m512i avx512_row(const uint8_t *bytes, const uint8_t swap[16]) {
  __m512i order = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)swap));
  return _mm512_shuffle_epi8(_mm512_loadu_si512(bytes), order);
}

/* Quarter q of the four vectors, together, becomes the vector q * stride. */
INLINE(AVX512) void avx512_quarters(__m512i *words, int stride, __m512i a, __m512i b, __m512i c, __m512i d) {
  __m512i even_ab = _mm512_shuffle_i32x4(a, b, 0x88), odd_ab = _mm512_shuffle_i32x4(a, b, 0xdd);
  __m512i even_cd = _mm512_shuffle_i32x4(c, d, 0x88), odd_cd = _mm512_shuffle_i32x4(c, d, 0xdd);
  words[0] = _mm512_shuffle_i32x4(even_ab, even_cd, 0x88);
  words[stride] = _mm512_shuffle_i32x4(odd_ab, odd_cd, 0x88);
  words[2 * stride] = _mm512_shuffle_i32x4(even_ab, even_cd, 0xdd);
  words[3 * stride] = _mm512_shuffle_i32x4(odd_ab, odd_cd, 0xdd);
}

INLINE(AVX512) void avx512_load32(__m512i *words, const uint8_t *const *blocks, size_t offset) {
  __m512i s[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) s[i] = avx512_row(blocks[i] + offset, swap32);
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(s[i], s[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(s[i], s[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    s[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    s[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    s[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    s[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; c++) avx512_quarters(words + c, 4, s[c], s[c + 4], s[c + 8], s[c + 12]);
}

INLINE(AVX512) void avx512_load64(__m512i *words, const uint8_t *const *blocks, size_t offset) {
  __m512i s[8], t[8];
#pragma GCC unroll 2
  for (int half = 0; half < 2; half++, words += 8, offset += 64) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) s[i] = avx512_row(blocks[i] + offset, swap64);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm512_unpacklo_epi64(s[i], s[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 1]);
    }
#pragma GCC unroll 8
    for (int c = 0; c < 2; c++) avx512_quarters(words + c, 2, t[c], t[c + 2], t[c + 4], t[c + 6]);
  }
}

#define KERNEL sha256_avx2
#define TARGET AVX2
#define BITS 32
#define LANES 8
#define LOAD(words, blocks, offset) avx2_load32((__m256i *)(words), blocks, offset)
#include "verity-lanes.h"

#define KERNEL sha512_avx2
#define TARGET AVX2
#define BITS 64
#define LANES 4
#define LOAD(words, blocks, offset) avx2_load64((__m256i *)(words), blocks, offset)
#include "verity-lanes.h"

/* Any function of three bits in one instruction: its truth table is that function of 0xf0, 0xcc and 0xaa. */
#define TERNARY(x, y, z, table) \
  ((VECTOR)_mm512_ternarylogic_epi32((__m512i)(x), (__m512i)(y), (__m512i)(z), table))

#define KERNEL sha256_avx512
#define TARGET AVX512
#define BITS 32
#define LANES 16
#define ROTR(x, n) ((VECTOR)_mm512_ror_epi32((__m512i)(x), n))
#define XOR3(x, y, z) TERNARY(x, y, z, 0xf0 ^ 0xcc ^ 0xaa)
#define CHOOSE(x, y, z) TERNARY(x, y, z, 0xaa ^ (0xf0 & (0xcc ^ 0xaa)))
#define MAJORITY(x, y, z) TERNARY(x, y, z, (0xf0 & 0xcc) | (0xaa & (0xf0 | 0xcc)))
#define LOAD(words, blocks, offset) avx512_load32((__m512i *)(words), blocks, offset)
#include "verity-lanes.h"

#define KERNEL sha512_avx512
#define TARGET AVX512
#define BITS 64
#define LANES 8
#define ROTR(x, n) ((VECTOR)_mm512_ror_epi64((__m512i)(x), n))
#define XOR3(x, y, z) TERNARY(x, y, z, 0xf0 ^ 0xcc ^ 0xaa)
#define CHOOSE(x, y, z) TERNARY(x, y, z, 0xaa ^ (0xf0 & (0xcc ^ 0xaa)))
#define MAJORITY(x, y, z) TERNARY(x, y, z, (0xf0 & 0xcc) | (0xaa & (0xf0 | 0xcc)))
#define LOAD(words, blocks, offset) avx512_load64((__m512i *)(words), blocks, offset)
#include "verity-lanes.h"

/*
 * The SHA instructions do two rounds of one block; each waits for the one before, so two blocks at a time keep the unit
 * busy. The state is in two vectors, from the high word down: a b e f, and c d g h.
 */
struct sha_ni {
  __m128i abef, cdgh, w[4];
};

/* Four rounds with the words of `w[i % 4]`, which become those of 16 rounds later where there are any. */
INLINE(SHA_NI) void sha_ni_rounds(struct sha_ni *s, int i) {
  __m128i *w = s->w;
  __m128i sum = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)(K32 + 4 * i)));
  s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, sum);
  s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(sum, 0x0e));
  if (i >= 12) return;
  __m128i before_16_and_15 = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
  __m128i before_7 = _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4);
  w[i & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(before_16_and_15, before_7), w[(i + 3) & 3]);
}

SHA_NI static void sha256_sha_ni(const uint8_t *const *blocks, uint8_t *const *digests) {
  const uint32_t *v = INITIAL32;
  __m128i abef = _mm_set_epi32((int)v[0], (int)v[1], (int)v[4], (int)v[5]);
  __m128i cdgh = _mm_set_epi32((int)v[2], (int)v[3], (int)v[6], (int)v[7]);
  struct sha_ni s[2] = {{.abef = abef, .cdgh = cdgh}, {.abef = abef, .cdgh = cdgh}};
  __m128i order = _mm_loadu_si128((const __m128i *)swap32);
  for (size_t offset = 0; offset <= BLOCK_SIZE; offset += 64) {
    __m128i abef0 = s[0].abef, cdgh0 = s[0].cdgh, abef1 = s[1].abef, cdgh1 = s[1].cdgh;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      for (int block = 0; block < 2; block++) {
        const __m128i *at = (const __m128i *)(blocks[block] + offset + 16 * i);
        if (offset < BLOCK_SIZE) s[block].w[i] = _mm_shuffle_epi8(_mm_loadu_si128(at), order);
        else s[block].w[i] = _mm_loadu_si128((const __m128i *)(PADDING32 + 4 * i));
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      sha_ni_rounds(&s[0], i);
      sha_ni_rounds(&s[1], i);
    }
    s[0].abef = _mm_add_epi32(s[0].abef, abef0), s[0].cdgh = _mm_add_epi32(s[0].cdgh, cdgh0);
    s[1].abef = _mm_add_epi32(s[1].abef, abef1), s[1].cdgh = _mm_add_epi32(s[1].cdgh, cdgh1);
  }
  for (int block = 0; block < 2; block++) {
    __m128i first = _mm_shuffle_epi32(s[block].abef, 0x1b), second = _mm_shuffle_epi32(s[block].cdgh, 0x1b);
    __m128i abcd = _mm_unpacklo_epi64(first, second), efgh = _mm_unpackhi_epi64(first, second);
    _mm_storeu_si128((__m128i *)digests[block], _mm_shuffle_epi8(abcd, order));
    _mm_storeu_si128((__m128i *)(digests[block] + 16), _mm_shuffle_epi8(efgh, order));
  }
}

static int has_avx2(void) { return __builtin_cpu_supports("avx2"); }
static int has_avx512(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"); }
static int has_sha_ni(void) {
  unsigned a, b = 0, c, d;
  return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") &&
         __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));
}
