/**
 * What cfsctl 0.9.4 made of the images, in `test/fixtures/interop`: tables, and a repository. They are written anew by
 * `CFSBOOT_RECORD=1 npx vitest run test/interop/cfsctl`, with cfsctl as `cfsctl.ts` says.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import type { ErofsFormat } from "../../src/formats/meta-json.ts";
import { parseSplitstream, type Splitstream } from "../../src/formats/splitstream.ts";
import type { XattrMode } from "../../src/model/transform.ts";
import { zstd } from "../../userspace/zstd.ts";
import { IMAGES } from "./images.ts";

const FOLDER = new URL("../fixtures/interop/", import.meta.url);

/** A repository that cfsctl wrote. */
export const REPOSITORY = fileURLToPath(new URL("repository.tar.gz", FOLDER));

export const HASHES: readonly HashName[] = ["sha256", "sha512"];
const FORMATS: readonly ErofsFormat[] = [0, 1, 2];
const MODES: readonly XattrMode[] = ["allowlist-only", "keep-user-xattrs"];

/** One of the filesystem images that an image can have. */
export interface Variant {
  readonly format: ErofsFormat;
  readonly bootable: boolean;
  readonly xattrs: XattrMode;
}

/** All filesystem images of one of the images. */
export function variants(name: string): Variant[] {
  const kinds = IMAGES[name]!.bootable ? [false, true] : [false];
  return FORMATS.flatMap((format) =>
    kinds.flatMap((bootable) => MODES.map((xattrs) => ({ format, bootable, xattrs }))),
  );
}

/** A table's lines: who asks for them says what stands in the last column. */
export function digestTable(
  name: string,
  hash: HashName,
  digest: (variant: Variant) => string,
): string[] {
  return variants(name).map((variant) => {
    const { format, bootable, xattrs } = variant;
    return [name, hash, `V${format}`, bootable ? "boot" : "-", xattrs, digest(variant)].join("\t");
  });
}

/** The same for the streams of the layers; `read` gives a stream's bytes by the layer's digest. */
export function streamTable(
  name: string,
  hash: HashName,
  read: (diffId: string) => Uint8Array,
): string[] {
  return IMAGES[name]!.image.diffIds.map((diffId) => {
    const stream = parseSplitstream(read(diffId), hash, zstd);
    return [name, hash, diffId, stream.objectRefs.length, contentOf(stream)].join("\t");
  });
}

/** A digest of all that a stream says, whatever its compressor made of it. */
function contentOf(stream: Splitstream): string {
  const digest = createHash("sha256");
  digest.update(`${stream.contentType} ${stream.size}\n`);
  for (const ref of stream.objectRefs) digest.update(`${toHex(ref)}\n`);
  for (const [name, ref] of stream.namedRefs()) digest.update(`${name} ${toHex(ref)}\n`);
  for (const chunk of stream.chunks()) {
    digest.update(chunk.type === "inline" ? `${chunk.data.length} ` : `${toHex(chunk.digest)}\n`);
    if (chunk.type === "inline") digest.update(chunk.data);
  }
  return digest.digest("hex");
}

type TableName = "digests" | "streams";

const HEADINGS: Record<TableName, string> = {
  digests: "# image\thash\tformat\tkind\txattrs\tfsverity",
  streams: "# image\thash\tlayer\tobjects\tsha256 of what it says",
};

/** The recorded lines of an image. */
export function recorded(table: TableName, name: string, hash: HashName): string[] {
  const path = new URL(`${table}.tsv`, FOLDER);
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.startsWith(`${name}\t${hash}\t`));
}

export function record(table: TableName, lines: readonly string[]): void {
  writeFileSync(new URL(`${table}.tsv`, FOLDER), [HEADINGS[table], ...lines, ""].join("\n"));
}
