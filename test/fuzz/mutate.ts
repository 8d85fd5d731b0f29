/** Makes bad input of good input, the same for the same seed. */

/** Pseudo-random numbers (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0, below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  bytes(length: number): Buffer {
    const out = Buffer.alloc(length);
    for (let i = 0; i < length; i++) out[i] = this.below(256);
    return out;
  }
}

/** Numbers where fields end, wrap, or change their sign. */
const NUMBERS = [
  0n,
  1n,
  -1n,
  0x7fn,
  0x80n,
  0xffffn,
  0x7fffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 40n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
];

type Mutation = (random: Random, data: Buffer, specimens: readonly Uint8Array[]) => Buffer;

const replace = (data: Buffer, at: number, length: number, by: Uint8Array) =>
  Buffer.concat([data.subarray(0, at), by, data.subarray(at + length)]);

const somewhere = (random: Random, data: Buffer) => random.below(data.length + 1);

const MUTATIONS: readonly Mutation[] = [
  function flipBit(random, data) {
    const out = Buffer.from(data);
    if (out.length > 0) out[random.below(out.length)]! ^= 1 << random.below(8);
    return out;
  },
  function setByte(random, data) {
    const out = Buffer.from(data);
    if (out.length > 0) out[random.below(out.length)] = random.below(256);
    return out;
  },
  function setNumber(random, data) {
    const size = random.of([1, 2, 4, 8]);
    if (data.length < size) return data;
    const field = Buffer.alloc(8);
    field.writeBigInt64LE(BigInt.asIntN(64, random.of(NUMBERS)));
    return replace(data, random.below(data.length - size + 1), size, field.subarray(0, size));
  },
  function changeDigits(random, data) {
    const numbers = [...data.toString("latin1").matchAll(/[0-9]+/g)];
    if (numbers.length === 0) return data;
    const { index, 0: digits } = random.of(numbers);
    const by = random.of(["", "-1", "0", "+7", "9".repeat(30), "1e9", String(2 ** 53), "07777"]);
    return replace(data, index, digits.length, Buffer.from(by));
  },
  function cutOff(random, data) {
    return data.subarray(0, somewhere(random, data));
  },
  function remove(random, data) {
    const at = somewhere(random, data);
    return replace(data, at, random.below(Math.min(64, data.length - at) + 1), Buffer.alloc(0));
  },
  function insertBytes(random, data) {
    return replace(data, somewhere(random, data), 0, random.bytes(1 + random.below(16)));
  },
  function insertRun(random, data) {
    const run = Buffer.alloc(random.of([2, 100, 600, 5000]), random.below(256));
    return replace(data, somewhere(random, data), 0, run);
  },
  function repeatPiece(random, data) {
    const at = somewhere(random, data);
    const piece = data.subarray(at, at + 1 + random.below(600));
    return replace(data, at, 0, Buffer.concat(Array(1 + random.below(20)).fill(piece)));
  },
  function movePiece(random, data) {
    const from = somewhere(random, data);
    const piece = data.subarray(from, from + 1 + random.below(600));
    return replace(data, somewhere(random, data), random.of([0, piece.length]), piece);
  },
  function join(random, data, specimens) {
    const other = random.of(specimens);
    const tail = other.subarray(random.below(other.length + 1));
    return Buffer.concat([data.subarray(0, somewhere(random, data)), tail]);
  },
];

/** A specimen with one to six things wrong with it. */
export function mutate(random: Random, specimens: readonly Uint8Array[]): Buffer {
  let data: Buffer = Buffer.from(random.of(specimens));
  for (let left = 1 + random.below(6); left > 0; left--) {
    data = random.of(MUTATIONS)(random, data, specimens);
  }
  return data;
}

/** A large input; it is made when it is asked for. */
export interface Garbage {
  readonly what: string;
  readonly make: () => Buffer;
}

/** Inputs of `size` bytes that are nothing, or too much of something. */
export function garbage(
  size: number,
  specimens: readonly Uint8Array[],
  tokens: readonly string[],
): Garbage[] {
  const out: Garbage[] = [
    { what: "random bytes", make: () => new Random(size).bytes(size) },
    { what: "zeros", make: () => Buffer.alloc(size) },
  ];
  for (const [index, specimen] of specimens.entries()) {
    const zeros = () => replace(Buffer.alloc(size), 0, specimen.length, specimen);
    out.push({ what: `specimen ${index} and zeros`, make: zeros });
    out.push({
      what: `specimen ${index} again and again`,
      make: () => Buffer.alloc(size, specimen),
    });
  }
  for (const token of [...tokens, "a", "7", " ", "\n", "\t", '"', "\\", "/", ":", "=", "%"]) {
    const what = `${JSON.stringify(token)} again and again`;
    const run = (length: number) => Buffer.alloc(length, token, "latin1");
    out.push({ what, make: () => run(size) });
    // in the middle of what is good, so that it is looked at
    for (const half of [0.3, 0.7]) {
      const specimen = Buffer.from(specimens[0]!);
      const at = Math.floor(specimen.length * half);
      out.push({
        what: `${what}, at ${at} in a specimen`,
        make: () => replace(specimen, at, 0, run(Math.max(0, size - specimen.length))),
      });
    }
  }
  return out;
}
