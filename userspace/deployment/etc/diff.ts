/** What was changed on a machine. */
import type { ByteString } from "../../../src/formats/bytestring.ts";
import type { Linux } from "../../../src/linux/linux.ts";
import { compareEtc, type EtcChange } from "../../../src/model/etc/compare.ts";
import { seeThrough } from "../../../src/model/etc/see-through.ts";
import { type KnownEtc, openImageEtc, whileStill } from "./merge.ts";
import { type EtcPlace, scanEtc } from "./scan.ts";

export interface EtcDiff {
  readonly changes: readonly EtcChange[];
  /** Sockets: they are no configuration. */
  readonly sockets: readonly ByteString[];
  /** Mounts on entries that could not be looked beneath, and are taken to be unchanged. */
  readonly mounts: readonly ByteString[];
}

/** Compares the machine's `/etc` with what its image has. Errors name the file. */
export function diffEtc(linux: Linux, pristine: EtcPlace | KnownEtc, current: EtcPlace): EtcDiff {
  return whileStill(() => {
    using before = openImageEtc(linux, pristine);
    using after = scanEtc(linux, current, "aside");
    const image = seeThrough(before.tree).tree;
    const { tree, sockets, mounts } = seeThrough(after.tree, image);
    return { changes: compareEtc(image, tree), sockets, mounts };
  });
}
