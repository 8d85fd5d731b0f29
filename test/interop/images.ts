/**
 * Images with everything that two implementations could read differently. Their layers are the same bytes on every
 * machine, so what another implementation makes of them can be written down.
 */
import { member, pax } from "../formats/tar/archive.ts";
import {
  type Blob,
  blob,
  image as build,
  type Compression,
  compress,
  descriptor,
  type Image,
  json,
} from "../oci/fixtures/images.ts";

/** What stands in a header, and the records of an extended header before it. */
type Header = Parameters<typeof member>[0] & { readonly records?: Record<string, string> };

const END = Buffer.alloc(1024);
const MTIME = 1_700_000_000;

function put(fields: Header, body: string | Uint8Array = ""): Buffer {
  const { records, ...header } = fields;
  const extended = records === undefined ? Buffer.alloc(0) : pax(records);
  return Buffer.concat([extended, member({ mtime: MTIME, ...header }, body)]);
}

const directory = (name: string, fields: Header = {}) =>
  put({ name: `${name}/`, type: "5", mode: 0o755, ...fields });
const file = (name: string, body: string | Uint8Array, fields: Header = {}) =>
  put({ name, ...fields }, body);
const hardlink = (name: string, target: string) => put({ name, type: "1", linkName: target });
const symlink = (name: string, target: string) =>
  put({ name, type: "2", linkName: target, mode: 0o777 });
const whiteout = (name: string) => file(name, "");
const layer = (...members: Buffer[]) => Buffer.concat([...members, END]);

/** Bytes that no compressor makes smaller, the same ones every time. */
function noise(size: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

const frame = [
  directory("usr"),
  directory("run", { mtime: 5 }),
  directory("boot", { mtime: 6 }),
  directory("sysroot", { mtime: 7 }),
  directory("etc"),
];

const everyKind = layer(
  directory(".", { mode: 0o700 }),
  ...frame,
  directory("dev"),
  put({ name: "dev/sda", type: "4", devMajor: 8, devMinor: 1, mode: 0o660, gid: 6 }),
  put({ name: "dev/big", type: "3", devMajor: 0o7777, devMinor: 0o77777 }),
  put({ name: "dev/white", type: "3", devMajor: 0, devMinor: 0 }),
  put({ name: "dev/fifo", type: "6" }),
  ...[0, 1, 63, 64, 65, 4095, 4096, 4097, 70_000].map((size) =>
    file(`usr/of-${size}`, noise(size, size)),
  ),
  file("usr/setuid", "s".repeat(300), { mode: 0o4751, uid: 1000, gid: 2000 }),
  file("./usr//./of-65", "replaced ".repeat(20)),
  symlink("usr/link", "../etc/\x01 \\target"),
  file("usr/a b\\c=d\n-", "escapes"),
  file("usr/-", "-"),
  file("usr/\xff\xfe", "not UTF-8".repeat(20)),
  file("usr/contiguous", "c".repeat(70), { type: "7" }),
  put({ name: "usr/old", type: "\0" }, "old".repeat(30)),
  file("run/emptied", "r".repeat(100)),
  file("boot/vmlinuz", "k".repeat(5000)),
  file("sysroot/x", "s"),
);

const extended = layer(
  ...frame.slice(1),
  directory("usr", { records: { mtime: "1600000000.987654321", uid: "3000000000" } }),
  file("usr/x", "1".repeat(100), { records: { mtime: "1.5", gid: "4294967295" } }),
  file("usr/y", "2", { records: { mtime: "12.1234567899" } }),
  file("short", "3".repeat(70), { records: { path: `usr/${"n".repeat(200)}` } }),
  put({ name: "l", type: "2", records: { path: "usr/l", linkpath: "t".repeat(300) } }),
  file("usr/xattrs", "4".repeat(100), {
    records: {
      "SCHILY.xattr.user.one": "value",
      "SCHILY.xattr.user.empty": "",
      "SCHILY.xattr.security.capability": "\x01\0\0\x02\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0",
      "SCHILY.xattr.security.selinux": "system_u:object_r:lost_t:s0\0",
      "SCHILY.xattr.trusted.overlay.opaque": "y",
      "SCHILY.xattr.system.posix_acl_access": "\x02\0\0\0",
      "LIBARCHIVE.xattr.user.other": "x",
    },
  }),
  file("usr/user-only", "5", { records: { "SCHILY.xattr.user.many": "v".repeat(2000) } }),
  directory("usr/user", { records: { "SCHILY.xattr.user.on.directory": "\xff\xfe" } }),
);

/** Three layers that take away, replace and link across one another. */
const merged = [
  layer(
    ...frame,
    directory("usr/d"),
    file("usr/d/one", "1".repeat(100)),
    file("usr/d/two", "2".repeat(200)),
    directory("usr/o"),
    file("usr/o/hidden", "h".repeat(300)),
    file("usr/becomes-directory", "b".repeat(70)),
    directory("usr/becomes-file"),
    file("usr/becomes-file/x", "gone"),
    file("usr/linked", "l".repeat(1000)),
    hardlink("usr/linked-2", "usr/linked"),
    file("usr/small", "s"),
  ),
  layer(
    directory("usr", { mode: 0o750, mtime: 9 }),
    directory("usr/d"),
    whiteout("usr/d/.wh.one"),
    directory("usr/o"),
    file("usr/o/shown", "o".repeat(100)),
    whiteout("usr/o/.wh..wh..opq"),
    file("usr/o/after", "a".repeat(100)),
    directory("usr/becomes-directory"),
    file("usr/becomes-directory/y", "y".repeat(80)),
    file("usr/becomes-file", "f".repeat(90)),
    hardlink("usr/linked-3", "/usr/linked"),
    hardlink("etc/small", "./usr/small"),
    whiteout("usr/.wh.no-such-file"),
  ),
  layer(
    file("usr/linked", "another".repeat(30)),
    whiteout("usr/.wh.linked-2"),
    directory("usr/d", { uid: 7 }),
  ),
];

const CONTEXTS = `# ${"a policy ".repeat(20)}
/.*                       system_u:object_r:default_t:s0
/usr(/.*)?                system_u:object_r:usr_t:s0
/usr/s?bin(/.*)?      --  system_u:object_r:bin_t:s0
/usr/lib/.*\\.so\\.[0-9]+   --  system_u:object_r:lib_t:s0
/usr/lib/[^/]*\\.d     -d  system_u:object_r:conf_t:s0
/home/[^/]+(/.*)?         system_u:object_r:user_home_t:s0
/usr/none                 <<none>>
/(run|boot)(/.*)?         <<none>>
/usr/(?!keep).*-pcre  --  system_u:object_r:pcre_t:s0
/usr/[[:digit:]]+     --  system_u:object_r:digit_t:s0
`;

const FILES = "etc/selinux/targeted/contexts/files";

const labelled = layer(
  ...frame,
  ...["", "targeted", "targeted/contexts", "targeted/contexts/files"].map((name) =>
    directory(`etc/selinux/${name}`.replace(/\/$/, "")),
  ),
  file("etc/selinux/config", "# comment\nSELINUX=enforcing\n  selinuxtype = targeted\n"),
  file(`${FILES}/file_contexts`, CONTEXTS),
  file(`${FILES}/file_contexts.local`, "/usr/local  -l  system_u:object_r:local_t:s0\n"),
  file(`${FILES}/file_contexts.homedirs`, "/home -d system_u:object_r:home_root_t:s0\n"),
  file(`${FILES}/file_contexts.subs`, "/srv /nothing\n"),
  file(`${FILES}/file_contexts.subs_dist`, "/srv /home\n/opt/lib /usr/lib\n"),
  ...[
    "usr/bin",
    "usr/lib",
    "usr/lib/x.d",
    "home",
    "home/me",
    "srv",
    "srv/you",
    "opt",
    "opt/lib",
  ].map((name) => directory(name)),
  file("usr/bin/sh", "sh".repeat(100), {
    records: { "SCHILY.xattr.security.selinux": "system_u:object_r:from_tar_t:s0" },
  }),
  hardlink("usr/lib/sh", "usr/bin/sh"),
  hardlink("usr/lib/sh-2", "usr/bin/sh"),
  hardlink("home/me/sh", "usr/bin/sh"),
  file("usr/lib/libc.so.6", "c".repeat(100)),
  file("opt/lib/libc.so.6", "c".repeat(100)),
  file("srv/you/file", "f"),
  file("usr/none", "n"),
  file("usr/1234", "d"),
  file("usr/keep-pcre", "k"),
  file("usr/drop-pcre", "d"),
  symlink("usr/local", "lib"),
  file("boot/vmlinuz", "k".repeat(100)),
);

/** More than ten megabytes of headers and small files, and some large files between them. */
const large = layer(
  ...frame,
  directory("usr/many"),
  ...Array.from({ length: 10_500 }, (_, i) =>
    i % 500 === 0
      ? file(`usr/many/${i}`, noise(100 + i, i))
      : file(`usr/many/${i}`, noise(40, i), { mode: 0o644 + (i % 3) }),
  ),
  // not on a block boundary of the digests
  file("usr/megabytes", noise(3_333_333, 1)),
);

/** Several compressed pieces, with one between them that readers have to skip. */
function pieces(tar: Buffer, compression: "gzip" | "zstd"): Buffer {
  const half = tar.length >> 1;
  const [a, b] = [tar.subarray(0, half), tar.subarray(half)].map((part) =>
    compress(part, compression),
  ) as [Buffer, Buffer];
  const skipped = compression === "zstd" ? Buffer.from("502a4d1804000000736b6970", "hex") : "";
  return Buffer.concat([a, Buffer.from(skipped), b]);
}

export interface InteropImage {
  readonly image: Image;
  readonly bootable: boolean;
}

const of = (compression: Compression, ...tars: Buffer[]) =>
  build(tars.map((tar) => ({ tar, compression })));

export const IMAGES: Record<string, InteropImage> = {
  "every kind of file": { image: of("none", everyKind), bootable: true },
  "extended headers": { image: of("none", extended), bootable: true },
  "merged layers": { image: of("gzip", ...merged), bootable: true },
  "SELinux labels": { image: of("zstd", labelled), bootable: true },
  "not bootable": { image: of("gzip", layer(...frame.slice(0, 2))), bootable: false },
  large: { image: of("zstd", large), bootable: true },
};

/** The merged layers, compressed in several pieces. */
export function inPieces(compression: "gzip" | "zstd"): Image {
  const whole = of(compression, ...merged);
  const layers = whole.layers.map(({ mediaType }, i) =>
    blob(mediaType, pieces(merged[i]!, compression)),
  );
  const document = JSON.parse(whole.manifest.bytes.toString());
  const manifest = json(whole.manifest.mediaType, { ...document, layers: layers.map(descriptor) });
  return { ...whole, layers, manifest };
}

/** Two images that share their config, as a registry gives when a manifest is annotated anew. */
export const SIBLINGS: readonly Image[] = ["a", "b"].map((which) => {
  const image = of("none", ...merged);
  const document = JSON.parse(image.manifest.bytes.toString());
  const annotations = { which };
  return { ...image, manifest: json(image.manifest.mediaType, { ...document, annotations }) };
});

const EMPTY = blob("application/vnd.oci.empty.v1+json", Buffer.from("{}"));

/** Something that is no container, and says something about one that is. */
function artifact(config: Blob, text: string): Image {
  const layers = ["text/plain", "application/json"].map((type) =>
    blob(type, Buffer.from(`"${type} ${`${text} `.repeat(10)}"`)),
  );
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = json(mediaType, {
    schemaVersion: 2,
    mediaType,
    artifactType: "application/vnd.example.note",
    config: descriptor(config),
    layers: layers.map(descriptor),
    subject: descriptor(IMAGES["not bootable"]!.image.manifest),
  });
  return { manifest, config, layers, diffIds: [] };
}

export const ARTIFACT = artifact(json("application/vnd.example.note", { note: 1 }), "own config");

/** Artifacts that share their config, as most do. (cfsctl can hold only one of them.) */
export const SIMILAR = ["first", "second"].map((text) => artifact(EMPTY, text));
