/** Names of extended attributes in an image: prefixes, the name filter, and overlayfs' names and how they are escaped. */
import { ascii, type ByteString } from "../bytestring.ts";
import { xxh32 } from "../xxh32.ts";
import type { ErofsFormat } from "./layout.ts";

/** The prefix that each index stands for. */
export const XATTR_PREFIXES: readonly ByteString[] = [
  "",
  "user.",
  "system.posix_acl_access",
  "system.posix_acl_default",
  "trusted.",
  "lustre.",
  "security.",
].map(ascii);

export const PREFIX_ACL_ACCESS = 2;
export const PREFIX_ACL_DEFAULT = 3;
export const PREFIX_TRUSTED = 4;
const PREFIX_LUSTRE = 5;

const FILTER_SEED = 0x25bbe08f;

/** The index and the rest of a name. Formats 0 and 1 never use the index of `lustre.`: the C tools do not know it. */
export function splitXattrName(
  name: ByteString,
  format: ErofsFormat,
): { prefix: number; suffix: ByteString } {
  for (let prefix = XATTR_PREFIXES.length - 1; prefix > 0; prefix--) {
    if (prefix === PREFIX_LUSTRE && format !== 2) continue;
    const text = XATTR_PREFIXES[prefix]!;
    if (name.startsWith(text)) {
      return { prefix, suffix: name.slice(text.length) as ByteString };
    }
  }
  return { prefix: 0, suffix: name };
}

/** The bit of the name filter that a name occupies. Stored inverted: a bit that is set says that no such name is there. */
export function xattrFilterBit(prefix: number, suffix: ByteString): number {
  return (1 << (xxh32(suffix, FILTER_SEED + prefix) & 31)) >>> 0;
}

/** What overlayfs understands by these names is for the mount that composefs makes. */
const OVERLAY = ascii("trusted.overlay.");
/** What overlayfs shows as `trusted.overlay.` to a mount on top of that. */
const ESCAPED_OVERLAY = ascii("trusted.overlay.overlay.");

export const XATTR = {
  metacopy: ascii("trusted.overlay.metacopy"),
  redirect: ascii("trusted.overlay.redirect"),
  opaque: ascii("trusted.overlay.opaque"),
  selinux: ascii("security.selinux"),
} as const;

export interface MarkerXattr {
  readonly name: ByteString;
  readonly value: ByteString;
}

/** What a whiteout is stored with: overlayfs shows a regular file with these as a whiteout to a mount on top. */
export const WHITEOUT_MARKERS: readonly MarkerXattr[] = [
  { name: ascii("trusted.overlay.overlay.whiteout"), value: ascii("") },
  { name: ascii("user.overlay.whiteout"), value: ascii("") },
];

const WHITEOUTS_MARKERS_V0: readonly MarkerXattr[] = [
  { name: ascii("trusted.overlay.overlay.whiteouts"), value: ascii("") },
  { name: ascii("user.overlay.whiteouts"), value: ascii("") },
];
const WHITEOUTS_MARKERS_V1: readonly MarkerXattr[] = [
  ...WHITEOUTS_MARKERS_V0,
  { name: ascii("trusted.overlay.overlay.opaque"), value: ascii("x") },
  { name: ascii("user.overlay.opaque"), value: ascii("x") },
];

/** What a directory that holds whiteouts is stored with. Format 2 has no escaped whiteouts. */
export const WHITEOUTS_MARKERS: Readonly<Record<ErofsFormat, readonly MarkerXattr[]>> = {
  0: WHITEOUTS_MARKERS_V0,
  1: WHITEOUTS_MARKERS_V1,
  2: [],
};

/** The name under which a file's own xattr is stored. */
export function escapeXattrName(name: ByteString): ByteString {
  return name.startsWith(OVERLAY)
    ? ((ESCAPED_OVERLAY + name.slice(OVERLAY.length)) as ByteString)
    : name;
}

/** The file's own name of a stored xattr; `undefined` for those that are for overlayfs. */
export function unescapeXattrName(name: ByteString): ByteString | undefined {
  if (!name.startsWith(OVERLAY)) return name;
  if (!name.startsWith(ESCAPED_OVERLAY)) return undefined;
  return (OVERLAY + name.slice(ESCAPED_OVERLAY.length)) as ByteString;
}
