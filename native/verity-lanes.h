/*
 * SHA-256 or SHA-512 of as many blocks as a vector has lanes, one block in each. Without a guard: every inclusion makes
 * one more function, of what was defined before it:
 *
 *   KERNEL   the function's name
 *   TARGET   its attributes
 *   BITS     of a word: 32 for SHA-256, 64 for SHA-512
 *   LANES    words in a vector; 1 for plain C
 *
 * and, where the processor has something better than what stands here, ROTR, XOR3, CHOOSE, MAJORITY, and
 * LOAD(words, blocks, offset), which fills 16 vectors with the 16 words that all blocks have at an offset.
 */
#define PASTE_(a, b, c) a##b##c
#define PASTE(a, b, c) PASTE_(a, b, c)
#define WORD PASTE(uint, BITS, _t)
#define VECTOR PASTE(KERNEL, _vector, )

#if LANES == 1
typedef WORD VECTOR;
#define LANE(vector, lane) (*(&(vector) + (lane)))
#else
typedef WORD VECTOR __attribute__((vector_size(LANES * (BITS / 8))));
#define LANE(vector, lane) ((vector)[lane])
#endif

#ifndef ROTR
#define ROTR(x, n) ((x) >> (n) | (x) << (BITS - (n)))
#endif
#ifndef XOR3
#define XOR3(x, y, z) ((x) ^ (y) ^ (z))
#endif
#ifndef CHOOSE
#define CHOOSE(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#endif
#ifndef MAJORITY
#define MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))
#endif
#ifndef LOAD
#define LOAD(words, blocks, offset)                                                                     \
  _Pragma("GCC unroll 16") for (int i_ = 0; i_ < 16; i_++)                                              \
    _Pragma("GCC unroll 16") for (int lane_ = 0; lane_ < LANES; lane_++)                                \
      LANE((words)[i_], lane_) = PASTE(load, BITS, )((blocks)[lane_] + (offset) + i_ * (BITS / 8))
#endif

/* FIPS 180-4, 4.1.2 and 4.1.3. */
#if BITS == 32
#define ROUNDS 64
#define BIG_SIGMA0(x) XOR3(ROTR(x, 2), ROTR(x, 13), ROTR(x, 22))
#define BIG_SIGMA1(x) XOR3(ROTR(x, 6), ROTR(x, 11), ROTR(x, 25))
#define SIGMA0(x) XOR3(ROTR(x, 7), ROTR(x, 18), (x) >> 3)
#define SIGMA1(x) XOR3(ROTR(x, 17), ROTR(x, 19), (x) >> 10)
#else
#define ROUNDS 80
#define BIG_SIGMA0(x) XOR3(ROTR(x, 28), ROTR(x, 34), ROTR(x, 39))
#define BIG_SIGMA1(x) XOR3(ROTR(x, 14), ROTR(x, 18), ROTR(x, 41))
#define SIGMA0(x) XOR3(ROTR(x, 1), ROTR(x, 8), (x) >> 7)
#define SIGMA1(x) XOR3(ROTR(x, 19), ROTR(x, 61), (x) >> 6)
#endif

#define ROUND(a, b, c, d, e, f, g, h, i, AFTER)                                                       \
  {                                                                                                   \
    VECTOR sum = h + (w[i] + PASTE(K, BITS, )[round + (i)]) + BIG_SIGMA1(e) + CHOOSE(e, f, g);        \
    d += sum;                                                                                         \
    h = sum + BIG_SIGMA0(a) + MAJORITY(a, b, c);                                                      \
    AFTER(i)                                                                                          \
  }
#define EIGHT_ROUNDS(i, AFTER)                \
  ROUND(a, b, c, d, e, f, g, h, i, AFTER)     \
  ROUND(h, a, b, c, d, e, f, g, i + 1, AFTER) \
  ROUND(g, h, a, b, c, d, e, f, i + 2, AFTER) \
  ROUND(f, g, h, a, b, c, d, e, i + 3, AFTER) \
  ROUND(e, f, g, h, a, b, c, d, i + 4, AFTER) \
  ROUND(d, e, f, g, h, a, b, c, i + 5, AFTER) \
  ROUND(c, d, e, f, g, h, a, b, i + 6, AFTER) \
  ROUND(b, c, d, e, f, g, h, a, i + 7, AFTER)
/* The schedule's word of 16 rounds later, in the place of the one that was just used. */
#define EXTEND(i) w[i] += SIGMA0(w[(i + 1) & 15]) + w[(i + 9) & 15] + SIGMA1(w[(i + 14) & 15]);
#define NOTHING(i)

TARGET static void KERNEL(const uint8_t *const *blocks, uint8_t *const *digests) {
  VECTOR state[8], w[16];
  for (int i = 0; i < 8; i++) state[i] = (VECTOR){0} + PASTE(INITIAL, BITS, )[i];
  for (size_t offset = 0; offset <= BLOCK_SIZE; offset += sizeof(WORD) * 16) {
    if (offset < BLOCK_SIZE) {
      LOAD(w, blocks, offset);
    } else {
      for (int i = 0; i < 16; i++) w[i] = (VECTOR){0} + PASTE(PADDING, BITS, )[i];
    }
    VECTOR a = state[0], b = state[1], c = state[2], d = state[3];
    VECTOR e = state[4], f = state[5], g = state[6], h = state[7];
    int round = 0;
    for (; round < ROUNDS - 16; round += 16) {
      EIGHT_ROUNDS(0, EXTEND)
      EIGHT_ROUNDS(8, EXTEND)
    }
    EIGHT_ROUNDS(0, NOTHING)
    EIGHT_ROUNDS(8, NOTHING)
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }
  for (int i = 0; i < 8; i++)
    for (int lane = 0; lane < LANES; lane++)
      PASTE(store, BITS, )(digests[lane] + i * (BITS / 8), LANE(state[i], lane));
}

#undef PASTE_
#undef PASTE
#undef WORD
#undef VECTOR
#undef LANE
#undef ROUNDS
#undef BIG_SIGMA0
#undef BIG_SIGMA1
#undef SIGMA0
#undef SIGMA1
#undef ROUND
#undef EIGHT_ROUNDS
#undef EXTEND
#undef NOTHING
#undef KERNEL
#undef TARGET
#undef BITS
#undef LANES
#undef ROTR
#undef XOR3
#undef CHOOSE
#undef MAJORITY
#undef LOAD
