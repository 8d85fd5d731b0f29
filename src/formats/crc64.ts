/**
 * CRC-64 with the polynomial of ISO 3309, x⁶⁴ + x⁴ + x³ + x + 1, as Go's `hash/crc64` computes it with its table `ISO`:
 * reflected, and inverted before and after.
 *
 * Only low powers make up the polynomial. So what leaves the register comes back by a few shifts, a word at a time, and no
 * table is needed.
 */
export class Crc64 {
  /** The register; its lowest bit is the one that leaves it first. */
  #high = -1;
  #low = -1;

  update(data: Uint8Array): void {
    let high = this.#high;
    let low = this.#low;
    let at = 0;
    for (const end = data.length - 3; at < end; at += 4) {
      const word =
        low ^ (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24));
      low = high ^ (word << 31) ^ (word << 29) ^ (word << 28);
      high = word ^ (word >>> 1) ^ (word >>> 3) ^ (word >>> 4);
    }
    for (; at < data.length; at++) {
      const byte = (low ^ data[at]!) << 24;
      low = (low >>> 8) | (high << 24);
      high = (high >>> 8) ^ byte ^ (byte >>> 1) ^ (byte >>> 3) ^ (byte >>> 4);
    }
    this.#high = high;
    this.#low = low;
  }

  /** Of all bytes so far. */
  get value(): bigint {
    return (BigInt(~this.#high >>> 0) << 32n) | BigInt(~this.#low >>> 0);
  }
}

/** For messages: 16 hex digits. */
export function formatCrc64(value: bigint): string {
  return value.toString(16).padStart(16, "0");
}
