/** Three-way merges of what an entry has besides its content, and of texts. */
import { type ByteString, fromBytes, fromText, toBytes, toText } from "../../formats/bytestring.ts";
import { sameBytes, sameContent } from "./compare.ts";
import type { EtcContent, EtcLeaf, EtcStat, FileContent } from "./tree.ts";

/** The largest file that is merged line by line, in bytes. */
export const MAX_TEXT = 1 << 20;

/** Merges what `local` and `image` each made of `base`; `undefined` where they contradict each other. */
export type MergeText = (base: string, local: string, image: string) => string | undefined;

/** The value that one side gave, if only one did or both the same; else `undefined`. */
function oneSided<T>(
  base: T,
  local: T,
  image: T,
  alike: (a: T, b: T) => boolean,
): { value: T } | undefined {
  if (alike(base, local)) return { value: image };
  if (alike(base, image) || alike(local, image)) return { value: local };
  return undefined;
}

const same = <T>(a: T, b: T) => a === b;

/** Owner, mode and each extended attribute by itself; the later modification time. */
export function mergeStat(base: EtcStat, local: EtcStat, image: EtcStat): EtcStat | undefined {
  const uid = oneSided(base.uid, local.uid, image.uid, same);
  const gid = oneSided(base.gid, local.gid, image.gid, same);
  const mode = oneSided(base.mode, local.mode, image.mode, same);
  if (uid === undefined || gid === undefined || mode === undefined) return undefined;
  const xattrs = new Map<ByteString, Uint8Array>();
  for (const name of new Set([...local.xattrs.keys(), ...image.xattrs.keys()])) {
    const [was, here, there] = [
      base.xattrs.get(name),
      local.xattrs.get(name),
      image.xattrs.get(name),
    ];
    const xattr = oneSided(was, here, there, sameBytes);
    if (xattr === undefined) return undefined;
    if (xattr.value !== undefined) xattrs.set(name, xattr.value);
  }
  const { mtimeSec, mtimeNsec } = isLater(image, local) ? image : local;
  return {
    uid: uid.value,
    gid: gid.value,
    mode: mode.value,
    mtimeSec,
    mtimeNsec,
    xattrs,
    // of two states one is always on both or on neither side
    ...(oneSided(base.immutable, local.immutable, image.immutable, same)?.value && {
      immutable: true,
    }),
    ...(oneSided(base.appendOnly, local.appendOnly, image.appendOnly, same)?.value && {
      appendOnly: true,
    }),
  };
}

function isLater(a: EtcStat, b: EtcStat): boolean {
  return a.mtimeSec > b.mtimeSec || (a.mtimeSec === b.mtimeSec && a.mtimeNsec > b.mtimeNsec);
}

/** Both content and attributes, or nothing. */
export function mergeLeaf(
  base: EtcLeaf,
  local: EtcLeaf,
  image: EtcLeaf,
  mergeText: MergeText,
): EtcLeaf | undefined {
  const stat = mergeStat(base.stat, local.stat, image.stat);
  if (stat === undefined) return undefined;
  const content =
    oneSided(base.content, local.content, image.content, sameContent)?.value ??
    mergeFiles(base.content, local.content, image.content, mergeText);
  return content && { type: "leaf", stat, content };
}

function mergeFiles(
  base: EtcContent,
  local: EtcContent,
  image: EtcContent,
  mergeText: MergeText,
): EtcContent | undefined {
  if (base.type !== "file" || local.type !== "file" || image.type !== "file") return undefined;
  const [was, here, there] = [textOf(base.data), textOf(local.data), textOf(image.data)];
  if (was === undefined || here === undefined || there === undefined) return undefined;
  const text = mergeText(was, here, there);
  if (text === here) return local;
  if (text === there) return image;
  return text === undefined ? undefined : { type: "file", data: bytesInMemory(text) };
}

/** The text in a file; `undefined` if it is too large, may not be read or is no text. */
function textOf(data: FileContent): string | undefined {
  if (data.size > MAX_TEXT || data.digest() === undefined) return undefined;
  const text = toText(fromBytes(data.read()));
  return text?.includes("\0") ? undefined : text;
}

/** What is in no file yet; its digest is that of no other content. */
function bytesInMemory(text: string): FileContent {
  const bytes = toBytes(fromText(text));
  return { size: bytes.length, digest: () => "merged", read: () => bytes };
}
