/** Digests that other programs computed: test/fixtures/fsverity/vectors.tsv. */
import { readFileSync } from "node:fs";
import type { HashName } from "../../src/formats/digest.ts";

export const vectors = readFileSync(
  new URL("../fixtures/fsverity/vectors.tsv", import.meta.url),
  "utf8",
)
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => {
    const [name, size, hash, digest] = line.split("\t") as [string, string, HashName, string];
    return { name, hash, digest, data: content(name, Number(size)) };
  });

function content(name: string, size: number): Uint8Array {
  const data = new Uint8Array(size);
  if (name.includes("0x61")) return data.fill(0x61);
  if (name === "hello world") return new TextEncoder().encode(name);
  if (name.includes("%")) return data.map((_, i) => i % 251);
  return data;
}
