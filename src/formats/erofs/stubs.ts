/**
 * The names that hide a repository's object directories. The objects are the lowest layer of the overlay mount, and
 * so `00` to `ff` would show in its root: whiteouts in the image's root, which formats 0 and 1 have, cover them.
 */
import type { ByteString } from "../bytestring.ts";
import type { Leaf, Stat } from "../tree.ts";
import { XATTR } from "./xattr-names.ts";

const STUB_MODE = 0o644;

/** All names, in byte order. */
export const STUB_NAMES: readonly ByteString[] = Array.from(
  { length: 256 },
  (_, byte) => byte.toString(16).padStart(2, "0") as ByteString,
);

const IS_STUB_NAME = /^[0-9a-f]{2}$/;

export function isStubName(name: ByteString): boolean {
  return IS_STUB_NAME.test(name);
}

/** The stubs of an image whose root has this `Stat`, in byte order. */
export function stubs(root: Stat): [ByteString, Leaf][] {
  return STUB_NAMES.map((name) => [
    name,
    {
      type: "leaf",
      stat: { ...root, mode: STUB_MODE, xattrs: stubXattrs(root) },
      content: { type: "chardev", rdev: 0 },
    },
  ]);
}

/** Whether a whiteout in the root is just like the stub of its name, and so is one. */
export function isStub(root: Stat, name: ByteString, { stat }: Leaf): boolean {
  if (!isStubName(name)) return false;
  const { mode, uid, gid, mtimeSec, mtimeNsec, xattrs } = stat;
  const same =
    (mode & 0o7777) === STUB_MODE &&
    uid === root.uid &&
    gid === root.gid &&
    mtimeSec === root.mtimeSec &&
    mtimeNsec === root.mtimeNsec;
  const expected = stubXattrs(root);
  return (
    same &&
    xattrs.size === expected.size &&
    [...expected].every(([key, value]) => {
      const other = xattrs.get(key);
      return other?.length === value.length && other.every((byte, i) => byte === value[i]);
    })
  );
}

function stubXattrs(root: Stat): Map<ByteString, Uint8Array> {
  const label = root.xattrs.get(XATTR.selinux);
  return new Map(label === undefined ? [] : [[XATTR.selinux, label]]);
}
