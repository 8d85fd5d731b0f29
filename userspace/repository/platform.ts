import type { HashName } from "../../src/formats/digest.ts";
import type { Linux } from "../../src/linux/linux.ts";

/** Computes an fs-verity digest of bytes that arrive in pieces of any size. */
export interface Digester {
  update(chunk: Uint8Array): void;
  digest(): Uint8Array;
}

/** What a repository stands on. Tests give their own. */
export interface Platform {
  readonly linux: Linux;
  digester(hash: HashName): Digester;
  /** Blocks for about a millisecond. */
  pause(): void;
}

/** The fs-verity digest of bytes, computed here. */
export function computeDigest(platform: Platform, hash: HashName, data: Uint8Array): Uint8Array {
  const digester = platform.digester(hash);
  digester.update(data);
  return digester.digest();
}
