/** Dump files with the images that composefs-rs writes from them. */
import { readdirSync, readFileSync } from "node:fs";
import type { HashName } from "../../../src/formats/digest.ts";
import type { ErofsFormat } from "../../../src/formats/erofs/index.ts";

const FOLDER = new URL("../../fixtures/erofs/", import.meta.url);

export const FORMATS: readonly ErofsFormat[] = [0, 1, 2];

export interface Vector {
  readonly dump: string;
  readonly hash: HashName;
  readonly format: ErofsFormat;
  readonly digest: string;
  readonly size: number;
  readonly sha256: string;
}

export const vectors: readonly Vector[] = readFileSync(new URL("expected.tsv", FOLDER), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => {
    const [dump, hash, format, digest, size, sha256] = line.split("\t") as [
      string,
      HashName,
      string,
      string,
      string,
      string,
    ];
    const number = Number(format.slice(1)) as ErofsFormat;
    return { dump, hash, format: number, digest, size: Number(size), sha256 };
  });

export const dumpNames: readonly string[] = readdirSync(FOLDER).filter((name) =>
  name.endsWith(".dump"),
);

export function dumpPath(name: string): URL {
  return new URL(name, FOLDER);
}

export function readDump(name: string): Uint8Array {
  return readFileSync(dumpPath(name));
}
